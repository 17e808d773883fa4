//! Numbers as `-o csv` prints them, and which 64 bits print back to the same text.
//!
//! A number is taken only if it prints back as it was written. So an import that succeeds has lost
//! no digit, whatever the numbers are.

use ktm_format::{Value, ValueType};

/// Decimal places that a series' exponent can have at most, and zeros it can leave out.
const MOST_PLACES: u8 = 18;

/// How the values of a column are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Representation {
    pub(crate) value_type: ValueType,
    /// An integer's value is `stored * 10^exponent`.
    pub(crate) exponent: i8,
}

impl Default for Representation {
    fn default() -> Representation {
        Representation::integer(false, 0)
    }
}

impl Representation {
    const DOUBLE: Representation = Representation {
        value_type: ValueType::F64,
        exponent: 0,
    };

    const fn integer(is_signed: bool, exponent: i8) -> Representation {
        Representation {
            value_type: if is_signed {
                ValueType::I64
            } else {
                ValueType::U64
            },
            exponent,
        }
    }

    /// The 64 bits that print as this text.
    pub(crate) fn encode(self, text: &str) -> Option<u64> {
        match self.value_type {
            ValueType::F64 => double(text).map(f64::to_bits),
            ValueType::U64 | ValueType::I64 => {
                let decimal = Decimal::parse(text)?;
                decimal.scaled(self.value_type == ValueType::I64, self.exponent)
            }
        }
    }
}

/// A decimal in the form without which it would not print back: no needless zero, no plus.
#[derive(Clone, Copy)]
struct Decimal {
    is_negative: bool,
    /// All digits.
    magnitude: u128,
    /// How many of them are behind the point; the last is not zero.
    places: u8,
}

impl Decimal {
    fn parse(text: &str) -> Option<Decimal> {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (text, ""),
        };
        let is_plain = whole == "0" || !whole.is_empty() && !whole.starts_with('0');
        let places = u8::try_from(fraction.len()).ok()?;
        if !is_plain || fraction.ends_with('0') || places > MOST_PLACES {
            return None;
        }
        let mut magnitude = 0_u128;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| u128::from(byte - b'0'))?;
            magnitude = magnitude.checked_mul(10)?.checked_add(digit)?;
        }
        // Minus zero is a double.
        (!is_negative || magnitude > 0).then_some(Decimal {
            is_negative,
            magnitude,
            places,
        })
    }

    /// The stored integer of a series with this exponent.
    fn scaled(self, is_signed: bool, exponent: i8) -> Option<u64> {
        let shift = i32::from(self.places) + i32::from(exponent);
        let power = 10_u128.checked_pow(shift.unsigned_abs())?;
        let magnitude = match shift {
            ..0 => self.magnitude.checked_mul(power)?,
            0.. if self.magnitude.is_multiple_of(power) => self.magnitude / power,
            0.. => return None,
        };
        match (is_signed, self.is_negative) {
            (false, false) => u64::try_from(magnitude).ok(),
            (false, true) => None,
            (true, false) => i64::try_from(magnitude).ok().map(i64::cast_unsigned),
            (true, true) => 0_i64
                .checked_sub_unsigned(u64::try_from(magnitude).ok()?)
                .map(i64::cast_unsigned),
        }
    }

    /// Zeros at the end of an integer.
    fn zeros(self) -> u8 {
        let mut zeros = 0;
        let mut rest = self.magnitude;
        while rest > 0 && rest.is_multiple_of(10) && zeros < MOST_PLACES {
            rest /= 10;
            zeros += 1;
        }
        if rest == 0 { MOST_PLACES } else { zeros }
    }
}

/// The double that prints as this text.
fn double(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let printed = Value::F64(value).decimal(0).to_string();
    (printed == text).then_some(value)
}

/// What `text` would have to be to print back, for a message.
pub(crate) fn suggestion(text: &str) -> Option<String> {
    let value: f64 = text.trim().parse().ok()?;
    Some(Value::F64(value).decimal(0).to_string())
}

/// Learns from every cell of a column how it can be recorded.
///
/// | cells                                            | recorded as                         |
/// | ------------------------------------------------ | ----------------------------------- |
/// | integers from 0 on                               | `u64`                               |
/// | integers, some negative                          | `i64`                               |
/// | integers too long for those, all with zeros      | the same, with a positive exponent  |
/// | doubles: decimals, exponents, `NaN`, `+Inf`, ... | `f64`                               |
/// | decimals with more digits than a double has      | `u64` or `i64`, negative exponent   |
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    is_signed: bool,
    are_decimals: bool,
    are_doubles: bool,
    most_places: u8,
    /// Zeros that every integer ends with.
    least_zeros: u8,
    negative: Largest,
    positive: Largest,
}

