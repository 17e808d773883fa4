//! An adaptive binary range coder, and a string of plain bits beside it.
//!
//! Decisions go through the range coder, each with the probability that its [`Bit`] has learned;
//! bits that nothing can foresee lie beside it as they are, which is faster by far.
//!
//! [`Encoder`] and [`Decoder`] do the same steps: what is written over [`Coder`] is written once,
//! and cannot differ between the two.

use crate::bytes::{Cursor, Malformed, put_varint};

/// How likely a decision is a yes, learned from those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    /// In 1/65,536. The shifts below keep it from 15 to 65,521.
    yes: u16,
    seen: u8,
}

impl Bit {
    pub(super) const NEW: Bit = Bit {
        yes: 1 << 15,
        seen: 0,
    };

    /// Moves towards what was decided, by a half at first and a 16th in the end.
    fn learn(&mut self, yes: bool) {
        self.seen += u8::from(self.seen < 4);
        if yes {
            self.yes += self.yes.wrapping_neg() >> self.seen;
        } else {
            self.yes -= self.yes >> self.seen;
        }
    }
}

/// Writes what it is given, or reads and ignores what it is given; both return what is coded.
pub(super) trait Coder {
    /// One decision.
    fn bit(&mut self, model: &mut Bit, yes: bool) -> bool;

    /// The low bits of a number, at most 63, as they are.
    fn plain(&mut self, number: u64, count: u32) -> u64;
}

/// The range is refilled when it has fallen below this.
const REFILL: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Encoder {
    low: u64,
    range: u64,
    words: Vec<u32>,
    plain: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder {
            low: 0,
            range: u64::MAX,
            words: Vec::new(),
            plain: Vec::new(),
            held: 0,
            held_bits: 0,
        }
    }

    fn raise(&mut self, by: u64) {
        let (low, carry) = self.low.overflowing_add(by);
        self.low = low;
        if carry {
            for word in self.words.iter_mut().rev() {
                *word = word.wrapping_add(1);
                if *word != 0 {
                    break;
                }
            }
        }
    }

    fn push_word(&mut self) {
        self.words.push((self.low >> 32) as u32);
        self.low <<= 32;
    }

    /// The number of the coder's words, the words, the plain bits.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // The one number within the range whose lower half is zero.
        self.raise(REFILL - 1);
        self.push_word();
        let mut out = Vec::new();
        put_varint(&mut out, self.words.len() as u64);
        for word in &self.words {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.append(&mut self.plain);
        let bytes = self.held_bits.div_ceil(8) as usize;
        out.extend_from_slice(&self.held.to_le_bytes()[..bytes]);
        out
    }
}

impl Coder for Encoder {
    fn bit(&mut self, model: &mut Bit, yes: bool) -> bool {
        let bound = (self.range >> 16) * u64::from(model.yes);
        if yes {
            self.range = bound;
        } else {
            self.raise(bound);
            self.range -= bound;
        }
        model.learn(yes);
        if self.range < REFILL {
            self.range <<= 32;
            self.push_word();
        }
        yes
    }

    fn plain(&mut self, number: u64, count: u32) -> u64 {
        let number = number & ((1 << count) - 1);
        self.held |= number << self.held_bits;
        if self.held_bits + count < 64 {
            self.held_bits += count;
        } else {
            self.plain.extend_from_slice(&self.held.to_le_bytes());
            self.held = number.checked_shr(64 - self.held_bits).unwrap_or(0);
            self.held_bits = self.held_bits + count - 64;
        }
        number
    }
}

