//! Columns: the union of all series of a recording.

use std::collections::HashMap;
use std::sync::Arc;

use ktm_format::{Kind, Schema, Series};

/// One series of the recording, whichever schemas carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The series as printed: `name{label="value"}`, identity labels last.
    pub title: String,
    /// The sample name.
    pub name: String,
    /// The series' own labels, then the schema's identity labels.
    pub labels: Vec<(String, String)>,
    /// What the values mean.
    pub kind: Kind,
    /// Base unit or empty.
    pub unit: String,
    /// What is counted.
    pub help: String,
    /// The module that samples it.
    pub module: String,
    family_length: usize,
}

impl Column {
    fn new(schema: &Schema, series: &Series) -> Column {
        let labels = all_labels(schema, series);
        Column {
            title: title(&series.name, &labels),
            name: series.name.clone(),
            labels,
            kind: series.kind,
            unit: series.unit.clone(),
            help: series.help.clone(),
            module: schema.module.clone(),
            family_length: series.family().len(),
        }
    }

    /// The metric family: the name without the suffix that its kind adds.
    pub fn family(&self) -> &str {
        self.name.get(..self.family_length).unwrap_or(&self.name)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// What the buckets, sum and count of one histogram have in common.
    pub(crate) fn group(&self) -> Group<'_> {
        (self.family(), self.identity())
    }

    /// A bucket's inclusive upper bound.
    pub(crate) fn bound(&self) -> Option<f64> {
        self.label("le").and_then(|bound| bound.parse().ok())
    }

    /// The labels without `le` and `quantile`: what tells one histogram of a family from another.
    pub(crate) fn identity(&self) -> Vec<(&str, &str)> {
        let bound = match self.kind {
            Kind::Bucket => "le",
            Kind::Quantile => "quantile",
            _ => "",
        };
        let mut labels: Vec<(&str, &str)> = self
            .labels
            .iter()
            .filter(|(key, _)| key != bound)
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        labels.sort_unstable();
        labels
    }
}

fn all_labels(schema: &Schema, series: &Series) -> Vec<(String, String)> {
    let mut labels = series.labels.clone();
    for (key, value) in &schema.labels {
        // A series that says it itself knows better.
        if !labels.iter().any(|(known, _)| known == key) {
            labels.push((key.clone(), value.clone()));
        }
    }
    labels
}

/// `name{key="value",...}`, escaped as in the Prometheus text format.
pub(crate) fn title(name: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let mut text = format!("{name}{{");
    for (index, (key, value)) in labels.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        text.push_str(key);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// What makes two series the same one: the name and the labels in any order.
fn key(name: &str, labels: &[(String, String)]) -> String {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    title(name, &sorted)
}

/// A family and a set of labels within it.
pub(crate) type Group<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// Where the values of one schema go: index in the row, column, decimal exponent.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) series: usize,
    pub(crate) column: usize,
    pub(crate) exponent: i8,
}

/// The columns of a recording: modules by name, a module's series in its own order.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    list: Vec<Column>,
    index: HashMap<String, usize>,
}