/// The largest magnitude of some decimals.
#[derive(Clone, Copy, Debug, Default)]
struct Largest {
    whole: u128,
    /// Times 10^18, or as much as there is room for.
    with_places: u128,
}

impl Largest {
    fn note(&mut self, decimal: Decimal) {
        let power = |places| 10_u128.pow(u32::from(places));
        let whole = decimal.magnitude / power(decimal.places);
        let with_places = power(MOST_PLACES - decimal.places).saturating_mul(decimal.magnitude);
        self.whole = self.whole.max(whole);
        self.with_places = self.with_places.max(with_places);
    }

    /// The stored integer, its fraction cut off where the exponent is too large for it.
    fn stored(&self, exponent: i8) -> u128 {
        let power = |places: i32| 10_u128.pow(places.unsigned_abs());
        match i32::from(exponent) {
            exponent @ 0.. => self.whole / power(exponent),
            exponent => self.with_places / power(i32::from(MOST_PLACES) + exponent),
        }
    }
}

impl Default for Learned {
    fn default() -> Learned {
        Learned {
            is_signed: false,
            are_decimals: true,
            are_doubles: true,
            most_places: 0,
            least_zeros: MOST_PLACES,
            negative: Largest::default(),
            positive: Largest::default(),
        }
    }
}

impl Learned {
    /// Takes a cell's text; false if nothing prints like that.
    pub(crate) fn learn(&mut self, text: &str) -> bool {
        let decimal = Decimal::parse(text);
        // What is longer than 15 digits may be more than a double holds: only then is it asked.
        let is_double = decimal.is_some_and(|d| d.is_surely_double()) || double(text).is_some();
        self.are_doubles &= is_double;
        match decimal {
            Some(decimal) => self.note(decimal),
            None => self.are_decimals = false,
        }
        is_double || decimal.is_some_and(|decimal| decimal.fits_something())
    }

    fn note(&mut self, decimal: Decimal) {
        self.is_signed |= decimal.is_negative;
        self.most_places = self.most_places.max(decimal.places);
        self.least_zeros = self.least_zeros.min(decimal.zeros());
        if decimal.is_negative {
            self.negative.note(decimal);
        } else {
            self.positive.note(decimal);
        }
    }

    /// How every cell can be recorded so that it prints back, `None` if no single way does.
    pub(crate) fn representation(&self) -> Option<Representation> {
        let most = if self.is_signed {
            i64::MAX.cast_unsigned()
        } else {
            u64::MAX
        };
        let fits = |exponent: i8| {
            let (negative, positive) = (
                self.negative.stored(exponent),
                self.positive.stored(exponent),
            );
            let fits = positive <= u128::from(most) && negative <= u128::from(most) + 1;
            fits.then(|| Representation::integer(self.is_signed, exponent))
        };
        let places = -(self.most_places as i8);
        match (self.are_decimals, self.are_doubles) {
            (true, _) if self.most_places == 0 => {
                let zeros = self.least_zeros as i8;
                (0..=zeros).find_map(fits).or(self.double())
            }
            (_, true) => self.double(),
            (true, false) => fits(places),
            (false, false) => None,
        }
    }

    fn double(&self) -> Option<Representation> {
        self.are_doubles.then_some(Representation::DOUBLE)
    }
}

impl Decimal {
    /// Few enough digits, and of an everyday size: the nearest double prints like this.
    fn is_surely_double(self) -> bool {
        self.magnitude < 1_000_000_000_000_000 && (self.places <= 6 || self.magnitude == 0)
    }

    fn fits_something(self) -> bool {
        let mut alone = Learned {
            are_doubles: false,
            ..Learned::default()
        };
        alone.note(self);
        alone.representation().is_some()
    }
}

