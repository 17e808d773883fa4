//! Codec 2: columns whose steps follow each other's, through a model and a range coder.

use super::coder::{Decoder, Encoder};
use super::decimal::Scale;
use super::links;
use super::model::{Model, Plan, REACH, Track};
use crate::bytes::{Malformed, unzigzag, zigzag};
use crate::schema::ValueType;

/// A column to be encoded.
pub(super) struct Column {
    pub(super) value_type: ValueType,
    /// An absent value has the word of its neighbour.
    pub(super) words: Vec<u64>,
    /// Which rows are absent; empty where none is.
    pub(super) absent: Vec<bool>,
}

impl Column {
    /// From the words of present values.
    pub(super) fn new(
        value_type: ValueType,
        cells: impl Iterator<Item = Option<u64>> + Clone,
    ) -> Column {
        let mut absent: Vec<bool> = cells.clone().map(|cell| cell.is_none()).collect();
        if !absent.contains(&true) {
            absent.clear();
        }
        let mut word = cells.clone().find_map(|cell| cell).unwrap_or(0);
        let words = cells.map(|cell| {
            word = cell.unwrap_or(word);
            word
        });
        Column {
            value_type,
            words: words.collect(),
            absent,
        }
    }
}

/// Encodes columns of as many rows each.
pub(super) fn encode(columns: impl Iterator<Item = Column>) -> Vec<u8> {
    let mut coder = Encoder::new();
    let mut model = Model::new();
    let mut earlier: Vec<Vec<u64>> = Vec::new();
    let mut near = Vec::new();
    for mut column in columns {
        let rows = column.words.len();
        model.absence(&mut coder, &mut column.absent, rows);
        if column.value_type == ValueType::F64 {
            let scale = Scale::of(column.words.iter().copied());
            model.scale(&mut coder, scale.code());
            for word in &mut column.words {
                *word = scale.integer(*word);
            }
        }
        let first = column.words.first().copied().unwrap_or(0);
        model.first(&mut coder, first_code(column.value_type, first));
        let pairs = column.words.array_windows();
        let mut steps: Vec<u64> = pairs.map(|[a, b]| b.wrapping_sub(*a)).collect();
        let unit = steps
            .iter()
            .fold(0, |unit, step| divisor(unit, size(*step)));
        if unit == 0 {
            model.plan(&mut coder, None);
            continue;
        }
        for step in &mut steps {
            *step = part(*step, unit);
        }
        let mut linked = links::link(&steps, &earlier);
        let plan = Plan {
            unit,
            drift: zigzag(links::drift(&mut linked)),
            exact: (1..)
                .zip(&linked.residuals)
                .all(|(row, residual)| *residual == 0 || is_absent(&column.absent, row)),
            links: linked.links,
        };
        model.plan(&mut coder, Some(&plan));
        if !plan.exact {
            let mut track = Track::new(&plan);
            near.resize(steps.len(), 0);
            for (row, (residual, near)) in (1..).zip(linked.residuals.iter().zip(&mut near)) {
                if !is_absent(&column.absent, row) {
                    model.residual(&mut coder, &mut track, near, *residual);
                }
            }
        }
        earlier.push(steps);
    }
    coder.finish()
}

/// Words column by column, and which of them are absent; the latter is empty where none is.
type Decoded = (Vec<u64>, Vec<bool>);

