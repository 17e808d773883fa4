//! Sizes as people write them: `64MiB`, `500MB`, `67108864`.

const UNITS: [(&str, u64); 12] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Reads a size. The error is a sentence without its full stop.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = match number {
        "" => return Err(format!("\"{text}\" is not a size")),
        number => number
            .parse()
            .map_err(|_| format!("\"{text}\" is too large"))?,
    };
    let factor = factor_of(unit.trim())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("\"{text}\" is too large"))
}

fn factor_of(unit: &str) -> Result<u64, String> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
        return Ok(1);
    }
    if let Some((_, factor)) = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
    {
        return Ok(*factor);
    }
    // "64M" is 2^20 to dd and 10^6 to Kubernetes.
    match unit {
        "T" | "G" | "M" | "K" | "t" | "g" | "m" | "k" => {
            let unit = unit.to_ascii_uppercase();
            Err(format!("{unit} is ambiguous: {unit}iB or {unit}B"))
        }
        _ => Err(format!("\"{unit}\" is not a unit of size")),
    }
}

/// The shortest exact text, which [`parse_size`] reads back.
pub(crate) fn size_text(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || bytes.to_string(),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written_and_print_back() {
        for (text, bytes, printed) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("64mib", 64 << 20, "64MiB"),
            ("64Mi", 64 << 20, "64MiB"),
            ("1 GiB", 1 << 30, "1GiB"),
            ("500MB", 500_000_000, "500MB"),
            ("67108864", 64 << 20, "64MiB"),
            ("1000003", 1_000_003, "1000003"),
            ("0", 0, "0"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(size_text(bytes), printed);
            assert_eq!(parse_size(printed), Ok(bytes));
        }
    }

    #[test]
    fn what_could_mean_two_sizes_is_refused() {
        assert_eq!(parse_size("64M"), Err("M is ambiguous: MiB or MB".into()));
        assert_eq!(parse_size("MiB"), Err("\"MiB\" is not a size".into()));
        assert_eq!(parse_size("-1"), Err("\"-1\" is not a size".into()));
        assert_eq!(
            parse_size("5 apples"),
            Err("\"apples\" is not a unit of size".into())
        );
        assert_eq!(
            parse_size("99999999TiB"),
            Err("\"99999999TiB\" is too large".into())
        );
    }
}
