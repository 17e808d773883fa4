//! Quantiles from recorded histograms, over any stretch whose increases can be told.

use std::collections::HashMap;

use ktm_format::Kind;

use super::columns::{Columns, Group};
use super::steps::Increase;

/// The buckets of one histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) family: String,
    /// Inclusive upper bounds, ascending, each with its column.
    buckets: Vec<(f64, usize)>,
}

/// A quantile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quantile {
    /// Interpolated within its bucket.
    Within(f64),
    /// Beyond the last finite bound.
    Beyond(f64),
}

impl Histogram {
    /// Every histogram among the columns, in order of column.
    pub(crate) fn all(columns: &Columns) -> Vec<Histogram> {
        let mut histograms: Vec<Histogram> = Vec::new();
        let mut known: HashMap<Group<'_>, usize> = HashMap::new();
        for (index, column) in columns.list().iter().enumerate() {
            let Some(bound) = column.bound().filter(|_| column.kind == Kind::Bucket) else {
                continue;
            };
            let place = *known.entry(column.group()).or_insert_with(|| {
                let family = column.family().to_owned();
                histograms.push(Histogram {
                    family,
                    buckets: Vec::new(),
                });
                histograms.len() - 1
            });
            if let Some(histogram) = histograms.get_mut(place) {
                histogram.buckets.push((bound, index));
            }
        }
        for histogram in &mut histograms {
            histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        histograms
    }

    /// The quantile `q` (0 to 1) of what was observed; `None` where nothing was.
    ///
    /// Within a bucket observations are taken to be spread evenly, so the error is at most the
    /// bucket's width.
    pub(crate) fn quantile(&self, q: f64, increases: &[Increase]) -> Option<Quantile> {
        let upto = |column: usize| {
            let increase = increases.get(column)?;
            (increase.seconds > 0.0).then_some(increase.amount)
        };
        let (_, last) = self.buckets.last()?;
        let total = upto(*last)?;
        if total <= 0.0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, column) in &self.buckets {
            // Buckets are read one after another: a later one may lag behind an earlier one.
            let count = upto(*column)?.max(below);
            if count >= rank && count > below {
                return Some(if bound.is_infinite() {
                    Quantile::Beyond(lower)
                } else {
                    Quantile::Within(lower + (bound - lower) * (rank - below) / (count - below))
                });
            }
            (lower, below) = (*bound, count);
        }
        Some(Quantile::Beyond(lower))
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Schema, Series, ValueType};

    use super::*;

    fn columns(bounds: &[&str]) -> Columns {
        let bucket = |bound: &&str| {
            Series::new("x_bucket", Kind::Bucket, ValueType::U64, "").label("le", *bound)
        };
        let series = bounds.iter().map(bucket).collect();
        Columns::of(&[Schema {
            module: "m".into(),
            labels: vec![],
            series,
        }
        .into()])
    }

    fn quantile(q: f64, counts: &[f64]) -> Option<Quantile> {
        let histograms = Histogram::all(&columns(&["1", "2", "4", "+Inf"]));
        let increase = |amount: &f64| Increase {
            amount: *amount,
            seconds: 10.0,
        };
        let increases: Vec<Increase> = counts.iter().map(increase).collect();
        histograms[0].quantile(q, &increases)
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        assert_eq!(
            quantile(0.5, &[0.0, 10.0, 10.0, 10.0]),
            Some(Quantile::Within(1.5))
        );
        assert_eq!(
            quantile(0.99, &[0.0, 0.0, 100.0, 100.0]),
            Some(Quantile::Within(3.98))
        );
        assert_eq!(
            quantile(1.0, &[5.0, 5.0, 10.0, 10.0]),
            Some(Quantile::Within(4.0))
        );
        assert_eq!(
            quantile(0.25, &[4.0, 4.0, 8.0, 8.0]),
            Some(Quantile::Within(0.5))
        );
    }

    #[test]
    fn beyond_the_last_bound_only_that_is_known() {
        assert_eq!(
            quantile(0.5, &[0.0, 0.0, 0.0, 7.0]),
            Some(Quantile::Beyond(4.0))
        );
        assert_eq!(
            quantile(0.99, &[0.0, 50.0, 98.0, 100.0]),
            Some(Quantile::Beyond(4.0))
        );
    }

    #[test]
    fn without_observations_there_is_no_quantile() {
        assert_eq!(quantile(0.5, &[0.0; 4]), None);
        let histograms = Histogram::all(&columns(&["1", "+Inf"]));
        assert_eq!(histograms[0].quantile(0.5, &[Increase::default(); 2]), None);
    }

    #[test]
    fn a_bucket_that_lags_behind_does_not_turn_the_order() {
        let found = quantile(0.9, &[0.0, 10.0, 9.0, 10.0]);
        assert_eq!(found, Some(Quantile::Within(1.9)));
    }

    #[test]
    fn histograms_are_told_apart_by_their_labels() {
        let bucket = |le: &str, pod: &str| {
            Series::new("x_bucket", Kind::Bucket, ValueType::U64, "")
                .label("le", le)
                .label("p", pod)
        };
        let series = vec![bucket("+Inf", "a"), bucket("1", "a"), bucket("1", "b")];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let histograms = Histogram::all(&Columns::of(&[schema.into()]));
        assert_eq!(histograms.len(), 2);
        assert_eq!(histograms[0].buckets, [(1.0, 1), (f64::INFINITY, 0)]);
    }
}