/// How a single number is recorded.
pub(crate) fn representation_of(text: &str) -> Option<Representation> {
    let mut learned = Learned::default();
    learned
        .learn(text)
        .then(|| learned.representation())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn learned(cells: &[&str]) -> Option<Representation> {
        let mut learned = Learned::default();
        for cell in cells {
            assert!(learned.learn(cell), "{cell}");
        }
        let found = learned.representation();
        if let Some(representation) = found {
            for cell in cells {
                let word = representation.encode(cell).expect("learned to fit");
                let value = Value::from_word(word, representation.value_type);
                assert_eq!(value.decimal(representation.exponent).to_string(), *cell);
            }
        }
        found
    }

    fn integer(is_signed: bool, exponent: i8) -> Option<Representation> {
        Some(Representation::integer(is_signed, exponent))
    }

    #[test]
    fn a_column_is_what_all_of_its_cells_are() {
        let double = Some(Representation::DOUBLE);
        assert_eq!(
            learned(&["0", "7", "18446744073709551615"]),
            integer(false, 0)
        );
        assert_eq!(learned(&["0", "-9223372036854775808"]), integer(true, 0));
        assert_eq!(learned(&["0", "0.5", "14.285714285714286"]), double);
        assert_eq!(
            learned(&["1", "NaN", "+Inf", "-Inf", "-0", "5e-324", "1e300"]),
            double
        );
        assert_eq!(
            learned(&["4.780000123", "18446744073.709551615"]),
            integer(false, -9)
        );
        assert_eq!(
            learned(&["-4.780000123", "9223372036.854775807"]),
            integer(true, -9)
        );
        assert_eq!(
            learned(&["18446744073709551615000", "0", "5000"]),
            integer(false, 3)
        );
        assert_eq!(
            learned(&["0.00000001"]),
            integer(false, -8),
            "10 ns, and no double's text"
        );
        assert_eq!(learned(&["0.000000000000000001"]), integer(false, -18));
        assert_eq!(learned(&[]), integer(false, 0));
    }

    #[test]
    fn what_no_single_type_holds_is_left_to_each_cell() {
        assert_eq!(learned(&["18446744073709551615", "NaN"]), None);
        assert_eq!(learned(&["18446744073709551615", "-1"]), None);
        assert_eq!(learned(&["18446744073.709551615", "0.5", "1e-8"]), None);
    }

    #[test]
    fn what_would_not_print_back_is_no_number() {
        for text in [
            "",
            " ",
            "x",
            "1.50",
            "01",
            "+1",
            "1.",
            ".5",
            "-0.0",
            "1e5",
            "inf",
            "nan",
            "Inf",
            "100000000000000000000000000000000000000000000000000.5",
            "1_000",
            "0x10",
            "1,5",
            "0.0000000000000000001",
            "12345678901234567890123",
            "--1",
            "-",
            "1 ",
            "184467440737.09551616",
        ] {
            assert!(!Learned::default().learn(text), "{text}");
            assert_eq!(representation_of(text), None, "{text}");
        }
        assert_eq!(suggestion("1.50"), Some("1.5".into()));
        assert_eq!(suggestion("x"), None);
    }

    fn exponents() -> impl Strategy<Value = i8> {
        prop_oneof![Just(0_i8), Just(-9), -18_i8..=18]
    }

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(Value::U64),
            (0..2000_u64).prop_map(Value::U64),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
            (-1000.0..1000.0).prop_map(Value::F64),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_read(value in values(), exponent in exponents()) {
            let exponent = if matches!(value, Value::F64(_)) { 0 } else { exponent };
            let text = value.decimal(exponent).to_string();
            let found = representation_of(&text);
            prop_assert!(found.is_some(), "{}", text);
            let found = found.expect("just checked");
            let word = found.encode(&text);
            prop_assert!(word.is_some(), "{}", text);
            let back = Value::from_word(word.expect("just checked"), found.value_type);
            prop_assert_eq!(back.decimal(found.exponent).to_string(), text);
        }

        #[test]
        fn a_column_of_one_type_keeps_one(
            words in proptest::collection::vec(any::<u64>(), 1..20),
            shift in 0_u32..64,
            exponent in exponents(),
            kind in 0..3,
        ) {
            let value = |word: u64| match kind {
                0 => Value::U64(word >> shift),
                1 => Value::I64((word as i64) >> shift),
                _ => Value::F64(f64::from_bits(word)),
            };
            let exponent = if kind == 2 { 0 } else { exponent };
            let cells: Vec<String> =
                words.iter().map(|word| value(*word).decimal(exponent).to_string()).collect();
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            prop_assert!(learned(&cells).is_some(), "{:?}", cells);
        }
    }
}
