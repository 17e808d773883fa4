//! Doubles as integers.
//!
//! Most doubles that are recorded were short decimals once: `0.37`, `1234.5`. Where every value of
//! a column is an integer divided by the same power of ten, to the last bit, the integers stand
//! for it. Otherwise the bits do, in an order in which neighbouring doubles are neighbouring
//! integers.

/// Decimal places at most.
const MOST_PLACES: u8 = 18;

/// Up to here every integer is a double.
const EXACT: f64 = (1_u64 << 53) as f64;

/// How a column's doubles became integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// The bits, ordered.
    Bits,
    /// Times ten to this power.
    Places(u8),
}

impl Scale {
    /// As few places as every one of these doubles is exact with.
    pub(super) fn of(doubles: impl Iterator<Item = u64> + Clone) -> Scale {
        let fit = |places: &u8, word| Scale::Places(*places).integer_exact(word).is_some();
        let mut most = 0;
        for word in doubles.clone() {
            match (most..=MOST_PLACES).find(|places| fit(places, word)) {
                Some(places) => most = places,
                None => return Scale::Bits,
            }
        }
        if doubles.into_iter().all(|word| fit(&most, word)) {
            Scale::Places(most)
        } else {
            Scale::Bits
        }
    }

    pub(super) fn code(self) -> u64 {
        match self {
            Scale::Bits => 0,
            Scale::Places(places) => u64::from(places) + 1,
        }
    }

    pub(super) fn from_code(code: u64) -> Option<Scale> {
        match u8::try_from(code).ok()?.checked_sub(1) {
            None => Some(Scale::Bits),
            Some(places) => (places <= MOST_PLACES).then_some(Scale::Places(places)),
        }
    }

    fn integer_exact(self, word: u64) -> Option<u64> {
        let Scale::Places(places) = self else {
            return Some(ordered(word));
        };
        let scaled = (f64::from_bits(word) * power(places)).round();
        let integer = scaled as i64 as u64;
        (scaled.abs() <= EXACT && self.double(integer) == word).then_some(integer)
    }

    /// The integer of a double that this scale was made for.
    pub(super) fn integer(self, word: u64) -> u64 {
        self.integer_exact(word).unwrap_or(0)
    }

    /// The inverse of [`Scale::integer`].
    pub(super) fn double(self, integer: u64) -> u64 {
        match self {
            Scale::Bits => ordered(integer),
            Scale::Places(places) => (integer as i64 as f64 / power(places)).to_bits(),
        }
    }
}

fn power(places: u8) -> f64 {
    const POWERS: [f64; MOST_PLACES as usize + 1] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    POWERS[usize::from(places)]
}

/// Bits of a double as an integer of the same order, and back: those of a negative one turned over.
fn ordered(word: u64) -> u64 {
    word ^ ((word as i64 >> 63) as u64 >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scale(doubles: &[f64]) -> Scale {
        Scale::of(doubles.iter().map(|double| double.to_bits()))
    }

    #[test]
    fn short_decimals_become_integers_of_the_fewest_places() {
        assert_eq!(scale(&[1.0, 250.0, -3.0]), Scale::Places(0));
        assert_eq!(scale(&[0.37, 12.0, 1.5]), Scale::Places(2));
        assert_eq!(Scale::Places(2).integer(0.37_f64.to_bits()), 37);
    }

    #[test]
    fn what_no_integer_stands_for_keeps_its_bits() {
        for double in [-0.0, f64::NAN, f64::INFINITY, 1e300, 5e-324, 0.1 + 0.2] {
            assert_eq!(scale(&[1.0, double]), Scale::Bits, "{double}");
        }
    }

    #[test]
    fn ordered_bits_have_the_order_of_the_doubles() {
        let doubles = [f64::NEG_INFINITY, -2.5, -1e-300, 0.0, 1e-300, 2.5, 1e300];
        let integers = doubles.map(|double| Scale::Bits.integer(double.to_bits()) as i64);
        assert!(integers.is_sorted());
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn every_double_comes_back_bit_for_bit(
            words in proptest::collection::vec(any::<u64>(), 1..5),
            cents in proptest::collection::vec(any::<i32>(), 1..5),
        ) {
            let cents: Vec<u64> = cents.iter().map(|n| (f64::from(*n) / 100.0).to_bits()).collect();
            for words in [words, cents] {
                let scale = Scale::of(words.iter().copied());
                prop_assert_eq!(Scale::from_code(scale.code()), Some(scale));
                for word in words {
                    prop_assert_eq!(scale.double(scale.integer(word)), word);
                }
            }
        }
    }
}
