//! The titles of columns: `name{label="value",...}`, and what they tell of a series.

use std::collections::BTreeSet;

use ktm_format::Kind;

/// Longest name, label or value: the file keeps 16 bits of length.
const LONGEST: usize = u16::MAX as usize;

/// Units that a family's name ends with.
const UNITS: [&str; 3] = ["seconds", "bytes", "pages"];

/// A column's title, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Title {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
}

impl Title {
    /// Reads a title. The error says what is wrong and what to do.
    pub(crate) fn parse(text: &str) -> Result<Title, String> {
        if let Some(inner) = text
            .strip_prefix("rate(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            return Err(format!(
                "is the rate of {inner}, computed by --rate, and not what was recorded: \
                 print the CSV again without --rate"
            ));
        }
        let (name, labels) = match text.split_once('{') {
            None => (text, Vec::new()),
            Some((name, rest)) => {
                let labels = labels(rest);
                (
                    name,
                    labels.ok_or("has labels that do not read as {name=\"value\",...}")?,
                )
            }
        };
        if name.is_empty() || name.contains('}') {
            return Err("is not the name of a series".into());
        }
        let texts = labels.iter().flat_map(|(key, value)| [key.as_str(), value]);
        if texts.chain([name]).any(|text| text.len() > LONGEST) {
            return Err(format!(
                "is too long: a name or value has at most {LONGEST} bytes"
            ));
        }
        Ok(Title {
            name: name.to_owned(),
            labels,
        })
    }

    /// What makes two series the same one: the labels may come in any order.
    pub(crate) fn identity(&self) -> (String, BTreeSet<(String, String)>) {
        (self.name.clone(), self.labels.iter().cloned().collect())
    }

    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|(key, _)| key == label)
    }

    /// The family a suffix makes this a part of, with the labels that tell one from another.
    fn family(&self, suffix: &str) -> Option<Family> {
        let family = self.name.strip_suffix(suffix)?;
        let labels = self
            .labels
            .iter()
            .filter(|(key, _)| key != "le" && key != "quantile");
        Some((family.to_owned(), labels.cloned().collect()))
    }
}

type Family = (String, BTreeSet<(String, String)>);

/// The labels behind the opening brace, the closing one included; `None` if they are no such.
fn labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let is_key = !key.is_empty() && !key.contains(['{', '}', '"', ',', '=', '\\']);
        let (value, after) = unescape(after)?;
        if !is_key || labels.iter().any(|(known, _)| known == key) {
            return None;
        }
        labels.push((key.to_owned(), value));
        match after {
            "}" => return Some(labels),
            after => rest = after.strip_prefix(',')?,
        }
    }
}

/// A quoted value up to its closing quote, and what is behind that.
fn unescape(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        value.push(match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\n' => return None,
            '\\' => match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            },
            c => c,
        });
    }
    None
}

/// What names and labels tell of all the series of a recording together.
///
/// | title                                                       | kind               |
/// | ----------------------------------------------------------- | ------------------ |
/// | `x_bucket` with a label `le`                                | histogram's bucket |
/// | `x_sum`, `x_count` of the same labels as such buckets       | histogram's        |
/// | a label `quantile`                                          | summary's quantile |
/// | `x_sum`, `x_count` beside such quantiles, or beside another | summary's          |
/// | `x_total`                                                   | counter            |
/// | anything else                                               | gauge              |
pub(crate) struct Kinds {
    histograms: BTreeSet<Family>,
    quantiles: BTreeSet<Family>,
    sums: BTreeSet<Family>,
    counts: BTreeSet<Family>,
}

impl Kinds {
    pub(crate) fn of(titles: &[Title]) -> Kinds {
        let families = |suffix: &'static str, label: &'static str| {
            let titles = titles
                .iter()
                .filter(move |title| label.is_empty() || title.has(label));
            titles
                .filter_map(move |title| title.family(suffix))
                .collect()
        };
        Kinds {
            histograms: families("_bucket", "le"),
            quantiles: families("", "quantile"),
            sums: families("_sum", ""),
            counts: families("_count", ""),
        }
    }

