//! Frames: the rows of one sampling instant, joined over the columns of a query.

use std::rc::Rc;
use std::sync::Arc;

use ktm_format::{Damage, Decimal, Error, Row, Rows, Schema, Snapshot, Stamp, Value};

use super::columns::{Columns, Place};
use super::query::Range;

/// One value of a frame, with what is needed to print it exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    /// The recorded bits.
    pub(crate) value: Value,
    /// The decimal exponent of the schema it was recorded under.
    pub(crate) exponent: i8,
}

impl Cell {
    /// The exact decimal text.
    pub(crate) const fn decimal(&self) -> Decimal {
        self.value.decimal(self.exponent)
    }

    /// A computed value.
    pub(crate) const fn of_f64(value: f64) -> Cell {
        Cell {
            value: Value::F64(value),
            exponent: 0,
        }
    }

    /// The nearest double.
    pub(crate) fn as_f64(&self) -> f64 {
        self.value.as_f64(self.exponent)
    }

    /// True unless it is NaN or infinite.
    pub(crate) fn is_finite(&self) -> bool {
        !matches!(self.value, Value::F64(value) if !value.is_finite())
    }
}

/// One sampling instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// When it was sampled.
    pub(crate) stamp: Stamp,
    /// The epoch in force.
    pub(crate) epoch: u32,
    /// The run that recorded it.
    pub(crate) run: u32,
    /// The sequence number of its last row.
    pub(crate) seq: u64,
    /// One value for every column, `None` where the series was absent.
    pub(crate) cells: Vec<Option<Cell>>,
}

/// Frames in recorded order. In memory is one row of every chunk that overlaps and one frame.
pub(crate) struct Frames<'a> {
    rows: Rows<'a>,
    columns: Arc<Columns>,
    known: Vec<(Arc<Schema>, Rc<[Place]>)>,
    pending: Option<Row>,
    /// Columns that a row of the frame being read has brought, with or without a value.
    brought: Vec<bool>,
    damage: Vec<Damage>,
}

