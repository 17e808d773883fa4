//! Series that share a row, and the schemas their cells need.

use std::collections::HashMap;

use ktm_format::{
    Error, FileRegion, Position, Schema, SchemaHandle, Series, ValueType, Values, Writer,
};

use super::Plan;
use super::lines::Lines;
use super::number::{Representation, representation_of};
use super::title::{Kinds, Title, unit};
use crate::status::Failure;

/// How often the kinds of numbers in the columns may change. Each time takes a schema of its own.
const MOST_SCHEMAS: usize = 1000;

/// Series that share a row.
pub(crate) struct Group {
    /// The first one's place among all.
    first: usize,
    pub(crate) schema: Schema,
    /// How each cell of the last line was recorded. Nearly always that is the same for a whole
    /// column; where no single way holds all of its cells, it changes when it has to.
    representations: Vec<Representation>,
    handles: HashMap<Vec<Representation>, SchemaHandle>,
    handle: Option<SchemaHandle>,
    values: Values,
}

/// The series in groups of at most so many.
pub(crate) fn groups(plan: &Plan, together: usize) -> Vec<Group> {
    let kinds = Kinds::of(&plan.titles);
    let is_one = plan.titles.len() <= together;
    let titles = plan.titles.chunks(together).enumerate();
    let group = |(index, titles): (usize, &[Title])| {
        let first = index * together;
        let columns = plan.columns.iter().skip(first).take(titles.len());
        let representations = columns.map(|column| column.representation().unwrap_or_default());
        // Columns are printed by module: their numbers keep the groups in order.
        let module = match is_one {
            true => "import".into(),
            false => format!("import-{index:06}"),
        };
        Group {
            first,
            schema: Schema {
                module,
                labels: Vec::new(),
                series: titles.iter().map(|title| series(title, &kinds)).collect(),
            },
            representations: representations.collect(),
            handles: HashMap::new(),
            handle: None,
            values: Values::new(),
        }
    };
    titles.map(group).collect()
}

fn series(title: &Title, kinds: &Kinds) -> Series {
    let kind = kinds.kind(title);
    Series {
        labels: title.labels.clone(),
        unit: unit(title, kind).into(),
        ..Series::new(&title.name, kind, ValueType::U64, "")
    }
}

impl Group {
    /// Takes its cells of a line.
    pub(crate) fn read(&mut self, lines: &Lines<'_>) -> Result<(), Failure> {
        self.values.clear();
        for (index, representation) in self.representations.iter_mut().enumerate() {
            let series = self.first + index;
            let cell = lines.cell(series)?;
            if cell.is_empty() {
                self.values.push_absent();
                continue;
            }
            let mut word = representation.encode(cell);
            if word.is_none()
                && let Some(own) = representation_of(cell)
            {
                *representation = own;
                self.handle = None;
                word = own.encode(cell);
            }
            let changed = || lines.wrong_cell(series, "has changed since it was checked");
            let word = word.ok_or_else(changed)?;
            match representation.value_type {
                ValueType::U64 => self.values.push_u64(word),
                ValueType::I64 => self.values.push_i64(word.cast_signed()),
                ValueType::F64 => self.values.push_f64(f64::from_bits(word)),
            }
        }
        Ok(())
    }

    /// True where the line just read would need one schema too many.
    pub(crate) fn is_too_mixed(&self) -> bool {
        self.handles.len() >= MOST_SCHEMAS && !self.handles.contains_key(&self.representations)
    }

    /// Appends the line just read.
    pub(crate) fn write(
        &mut self,
        writer: &mut Writer<FileRegion>,
        at: Position,
    ) -> Result<(), Error> {
        let handle = match self.handle {
            Some(handle) => handle,
            None => self.define(writer)?,
        };
        writer.adopt(handle, at, &self.values)
    }

    fn define(&mut self, writer: &mut Writer<FileRegion>) -> Result<SchemaHandle, Error> {
        let handle = match self.handles.get(&self.representations) {
            Some(handle) => *handle,
            None => {
                for (series, representation) in
                    self.schema.series.iter_mut().zip(&self.representations)
                {
                    series.value_type = representation.value_type;
                    series.exponent = representation.exponent;
                }
                let handle = writer.define(&self.schema)?;
                self.handles.insert(self.representations.clone(), handle);
                handle
            }
        };
        self.handle = Some(handle);
        Ok(handle)
    }
}
