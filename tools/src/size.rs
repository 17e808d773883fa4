//! Sizes, as `ktm-recorder --size` takes them: `64MiB`, `500MB`, `67108864`.

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a size. The error says what is accepted.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let size = number.parse::<u64>().ok().zip(factor);
    size.and_then(|(number, (_, factor))| number.checked_mul(*factor))
        .ok_or_else(|| "not a size: bytes, or a number with KiB, MiB, GiB, KB, MB or GB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("1 gib"), Ok(1 << 30));
        assert_eq!(parse("500MB"), Ok(500_000_000));
        assert_eq!(parse("67108864"), Ok(64 << 20));
        for wrong in ["", "64M", "MiB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
