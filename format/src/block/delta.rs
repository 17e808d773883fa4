//! Codec 1, which was written before codec 2: differences from row to row, runs of zeros, LEB128.

use super::FRAME_COLUMNS;
use crate::bytes::{Cursor, Malformed, unzigzag};
use crate::schema::ValueType;

/// Reads numbers in which a zero is followed by how many more there are. Runs may not reach past
/// the numbers expected.
struct Numbers<'a> {
    cursor: Cursor<'a>,
    zeros: u64,
    remaining: u64,
}

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, Malformed> {
        self.remaining = self.remaining.checked_sub(1).ok_or(Malformed)?;
        if self.zeros > 0 {
            self.zeros -= 1;
            return Ok(0);
        }
        let number = self.cursor.varint()?;
        if number == 0 {
            self.zeros = self.cursor.varint()?;
            if self.zeros > self.remaining {
                return Err(Malformed);
            }
        }
        Ok(number)
    }
}

/// Decodes columns of these types, of `rows` rows each: their words, column by column.
pub(super) fn decode(
    body: &[u8],
    types: impl ExactSizeIterator<Item = ValueType>,
    rows: usize,
) -> Result<Vec<u64>, Malformed> {
    let cells = types.len() * rows;
    let mut numbers = Numbers {
        cursor: Cursor::new(body),
        zeros: 0,
        remaining: cells as u64,
    };
    let mut words = Vec::with_capacity(cells);
    for (column, value_type) in types.enumerate() {
        let (mut word, mut step) = (0_u64, 0_u64);
        for _ in 0..rows {
            let number = numbers.next()?;
            if value_type == ValueType::F64 {
                word ^= number.swap_bytes();
            } else {
                let difference = unzigzag(number).wrapping_add(step);
                word = word.wrapping_add(difference);
                step = if is_steady(column) { difference } else { 0 };
            }
            words.push(word);
        }
    }
    if numbers.cursor.remaining() > 0 {
        Err(Malformed)
    } else {
        Ok(words)
    }
}

/// Columns whose differences are themselves nearly constant: seq and realtime.
const fn is_steady(column: usize) -> bool {
    const { assert!(FRAME_COLUMNS > 2) };
    column < 2
}
