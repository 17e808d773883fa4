//! Which buckets of a fine histogram are shown to Prometheus.

use std::collections::HashMap;

use ktm_format::Kind;

use super::columns::{Column, Columns, Group};

/// A histogram with more finite bounds than this is recorded finer than it is exposed.
const FINE: usize = 64;

/// The columns for `/metrics` and `/metrics-windows`.
///
/// The recording has up to eight buckets per doubling of latency; exposed are the bounds of a power
/// of two microseconds, which upstream has, and `+Inf`. Buckets are cumulative, so leaving some out
/// leaves the others true. Histograms that are not that fine keep every bound.
pub(crate) fn exposed(columns: &Columns) -> Columns {
    let mut finite: HashMap<Group<'_>, usize> = HashMap::new();
    for column in columns.list() {
        if column.kind == Kind::Bucket && column.bound().is_some_and(f64::is_finite) {
            *finite
                .entry((column.family(), column.identity()))
                .or_default() += 1;
        }
    }
    columns.retain(|column| {
        let is_fine = || {
            finite
                .get(&column.group())
                .is_some_and(|count| *count > FINE)
        };
        column.kind != Kind::Bucket || is_power_of_two_microseconds(column) || !is_fine()
    })
}

fn is_power_of_two_microseconds(column: &Column) -> bool {
    let Some(bound) = column.bound() else {
        return true;
    };
    if bound.is_infinite() {
        return true;
    }
    let exponent = (bound * 1e6).log2().round();
    (0.0..64.0).contains(&exponent) && (bound * 1e6 / exponent.exp2() - 1.0).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series, ValueType};

    use super::*;

    fn histogram(bounds: &[String]) -> Columns {
        let bucket = |bound: &String| {
            Series::new("x_seconds_bucket", Kind::Bucket, ValueType::U64, "").label("le", bound)
        };
        let series = bounds.iter().map(bucket).collect();
        Columns::of(&[Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
        .into()])
    }

    fn shown(bounds: &[String]) -> Vec<String> {
        let columns = exposed(&histogram(bounds));
        columns
            .list()
            .iter()
            .map(|c| c.label("le").unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_fine_histogram_shows_powers_of_two_microseconds_and_infinity() {
        let mut bounds = Vec::new();
        for power in 0..32 {
            let base = 1e-6 * f64::from(1_u32 << power);
            bounds.extend((8..16).map(|eighth| format!("{}", base * f64::from(eighth) / 8.0)));
        }
        bounds.push("+Inf".into());
        let shown = shown(&bounds);
        assert_eq!(shown.len(), 33, "{shown:?}");
        assert_eq!(shown.first().map(String::as_str), Some("0.000001"));
        assert_eq!(shown.last().map(String::as_str), Some("+Inf"));
        for (power, le) in shown.iter().take(32).enumerate() {
            let bound: f64 = le.parse().expect("a number");
            let expected = 1e-6 * 2_f64.powi(power as i32);
            assert!((bound / expected - 1.0).abs() < 1e-12, "{le}");
        }
    }

    #[test]
    fn an_ordinary_histogram_keeps_every_bound() {
        let bounds: Vec<String> = ["0.005", "0.01", "0.025", "1", "2.5", "+Inf"]
            .map(String::from)
            .to_vec();
        assert_eq!(shown(&bounds), bounds);
    }
}
