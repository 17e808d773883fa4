//! Values of a row: 64 bits each, or absent.

use std::fmt;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::schema::ValueType;

/// One recorded value, without the series' decimal exponent applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// An unsigned integer.
    U64(u64),
    /// A signed integer.
    I64(i64),
    /// A double, bit for bit.
    F64(f64),
}

impl Value {
    /// Reads the 64 recorded bits.
    pub const fn from_word(word: u64, value_type: ValueType) -> Value {
        match value_type {
            ValueType::U64 => Value::U64(word),
            ValueType::I64 => Value::I64(word as i64),
            ValueType::F64 => Value::F64(f64::from_bits(word)),
        }
    }

    /// The value as a double, with the series' decimal exponent applied. Integers beyond 2^53 are
    /// rounded: use [`Value::decimal`] where every digit counts.
    pub fn as_f64(self, exponent: i8) -> f64 {
        let integer = match self {
            Value::U64(value) => value as f64,
            Value::I64(value) => value as f64,
            Value::F64(value) => return value,
        };
        // Dividing by an exact power of ten rounds once; multiplying by its inverse rounds twice.
        match exponent {
            0 => integer,
            1.. => integer * 10_f64.powi(i32::from(exponent)),
            _ => integer / 10_f64.powi(-i32::from(exponent)),
        }
    }

    /// The exact decimal text: integers keep every digit, doubles the shortest text that reads
    /// back to the same double. The special doubles are `NaN`, `+Inf` and `-Inf`.
    ///
    /// ```
    /// use ktm_format::Value;
    /// assert_eq!(Value::U64(4_780_000_123).decimal(-9).to_string(), "4.780000123");
    /// assert_eq!(Value::U64(5_000_000_000).decimal(-9).to_string(), "5");
    /// assert_eq!(Value::U64(7).decimal(3).to_string(), "7000");
    /// assert_eq!(Value::F64(0.1).decimal(0).to_string(), "0.1");
    /// ```
    pub const fn decimal(self, exponent: i8) -> Decimal {
        Decimal {
            value: self,
            exponent,
        }
    }
}

/// Prints a [`Value`] exactly. Made by [`Value::decimal`].
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    value: Value,
    exponent: i8,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, magnitude) = match self.value {
            Value::U64(value) => (false, value),
            Value::I64(value) => (value < 0, value.unsigned_abs()),
            Value::F64(value) => return write_double(f, value),
        };
        if negative {
            f.write_str("-")?;
        }
        write_scaled(f, magnitude, self.exponent)
    }
}

fn write_double(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("NaN");
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    // Plain digits for everyday sizes, an exponent where digits would be mostly zeros.
    let size = value.abs();
    if value == 0.0 || (1e-7..1e17).contains(&size) {
        write!(f, "{value}")
    } else {
        write!(f, "{value:e}")
    }
}

fn write_scaled(f: &mut fmt::Formatter<'_>, magnitude: u64, exponent: i8) -> fmt::Result {
    if magnitude == 0 || exponent == 0 {
        return write!(f, "{magnitude}");
    }
    if exponent > 0 {
        let zeros = usize::from(exponent.unsigned_abs());
        return write!(f, "{magnitude}{:0<zeros$}", "");
    }
    let places = usize::from(exponent.unsigned_abs());
    let digits = format!("{magnitude:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => f.write_str(whole),
        fraction => write!(f, "{whole}.{fraction}"),
    }
}

/// The values of one row, in the order of its schema's series.
///
/// Made once and refilled for every sample, so that sampling does not allocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// In the file's byte order already: appending copies them as they are.
    words: Vec<U64>,
    absent: Vec<bool>,
    any_absent: bool,
}

impl Values {
    /// No values yet.
    pub fn new() -> Values {
        Values::default()
    }

    /// Removes all values and keeps the space.
    pub fn clear(&mut self) {
        self.words.clear();
        self.absent.clear();
        self.any_absent = false;
    }

    /// Adds an unsigned integer.
    pub fn push_u64(&mut self, value: u64) {
        self.push(value, false);
    }

    /// Adds a signed integer.
    pub fn push_i64(&mut self, value: i64) {
        self.push(value as u64, false);
    }

    /// Adds a double.
    pub fn push_f64(&mut self, value: f64) {
        self.push(value.to_bits(), false);
    }

    /// Adds nothing in this series' place: it had no value at this time, which is not zero.
    pub fn push_absent(&mut self) {
        self.push(0, true);
        self.any_absent = true;
    }

    pub(crate) fn push(&mut self, word: u64, absent: bool) {
        self.words.push(word.into());
        self.absent.push(absent);
        self.any_absent |= absent;
    }

    /// How many values, absent ones included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True before the first value.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The recorded bits of one value, or `None` where it is absent or out of range.
    pub fn word(&self, index: usize) -> Option<u64> {
        match self.absent.get(index) {
            Some(false) => self.words.get(index).map(|word| word.get()),
            _ => None,
        }
    }

    /// All recorded bits as they lie in the file; an absent value's bits are zero.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.words.as_bytes()
    }

    pub(crate) fn absent(&self) -> Option<&[bool]> {
        self.any_absent.then_some(&self.absent)
    }
}

impl FromIterator<Option<u64>> for Values {
    /// From recorded bits, `None` for what is absent.
    fn from_iter<I: IntoIterator<Item = Option<u64>>>(words: I) -> Values {
        let mut values = Values::new();
        for word in words {
            values.push(word.unwrap_or(0), word.is_none());
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_at_the_edges() {
        let text = |value: Value, exponent| value.decimal(exponent).to_string();
        assert_eq!(text(Value::U64(u64::MAX), -9), "18446744073.709551615");
        assert_eq!(text(Value::I64(i64::MIN), 0), "-9223372036854775808");
        assert_eq!(text(Value::I64(-5), -2), "-0.05");
        assert_eq!(text(Value::U64(0), -9), "0");
        assert_eq!(text(Value::U64(100), -2), "1");
        assert_eq!(text(Value::F64(f64::NAN), 0), "NaN");
        assert_eq!(text(Value::F64(f64::NEG_INFINITY), 0), "-Inf");
        assert_eq!(text(Value::F64(-0.0), 0), "-0");
    }

    #[test]
    fn printed_doubles_read_back_to_the_same_bits() {
        for value in [0.1, 1e300, 5e-324, 1.0 / 3.0, 1e16, 1e17, 123_456_789.125] {
            let printed = Value::F64(value).decimal(0).to_string();
            let read: f64 = printed.parse().expect("a number");
            assert_eq!(read.to_bits(), value.to_bits(), "{printed}");
        }
    }

    #[test]
    fn an_absent_value_is_not_zero() {
        let mut values = Values::new();
        values.push_u64(0);
        values.push_absent();
        assert_eq!(values.word(0), Some(0));
        assert_eq!(values.word(1), None);
        values.clear();
        assert!(values.absent().is_none(), "clearing forgets the absence");
    }
}
