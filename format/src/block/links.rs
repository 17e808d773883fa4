//! The encoder's choice: which other columns a column's steps follow.
//!
//! Kernel counters say the same thing many times over: a histogram's buckets are cumulative, memory
//! is counted in pages here and in KiB there, a total and its parts stand side by side. Steps that
//! are those of another column, or nearly, leave little to code.

use super::model::{Link, MOST_LINKS, REACH};

/// Bits that telling of a link costs, about.
const LINK: f64 = 14.0;

/// Rows between two looks at whether a candidate is worth going on with.
const STRIDE: usize = 32;

/// How far a candidate may be behind at such a look, in half bits.
const PATIENCE: u32 = 32;

/// Rows by which a candidate is judged before all of them are looked at.
const PROBES: usize = 16;

/// Steps less those of the links.
pub(super) struct Linked {
    pub(super) links: Vec<Link>,
    pub(super) residuals: Vec<u64>,
    cost: Cost,
}

/// The links that leave the least, if any does. `earlier` are the steps of the columns that had
/// some, the last one last.
pub(super) fn link(steps: &[u64], earlier: &[Vec<u64>]) -> Linked {
    let mut best = Linked {
        links: Vec::new(),
        residuals: steps.to_vec(),
        cost: Cost::default(),
    };
    best.cost.take(steps.iter().copied(), None);
    let mut candidate = Cost::default();
    for _ in 0..MOST_LINKS {
        let from = best.residuals.clone();
        let probes = Probes::of(&from);
        let mut found = None;
        for (distance, other) in (1..).zip(earlier.iter().rev().take(REACH)) {
            // Nothing is left that one more could take off, or that another could do better.
            if best.cost.bits <= LINK {
                break;
            }
            for negative in [false, true] {
                if !probes.is_promising(other, negative) {
                    continue;
                }
                candidate.take(less(&from, other, negative), Some(&best.cost));
                candidate.bits += LINK;
                if candidate.bits < best.cost.bits {
                    std::mem::swap(&mut candidate, &mut best.cost);
                    found = Some((Link { distance, negative }, other));
                }
            }
        }
        let Some((link, other)) = found else { break };
        best.residuals = less(&from, other, link.negative).collect();
        best.links.push(link);
    }
    best
}

/// Some of a column's rows whose residual is not zero.
struct Probes {
    residuals: Vec<(usize, u64)>,
    bits: u32,
}

impl Probes {
    fn of(residuals: &[u64]) -> Probes {
        let others = residuals
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, residual)| *residual != 0);
        let count = others.clone().count();
        let residuals: Vec<_> = others.step_by(count.div_ceil(PROBES).max(1)).collect();
        Probes {
            bits: residuals
                .iter()
                .map(|(_, residual)| length(*residual))
                .sum(),
            residuals,
        }
    }

    /// Whether a candidate takes a sixteenth off these rows.
    fn is_promising(&self, other: &[u64], negative: bool) -> bool {
        let sign = if negative { u64::MAX } else { 1 };
        let rest = self
            .residuals
            .iter()
            .map(|(row, residual)| length(residual.wrapping_sub(other[*row].wrapping_mul(sign))));
        rest.sum::<u32>() * 16 <= self.bits * 15
    }
}

fn less<'a>(steps: &'a [u64], other: &'a [u64], negative: bool) -> impl Iterator<Item = u64> + 'a {
    let sign = if negative { u64::MAX } else { 1 };
    let pairs = steps.iter().zip(other);
    pairs.map(move |(step, other)| step.wrapping_sub(other.wrapping_mul(sign)))
}

/// Takes a drift out of the residuals where that leaves less, and returns it.
pub(super) fn drift(linked: &mut Linked) -> u64 {
    let mut sorted = linked.residuals.clone();
    sorted.sort_unstable_by_key(|residual| *residual as i64);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    let rest = linked
        .residuals
        .iter()
        .map(|residual| residual.wrapping_sub(median));
    let mut cost = Cost::default();
    cost.take(rest.clone(), None);
    let price = 32.0 + 2.0 * f64::from(length(median));
    if median == 0 || price + cost.bits >= linked.cost.bits {
        return 0;
    }
    linked.residuals = rest.collect();
    median
}

/// The bits that residuals will take, about.
#[derive(Default)]
struct Cost {
    bits: f64,
    /// Half bits up to the end of each stride, without what telling zeros and signs apart takes.
    strides: Vec<u32>,
}

impl Cost {
    /// Stops, with infinite bits, where far more is taken than another took up to there.
    fn take(&mut self, mut residuals: impl Iterator<Item = u64>, against: Option<&Cost>) {
        let (mut half_bits, mut total, mut others, mut negative) = (0, 0, 0, 0);
        self.strides.clear();
        self.bits = f64::INFINITY;
        loop {
            let before = total;
            for residual in residuals.by_ref().take(STRIDE) {
                let length = length(residual);
                half_bits += 2 * length + 3 * u32::from(length > 0);
                others += u32::from(length > 0);
                negative += u32::from(residual >> 63 == 1);
                total += 1;
            }
            if total == before {
                break;
            }
            let limit = against.and_then(|cost| cost.strides.get(self.strides.len()));
            if limit.is_some_and(|limit| half_bits > limit + PATIENCE) {
                return;
            }
            self.strides.push(half_bits);
        }
        self.bits = f64::from(half_bits) / 2.0 + entropy(others, total) + entropy(negative, others);
    }
}

/// The bits that it takes to say which `some` of `all` are meant, about.
fn entropy(some: u32, all: u32) -> f64 {
    let part = |count: u32| match count {
        0 => 0.0,
        count => -f64::from(count) * (f64::from(count) / f64::from(all)).log2(),
    };
    part(some) + part(all - some)
}

fn length(residual: u64) -> u32 {
    64 - (residual as i64).unsigned_abs().leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> Vec<u64> {
        let mix = |n: u64| {
            let mixed = (n + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 50
        };
        (0..100).map(mix).collect()
    }

    #[test]
    fn a_sum_is_found_in_its_parts() {
        let (a, b) = (noise(1), noise(1000));
        let sum: Vec<u64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let linked = link(&sum, &[a, noise(5), b]);
        assert!(linked.residuals.iter().all(|residual| *residual == 0));
        assert_eq!(linked.links.len(), 2);
    }

    #[test]
    fn an_opposite_is_found_and_a_stranger_is_not() {
        let a = noise(1);
        let opposite: Vec<u64> = a.iter().map(|n| n.wrapping_neg()).collect();
        let linked = link(&opposite, &[noise(9), a]);
        let expected = Link {
            distance: 1,
            negative: true,
        };
        assert_eq!(linked.links, [expected]);
        assert!(link(&noise(3), &[noise(77)]).links.is_empty());
    }

    #[test]
    fn a_steady_step_is_a_drift() {
        let mut linked = link(&[1000; 50], &[]);
        assert_eq!(drift(&mut linked), 1000);
        assert_eq!(linked.residuals, [0; 50]);
    }
}