/// Decodes columns of these types, of `rows` rows each.
pub(super) fn decode(
    body: &[u8],
    types: impl ExactSizeIterator<Item = ValueType>,
    rows: usize,
) -> Result<Decoded, Malformed> {
    let mut coder = Decoder::new(body)?;
    let mut model = Model::new();
    let cells = types.len() * rows;
    let (mut words, mut all_absent) = (Vec::with_capacity(cells), Vec::new());
    let mut absent = Vec::new();
    let mut steps = Steps::new(rows);
    for value_type in types {
        model.absence(&mut coder, &mut absent, rows);
        if !absent.is_empty() {
            all_absent.resize(cells, false);
            all_absent[words.len()..][..rows].copy_from_slice(&absent);
        }
        let scale = match value_type {
            ValueType::F64 => Some(Scale::from_code(model.scale(&mut coder, 0)).ok_or(Malformed)?),
            ValueType::U64 | ValueType::I64 => None,
        };
        let first = first_from_code(value_type, model.first(&mut coder, 0));
        let start = words.len();
        match model.plan(&mut coder, None) {
            None => {
                let word = scale.map_or(first, |scale| scale.double(first));
                words.resize(start + rows, word);
            }
            Some(plan) => {
                let steps = steps.read(&mut coder, &mut model, &plan, &absent)?;
                let mut word = first;
                words.push(first);
                words.extend(steps.iter().map(|step| {
                    word = word.wrapping_add(step.wrapping_mul(plan.unit));
                    word
                }));
                if let Some(scale) = scale {
                    for word in &mut words[start..] {
                        *word = scale.double(*word);
                    }
                }
            }
        }
        if !coder.is_within() {
            return Err(Malformed);
        }
    }
    if coder.is_at_end() {
        Ok((words, all_absent))
    } else {
        Err(Malformed)
    }
}

/// The steps of every column that had some, one after the other.
struct Steps {
    length: usize,
    steps: Vec<u64>,
    /// By row, which of the columns before had a residual.
    near: Vec<u8>,
}

impl Steps {
    fn new(rows: usize) -> Steps {
        Steps {
            length: rows - 1,
            steps: Vec::new(),
            near: vec![0; rows - 1],
        }
    }

    /// The steps of the next column.
    fn read(
        &mut self,
        coder: &mut Decoder<'_>,
        model: &mut Model,
        plan: &Plan,
        absent: &[bool],
    ) -> Result<&[u64], Malformed> {
        if plan.unit == 0 {
            return Err(Malformed);
        }
        let start = self.steps.len();
        self.steps.resize(start + self.length, 0);
        let (earlier, steps) = self.steps.split_at_mut(start);
        if !plan.exact {
            let mut track = Track::new(plan);
            for (row, (step, near)) in (1..).zip(steps.iter_mut().zip(&mut self.near)) {
                if !is_absent(absent, row) {
                    *step = model.residual(coder, &mut track, near, 0);
                }
            }
        }
        for link in &plan.links {
            let back = usize::try_from(link.distance).map_err(|_| Malformed)?;
            let columns = start.checked_div(self.length).unwrap_or(0);
            if back == 0 || back > columns.min(REACH) {
                return Err(Malformed);
            }
            let other = &earlier[start - back * self.length..];
            for (step, other) in steps.iter_mut().zip(other) {
                *step = if link.negative {
                    step.wrapping_sub(*other)
                } else {
                    step.wrapping_add(*other)
                };
            }
        }
        let drift = unzigzag(plan.drift);
        for (row, step) in (1..).zip(steps.iter_mut()) {
            *step = if is_absent(absent, row) {
                0
            } else {
                step.wrapping_add(drift)
            };
        }
        Ok(steps)
    }
}

fn is_absent(absent: &[bool], row: usize) -> bool {
    absent.get(row).copied().unwrap_or(false)
}

/// A column's first number: small ones below zero stay small.
fn first_code(value_type: ValueType, first: u64) -> u64 {
    match value_type {
        ValueType::U64 => first,
        ValueType::I64 | ValueType::F64 => zigzag(first),
    }
}

fn first_from_code(value_type: ValueType, code: u64) -> u64 {
    match value_type {
        ValueType::U64 => code,
        ValueType::I64 | ValueType::F64 => unzigzag(code),
    }
}

fn size(step: u64) -> u64 {
    (step as i64).unsigned_abs()
}

/// The greatest common divisor; of zero and a number, the number.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A step in units that it is a multiple of.
fn part(step: u64, unit: u64) -> u64 {
    let part = size(step) / unit;
    if (step as i64) < 0 {
        part.wrapping_neg()
    } else {
        part
    }
}
