//! Bounded reading and writing of variable-length payloads.
//!
//! Everything here takes bytes from a file that may be damaged or hostile: every length is checked
//! against what is there, and nothing is allocated on the word of a length field alone.

/// The bytes do not say what their framing promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads little-endian fields from the front of a slice.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// LEB128, at most ten bytes, in its shortest form only: each value has one encoding.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for position in 0..10_u32 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if position == 9 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << (7 * position);
            if byte & 0x80 == 0 {
                if byte == 0 && position > 0 {
                    return Err(Malformed);
                }
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A string with a 16-bit length in front.
    pub(crate) fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    /// Name and value pairs with a 16-bit count in front.
    pub(crate) fn pairs(&mut self) -> Result<Vec<(String, String)>, Malformed> {
        let count = self.u16()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = self.string()?.to_owned();
            pairs.push((name, self.string()?.to_owned()));
        }
        Ok(pairs)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Writes a string as [`Cursor::string`] reads it. What exceeds 65,535 bytes is cut at a character.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let length = u16::try_from(end).expect("cut to 65,535 bytes above");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
}

/// Writes pairs as [`Cursor::pairs`] reads them. Pairs past 65,535 are dropped.
pub(crate) fn put_pairs(out: &mut Vec<u8>, pairs: &[(String, String)]) {
    let count = u16::try_from(pairs.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in pairs.iter().take(usize::from(count)) {
        put_string(out, name);
        put_string(out, value);
    }
}

/// Zig-zag: small signed differences become small unsigned numbers.
pub(crate) const fn zigzag(value: u64) -> u64 {
    (value << 1) ^ ((value as i64) >> 63) as u64
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_reads_back_and_has_one_encoding() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
        }
        assert_eq!(
            Cursor::new(&[0x80, 0x00]).varint(),
            Err(Malformed),
            "padded zero"
        );
        assert_eq!(
            Cursor::new(&[0xff; 10]).varint(),
            Err(Malformed),
            "more than 64 bits"
        );
        assert_eq!(Cursor::new(&[0x80]).varint(), Err(Malformed), "cut short");
    }

    #[test]
    fn zigzag_is_its_own_inverse_at_the_edges() {
        for value in [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!(zigzag(u64::MAX), 1, "minus one is the second smallest");
    }

    #[test]
    fn an_overlong_string_is_cut_at_a_character() {
        let long = "\u{e9}".repeat(40_000);
        let mut bytes = Vec::new();
        put_string(&mut bytes, &long);
        let read = Cursor::new(&bytes).string().expect("well formed");
        assert_eq!(read.len(), 65_534, "no half character");
    }
}
