//! Ratios of paired measurements, and how they are shown.

/// What one side measured, round by round.
#[derive(Clone, Debug, Default)]
pub(super) struct Side(Vec<f64>);

/// The smallest, the middle and the largest of some ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Side {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(super) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// This side over the other, round by round.
    pub(super) fn over(&self, other: &Side) -> Ratio {
        let mut ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        Ratio {
            min: ratios.first().copied().unwrap_or(f64::NAN),
            median: median(&ratios),
            max: ratios.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl Ratio {
    /// Three cells of a table.
    pub(super) fn cells(&self) -> String {
        let Ratio { min, median, max } = *self;
        format!("{} | **{}** | {}", digits(min), digits(median), digits(max))
    }
}

/// The middle value, the mean of the two middle ones if there are as many on both sides.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The value that this share of all is not above; `sorted` must be.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

/// A number with three digits that mean something.
pub(super) fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let before_point = value.abs().log10().floor() as i32 + 1;
    let after_point = usize::try_from(3 - before_point).unwrap_or(0);
    format!("{value:.after_point$}")
}

/// The sentence that a comparison owes where ours is the larger.
pub(super) fn verdict(what: &str, rival: &str, ratio: Ratio) -> Option<String> {
    (ratio.median > 1.0).then(|| {
        format!(
            "Ours is worse here: {what} is {} times that of {rival}.\n",
            digits(ratio.median)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(values: &[f64]) -> Side {
        Side(values.to_vec())
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was three times slower in the second round.
        let ratio = side(&[1.0, 3.0, 1.1]).over(&side(&[2.0, 6.0, 2.0]));
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 0.55));
    }

    #[test]
    fn a_side_over_itself_is_one() {
        let itself = side(&[0.3, 7.0, 11.0]);
        let ratio = itself.over(&itself);
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 1.0, 1.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(side(&[4.0, 1.0, 3.0, 2.0]).median(), 2.5);
    }

    #[test]
    fn quantiles_stay_within_the_values() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.5), 3.0);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.01234, 0.5, 1.0, 12.345, 999.6, 123_456.0].map(digits);
        assert_eq!(shown, ["0.0123", "0.500", "1.00", "12.3", "1000", "123456"]);
    }

    #[test]
    fn only_what_is_worse_owes_a_sentence() {
        let ratio = |median| Ratio {
            min: median,
            median,
            max: median,
        };
        assert_eq!(verdict("size", "them", ratio(0.99)), None);
        let worse = verdict("size", "them", ratio(1.5)).expect("it is worse");
        assert_eq!(
            worse,
            "Ours is worse here: size is 1.50 times that of them.\n"
        );
    }
}