#[derive(Debug)]
pub(super) struct Decoder<'a> {
    range: u64,
    code: u64,
    words: std::slice::Iter<'a, [u8; 4]>,
    /// Words asked for behind the last one, which count as zero.
    overrun: u32,
    plain: &'a [u8],
    plain_bits: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Decoder<'a>, Malformed> {
        let mut cursor = Cursor::new(body);
        let count = usize::try_from(cursor.varint()?).map_err(|_| Malformed)?;
        let words = cursor.take(count.checked_mul(4).ok_or(Malformed)?)?;
        let mut decoder = Decoder {
            range: u64::MAX,
            code: 0,
            words: words.as_chunks::<4>().0.iter(),
            overrun: 0,
            plain: cursor.take(cursor.remaining())?,
            plain_bits: 0,
        };
        decoder.code = decoder.word() << 32;
        decoder.code |= decoder.word();
        Ok(decoder)
    }

    fn word(&mut self) -> u64 {
        match self.words.next() {
            Some(bytes) => u64::from(u32::from_le_bytes(*bytes)),
            None => {
                self.overrun = self.overrun.saturating_add(1);
                0
            }
        }
    }

    /// False once more has been read than there is.
    pub(super) fn is_within(&self) -> bool {
        self.overrun <= 1 && self.plain_bits.div_ceil(8) <= self.plain.len()
    }

    /// Whether exactly what there is has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.overrun == 1 && self.plain_bits.div_ceil(8) == self.plain.len()
    }

    /// At least 57 bits from the place reached, zeros behind the end.
    fn peek(&self) -> u64 {
        let rest = self.plain.get(self.plain_bits / 8..).unwrap_or_default();
        let bytes = rest.first_chunk::<8>().copied().unwrap_or_else(|| {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            bytes
        });
        u64::from_le_bytes(bytes) >> (self.plain_bits % 8)
    }

    fn short(&mut self, count: u32) -> u64 {
        let number = self.peek() & ((1 << count) - 1);
        self.plain_bits += count as usize;
        number
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn bit(&mut self, model: &mut Bit, _: bool) -> bool {
        let bound = (self.range >> 16) * u64::from(model.yes);
        let yes = self.code < bound;
        if yes {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        model.learn(yes);
        if self.range < REFILL {
            self.range <<= 32;
            self.code = self.code << 32 | self.word();
        }
        yes
    }

    #[inline]
    fn plain(&mut self, _: u64, count: u32) -> u64 {
        match count.checked_sub(32) {
            None => self.short(count),
            Some(more) => self.short(32) | self.short(more) << 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], choices: &[(bool, u64, u32)]) -> Vec<(bool, u64)> {
        let mut decoder = Decoder::new(bytes).expect("well formed");
        let mut models = [Bit::NEW; 3];
        let read = choices
            .iter()
            .enumerate()
            .map(|(at, (_, _, count))| {
                let yes = decoder.bit(&mut models[at % 3], false);
                (yes, decoder.plain(0, *count))
            })
            .collect();
        assert!(decoder.is_at_end());
        read
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "proptest reads files")]
        fn decisions_and_plain_bits_come_back(
            choices in proptest::collection::vec((any::<bool>(), any::<u64>(), 0_u32..64), 0..500)
        ) {
            let mut encoder = Encoder::new();
            let mut models = [Bit::NEW; 3];
            let mut expected = Vec::new();
            for (at, (yes, number, count)) in choices.iter().enumerate() {
                encoder.bit(&mut models[at % 3], *yes);
                expected.push((*yes, encoder.plain(*number, *count)));
            }
            prop_assert_eq!(decode(&encoder.finish(), &choices), expected);
        }
    }

    #[test]
    fn ten_thousand_likely_decisions_take_few_bytes() {
        let choices: Vec<_> = (0..10_000).map(|n| (n % 1000 == 0, 0, 0)).collect();
        let mut encoder = Encoder::new();
        let mut model = Bit::NEW;
        for (yes, ..) in &choices {
            encoder.bit(&mut model, *yes);
        }
        let bytes = encoder.finish();
        assert!(bytes.len() < 40, "{} bytes", bytes.len());
    }

    #[test]
    fn a_carry_runs_through_words_of_ones() {
        // Unlikely decisions push the low end up against the top of the range.
        let choices: Vec<_> = (0..5_000).map(|n| (n % 97 == 96, 0, 0)).collect();
        let mut encoder = Encoder::new();
        let mut models = [Bit::NEW; 3];
        for (at, (yes, ..)) in choices.iter().enumerate() {
            encoder.bit(&mut models[at % 3], *yes);
        }
        let read = decode(&encoder.finish(), &choices);
        let expected: Vec<_> = choices.iter().map(|(yes, ..)| (*yes, 0)).collect();
        assert_eq!(read, expected);
    }
}