impl<'a> Frames<'a> {
    /// The instants at which a module of these columns was sampled.
    pub(crate) fn of_columns(
        snapshot: &'a Snapshot,
        range: &Range,
        columns: Arc<Columns>,
    ) -> Frames<'a> {
        let modules = columns.modules(snapshot.schemas());
        Frames::of_modules(snapshot, range, columns, Some(modules))
    }

    /// Every instant, also those at which none of these columns was sampled.
    pub(crate) fn every(
        snapshot: &'a Snapshot,
        range: &Range,
        columns: Arc<Columns>,
    ) -> Frames<'a> {
        Frames::of_modules(snapshot, range, columns, None)
    }

    fn of_modules(
        snapshot: &'a Snapshot,
        range: &Range,
        columns: Arc<Columns>,
        modules: Option<Vec<String>>,
    ) -> Frames<'a> {
        Frames {
            rows: snapshot.rows(&range.select(modules)),
            columns,
            known: Vec::new(),
            pending: None,
            brought: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Reads the next frame into `frame`; false at the end.
    ///
    /// Rows of one stamp, epoch and run are one instant, unless two of them bring the same column,
    /// be its value absent or not.
    pub(crate) fn next(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        let first = match self.pending.take() {
            Some(row) => row,
            None => match self.next_row()? {
                Some(row) => row,
                None => return Ok(false),
            },
        };
        frame.stamp = first.stamp;
        frame.epoch = first.epoch;
        frame.run = first.run;
        frame.cells.clear();
        frame.cells.resize(self.columns.len(), None);
        self.brought.clear();
        self.brought.resize(self.columns.len(), false);
        self.fill(frame, &first);
        while let Some(row) = self.next_row()? {
            let same = row.stamp == frame.stamp && row.epoch == frame.epoch && row.run == frame.run;
            if !same || !self.fill(frame, &row) {
                self.pending = Some(row);
                break;
            }
        }
        Ok(true)
    }

    /// The columns of every frame.
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Damage met while decoding.
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// A chunk that cannot be read is noted, and reading goes on after it.
    fn next_row(&mut self) -> Result<Option<Row>, Error> {
        loop {
            match self.rows.next() {
                None => return Ok(None),
                Some(Ok(row)) => return Ok(Some(row)),
                Some(Err(Error::Corrupt(damage))) => self.damage.push(damage),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Puts a row's values into the frame; false, and nothing done, if a place is taken.
    fn fill(&mut self, frame: &mut Frame, row: &Row) -> bool {
        let places = self.places(&row.schema);
        let taken = |place: &Place| {
            self.brought
                .get(place.column)
                .is_none_or(|brought| *brought)
        };
        if places.iter().any(taken) {
            return false;
        }
        for place in places.iter() {
            self.brought[place.column] = true;
            if let (Some(value), Some(cell)) =
                (row.value(place.series), frame.cells.get_mut(place.column))
            {
                *cell = Some(Cell {
                    value,
                    exponent: place.exponent,
                });
            }
        }
        frame.seq = row.seq;
        true
    }

    fn places(&mut self, schema: &Arc<Schema>) -> Rc<[Place]> {
        if let Some((_, places)) = self
            .known
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, schema))
        {
            return Rc::clone(places);
        }
        // Every segment brings its own copy of a schema it uses: the newest copy is remembered.
        if let Some((known, places)) = self.known.iter_mut().find(|(known, _)| known == schema) {
            *known = Arc::clone(schema);
            return Rc::clone(places);
        }
        let places: Rc<[Place]> = self.columns.places(schema).into();
        self.known.push((Arc::clone(schema), Rc::clone(&places)));
        places
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series};

    use super::*;
    use crate::replay::fixture::Fixture;

    fn frames(fixture: &Fixture) -> Vec<(i64, Vec<Option<f64>>)> {
        let snapshot = fixture.snapshot();
        let columns = Arc::new(Columns::of(snapshot.schemas()));
        let mut frames = Frames::of_columns(&snapshot, &Range::default(), columns);
        let mut frame = Frame::default();
        let mut seen = Vec::new();
        while frames.next(&mut frame).expect("readable") {
            let cells = frame.cells.iter().map(|c| c.map(|c| c.as_f64())).collect();
            seen.push((frame.stamp.realtime_ns / 1_000_000_000, cells));
        }
        seen
    }

    fn schema(module: &str, names: &[&str]) -> Schema {
        let series = names.iter().map(|name| Series::gauge(*name, "")).collect();
        Schema {
            module: module.into(),
            labels: vec![],
            series,
        }
    }

    #[test]
    fn modules_sampled_together_are_one_frame() {
        let mut fixture = Fixture::new();
        let (a, b) = (schema("a", &["x", "y"]), schema("b", &["z"]));
        fixture.at(10).row(&a, &[Some(1), None]).row(&b, &[Some(3)]);
        fixture.at(20).row(&b, &[Some(4)]);
        fixture.at(30).row(&a, &[Some(5), Some(6)]);
        assert_eq!(
            frames(&fixture),
            [
                (10, vec![Some(1.0), None, Some(3.0)]),
                (20, vec![None, None, Some(4.0)]),
                (30, vec![Some(5.0), Some(6.0), None]),
            ]
        );
    }

    #[test]
    fn the_same_module_twice_at_one_stamp_is_two_frames() {
        let mut fixture = Fixture::new();
        let a = schema("a", &["x"]);
        fixture.at(10).row(&a, &[Some(1)]).row(&a, &[Some(2)]);
        assert_eq!(
            frames(&fixture),
            [(10, vec![Some(1.0)]), (10, vec![Some(2.0)])]
        );
    }

    #[test]
    fn the_same_stamp_in_another_epoch_is_another_frame() {
        let mut fixture = Fixture::new();
        let (a, b) = (schema("a", &["x"]), schema("b", &["z"]));
        fixture.at(10).row(&a, &[Some(1)]);
        fixture.epoch();
        fixture.row(&b, &[Some(2)]);
        assert_eq!(
            frames(&fixture),
            [(10, vec![Some(1.0), None]), (10, vec![None, Some(2.0)])]
        );
    }

    #[test]
    fn a_series_that_moves_between_schemas_stays_one_column() {
        let mut fixture = Fixture::new();
        fixture
            .at(10)
            .row(&schema("a", &["x", "y"]), &[Some(1), Some(2)]);
        fixture
            .at(20)
            .row(&schema("a", &["w", "x"]), &[Some(3), Some(4)]);
        let snapshot = fixture.snapshot();
        let columns = Columns::of(snapshot.schemas());
        let x = columns
            .list()
            .iter()
            .position(|column| column.name == "x")
            .expect("recorded");
        assert_eq!(columns.len(), 3);
        let values: Vec<_> = frames(&fixture).iter().map(|(_, cells)| cells[x]).collect();
        assert_eq!(values, [Some(1.0), Some(4.0)]);
    }
}