impl Columns {
    /// The union of the schemas' series. Where two schemas describe one series differently the
    /// last in the columns' order is believed.
    pub fn of<'a>(schemas: impl IntoIterator<Item = &'a Arc<Schema>>) -> Columns {
        let mut columns = Columns::default();
        // By module; within it as they came, so that the newest description of a series stands.
        let mut ordered: Vec<&Arc<Schema>> = schemas.into_iter().collect();
        ordered.sort_by(|a, b| a.module.cmp(&b.module));
        for schema in ordered {
            for series in &schema.series {
                let column = Column::new(schema, series);
                let key = key(&column.name, &column.labels);
                match columns
                    .index
                    .get(&key)
                    .and_then(|known| columns.list.get_mut(*known))
                {
                    Some(known) => {
                        *known = Column {
                            title: known.title.clone(),
                            ..column
                        }
                    }
                    None => {
                        columns.index.insert(key, columns.list.len());
                        columns.list.push(column);
                    }
                }
            }
        }
        columns.share_help();
        columns
    }

    /// A family's help may stand on one of its series only; it is that of all of them.
    fn share_help(&mut self) {
        let mut helps: HashMap<String, String> = HashMap::new();
        for column in self.list.iter().filter(|column| !column.help.is_empty()) {
            helps
                .entry(column.family().to_owned())
                .or_insert_with(|| column.help.clone());
        }
        for column in self.list.iter_mut().filter(|column| column.help.is_empty()) {
            if let Some(help) = helps.get(column.family()) {
                column.help.clone_from(help);
            }
        }
    }

    /// All columns.
    pub fn list(&self) -> &[Column] {
        &self.list
    }

    /// These columns in this order; numbers out of range are left out.
    pub(crate) fn subset(&self, wanted: &[usize]) -> Columns {
        Columns::from_list(
            wanted
                .iter()
                .filter_map(|i| self.list.get(*i))
                .cloned()
                .collect(),
        )
    }

    fn from_list(list: Vec<Column>) -> Columns {
        let index = list
            .iter()
            .enumerate()
            .map(|(i, c)| (key(&c.name, &c.labels), i))
            .collect();
        Columns { list, index }
    }

    /// Only the columns that are wanted.
    pub fn retain(&self, wanted: impl Fn(&Column) -> bool) -> Columns {
        Columns::from_list(self.list.iter().filter(|c| wanted(c)).cloned().collect())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True without any column.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The modules whose rows hold any of them.
    pub(crate) fn modules<'a>(
        &self,
        schemas: impl Iterator<Item = &'a Arc<Schema>>,
    ) -> Vec<String> {
        let holds = |schema: &&Arc<Schema>| !self.places(schema).is_empty();
        let mut modules: Vec<String> = schemas
            .filter(holds)
            .map(|schema| schema.module.clone())
            .collect();
        modules.sort_unstable();
        modules.dedup();
        modules
    }

    /// Where a schema's values go. A series that a schema carries twice is read once.
    pub(crate) fn places(&self, schema: &Schema) -> Vec<Place> {
        let mut taken = vec![false; self.list.len()];
        let mut places = Vec::new();
        for (index, series) in schema.series.iter().enumerate() {
            let key = key(&series.name, &all_labels(schema, series));
            let Some(column) = self.index.get(&key).copied() else {
                continue;
            };
            if let Some(taken) = taken.get_mut(column)
                && !std::mem::replace(taken, true)
            {
                places.push(Place {
                    series: index,
                    column,
                    exponent: series.exponent,
                });
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::ValueType;

    use super::*;

    fn schema(module: &str, labels: &[(&str, &str)], series: Vec<Series>) -> Arc<Schema> {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Arc::new(Schema {
            module: module.into(),
            labels,
            series,
        })
    }

    #[test]
    fn one_series_in_two_schemas_is_one_column() {
        let old = schema(
            "m",
            &[],
            vec![Series::counter("a_total", "Old."), Series::gauge("b", "")],
        );
        let new = schema(
            "m",
            &[],
            vec![Series::gauge("c", ""), Series::counter("a_total", "New.")],
        );
        let columns = Columns::of(&[old, Arc::clone(&new)]);
        let titles: Vec<&str> = columns.list().iter().map(|c| c.title.as_str()).collect();
        assert_eq!(titles, ["a_total", "b", "c"]);
        assert_eq!(columns.list()[0].help, "New.");
        let places: Vec<usize> = columns.places(&new).iter().map(|p| p.column).collect();
        assert_eq!(places, [2, 0]);
    }

    #[test]
    fn identity_labels_come_last_and_label_order_does_not_split_a_series() {
        let a = Series::counter("a_total", "")
            .label("x", "1")
            .label("y", "2");
        let b = Series::counter("a_total", "")
            .label("y", "2")
            .label("x", "1");
        let pod = [("pod_name", "data-0")];
        let columns = Columns::of(&[schema("m", &pod, vec![a]), schema("m", &pod, vec![b])]);
        assert_eq!(columns.len(), 1);
        assert_eq!(
            columns.list()[0].title,
            r#"a_total{x="1",y="2",pod_name="data-0"}"#
        );
    }

    #[test]
    fn a_changed_identity_label_is_another_series() {
        let series = || vec![Series::counter("a_total", "")];
        let one = schema("m", &[("pod_name", "data-0")], series());
        let two = schema("m", &[("pod_name", "data-1")], series());
        assert_eq!(Columns::of(&[one, two]).len(), 2);
    }

    #[test]
    fn the_help_of_a_family_is_that_of_all_its_series() {
        let bucket = |le: &str, help: &str| {
            Series::new("x_bucket", Kind::Bucket, ValueType::U64, help).label("le", le)
        };
        let columns = Columns::of(&[schema(
            "m",
            &[],
            vec![bucket("1", "Help."), bucket("+Inf", "")],
        )]);
        assert!(columns.list().iter().all(|column| column.help == "Help."));
    }

    #[test]
    fn labels_are_escaped_in_titles() {
        let series = Series::new("c", Kind::Gauge, ValueType::F64, "").label("x", "\"\\\n");
        let columns = Columns::of(&[schema("m", &[], vec![series])]);
        assert_eq!(columns.list()[0].title, r#"c{x="\"\\\n"}"#);
    }
}
