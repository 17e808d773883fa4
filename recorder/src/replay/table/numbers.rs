//! Numbers at a width a table can bear.

/// Three digits that matter, at most six characters: `0.05`, `12.3`, `4711`, `12k`, `1.2G`.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "NaN" } else { "Inf" }.into();
    }
    if size == 0.0 {
        return "0".into();
    }
    if size < 0.01 {
        // Small is not zero.
        return if value < 0.0 { "-.00" } else { "<.01" }.into();
    }
    match size {
        _ if size < 9.995 => format!("{value:.2}"),
        _ if size < 99.95 => format!("{value:.1}"),
        _ if size < 99_999.5 => format!("{value:.0}"),
        _ if size < 9_999_500.0 => format!("{:.0}k", value / 1e3),
        _ if size < 9_999_500_000.0 => format!("{:.0}M", value / 1e6),
        _ if size < 9_999_500_000_000.0 => format!("{:.0}G", value / 1e9),
        _ => format!("{value:.0e}"),
    }
}

/// Seconds with their unit: `850us`, `4.78ms`, `1.20s`.
pub(super) fn latency(seconds: f64) -> String {
    let three = |value: f64| match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    match seconds {
        _ if seconds < 0.999_5e-6 => format!("{:.0}ns", seconds * 1e9),
        _ if seconds < 0.999_5e-3 => format!("{}us", three(seconds * 1e6)),
        _ if seconds < 0.999_5 => format!("{}ms", three(seconds * 1e3)),
        _ => format!("{}s", three(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_a_small_one_is_not_shown_as_zero() {
        let cases = [
            (0.0, "0"),
            (0.001, "<.01"),
            (0.05, "0.05"),
            (1.5, "1.50"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.99, "100"),
            (4711.0, "4711"),
            (99_999.0, "99999"),
            (123_456.0, "123k"),
            (12_345_678.0, "12M"),
            (12_345_678_901.0, "12G"),
            (1e300, "1e300"),
            (f64::NAN, "NaN"),
            (-3.5, "-3.50"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text, "{value}");
            assert!(short(value).len() <= 6);
        }
    }

    #[test]
    fn latencies_carry_their_unit() {
        let cases = [
            (1.25e-7, "125ns"),
            (9.999e-7, "1.00us"),
            (8.5e-4, "850us"),
            (9.999e-4, "1.00ms"),
            (4.78e-3, "4.78ms"),
            (0.9999, "1.00s"),
            (2147.48, "2147s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(latency(seconds), text);
        }
    }
}