    pub(crate) fn kind(&self, title: &Title) -> Kind {
        if title.has("quantile") {
            return Kind::Quantile;
        }
        if title.has("le") && title.name.ends_with("_bucket") {
            return Kind::Bucket;
        }
        let is_summary = |family: &Family, other: &BTreeSet<Family>| {
            self.quantiles.contains(family) || other.contains(family)
        };
        match (title.family("_sum"), title.family("_count")) {
            (Some(family), _) if self.histograms.contains(&family) => Kind::Sum,
            (_, Some(family)) if self.histograms.contains(&family) => Kind::Count,
            (Some(family), _) if is_summary(&family, &self.counts) => Kind::SummarySum,
            (_, Some(family)) if is_summary(&family, &self.sums) => Kind::SummaryCount,
            _ if title.name.ends_with("_total") => Kind::Counter,
            _ => Kind::Gauge,
        }
    }
}

/// The base unit that a name ends with, apart from the suffix of its kind.
pub(crate) fn unit(title: &Title, kind: Kind) -> &'static str {
    let suffix = match kind {
        Kind::Bucket => "_bucket",
        Kind::Sum | Kind::SummarySum => "_sum",
        Kind::Counter => "_total",
        // A number of observations has none.
        Kind::Count | Kind::SummaryCount => return "",
        Kind::Gauge | Kind::Untyped | Kind::Quantile => "",
    };
    let family = title.name.strip_suffix(suffix).unwrap_or(&title.name);
    let last = family.rsplit_once('_').map_or("", |(_, last)| last);
    UNITS
        .into_iter()
        .find(|unit| *unit == last)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(texts: &[&str]) -> Vec<Title> {
        texts
            .iter()
            .map(|text| Title::parse(text).expect("a title"))
            .collect()
    }

    #[test]
    fn names_and_labels_are_read_with_their_escapes() {
        let title = Title::parse(r#"a_total{path="/x,\"y\"\\",n="1\n2"}"#).expect("a title");
        assert_eq!(title.name, "a_total");
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            title.labels,
            [label("path", "/x,\"y\"\\"), label("n", "1\n2")]
        );
        assert!(
            Title::parse("app.queue depth")
                .expect("any name")
                .labels
                .is_empty()
        );
    }

    #[test]
    fn what_is_no_title_is_refused_with_a_reason() {
        for text in [
            "",
            "{a=\"1\"}",
            "x{",
            "x{}",
            "x{a}",
            "x{a=1}",
            "x{a=\"1\"",
            "x{a=\"1\"}y",
            "x}",
            "x{a=\"1\",}",
            "x{a=\"\\t\"}",
            "x{a=\"1\",a=\"2\"}",
            "x{=\"1\"}",
        ] {
            assert!(Title::parse(text).is_err(), "{text}");
        }
        let rate = Title::parse("rate(x_total{a=\"1\"})").expect_err("computed");
        assert!(
            rate.contains("x_total{a=\"1\"}") && rate.contains("without --rate"),
            "{rate}"
        );
    }

    #[test]
    fn kinds_and_units_follow_from_names_and_labels() {
        let all = titles(&[
            r#"x_seconds_bucket{le="0.1",op="r"}"#,
            r#"x_seconds_sum{op="r"}"#,
            r#"x_seconds_count{op="r"}"#,
            r#"x_seconds_count{op="w"}"#,
            r#"y_bytes{quantile="0.5"}"#,
            "y_bytes_sum",
            "y_bytes_count",
            "z_sum",
            "z_count",
            "lone_sum",
            "thread_count",
            "reads_bytes_total",
            "depth",
            "bucket_bucket",
        ]);
        let kinds = Kinds::of(&all);
        let found: Vec<(Kind, &str)> = all
            .iter()
            .map(|title| (kinds.kind(title), unit(title, kinds.kind(title))))
            .collect();
        assert_eq!(
            found,
            [
                (Kind::Bucket, "seconds"),
                (Kind::Sum, "seconds"),
                (Kind::Count, ""),
                (Kind::Gauge, ""),
                (Kind::Quantile, "bytes"),
                (Kind::SummarySum, "bytes"),
                (Kind::SummaryCount, ""),
                (Kind::SummarySum, ""),
                (Kind::SummaryCount, ""),
                (Kind::Gauge, ""),
                (Kind::Gauge, ""),
                (Kind::Counter, "bytes"),
                (Kind::Gauge, ""),
                (Kind::Gauge, ""),
            ]
        );
    }
}
