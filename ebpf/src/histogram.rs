//! Log-linear latency histograms: eight cells to every doubling, inclusive upper bounds.
//!
//! The unit is 125 ns, so that every power-of-two number of microseconds is a cell's bound exactly:
//! eight cells of 125 ns reach 1 us, eight more of 125 ns 2 us, the next, of 250 ns, 4 us,
//! and so on to 2^31 us. From 1 us up a cell is at most 1/8 of its lower bound wide, which bounds
//! the error of a quantile to 12.5 %.
//!
//! Bounds are inclusive, as `le` is in Prometheus: a latency of exactly 1 us is in the cell that
//! ends at 1 us, one of 1 us and 1 ns in the next.

use crate::counters::Counter;

/// The width of the first cells, in nanoseconds.
pub const UNIT_NS: u64 = 125;
/// Cells to every doubling: 2^3.
const CELLS_PER_OCTAVE: usize = 8;
/// Cells with an upper bound.
pub const BOUNDED_CELLS: usize = 256;
/// The cell of everything beyond the last bound.
pub const OVERFLOW: usize = BOUNDED_CELLS;
/// All cells.
pub const CELLS: usize = BOUNDED_CELLS + 1;

/// One latency histogram as it lies in the map.
#[repr(C)]
#[derive(Debug)]
pub struct Histogram {
    /// Observations by cell, not cumulative.
    pub cells: [Counter; CELLS],
    /// Sum of all observations in nanoseconds.
    pub sum_ns: Counter,
}

/// The cell that a latency belongs to.
#[inline(always)]
pub const fn cell(ns: u64) -> usize {
    // Counting units from 0 for (0, 125] makes the upper bounds inclusive.
    let units = ns.saturating_sub(1) / UNIT_NS;
    if units < CELLS_PER_OCTAVE as u64 {
        return units as usize;
    }
    let msb = u64::BITS - 1 - units.leading_zeros();
    let within = (units >> (msb - 3)) & (CELLS_PER_OCTAVE as u64 - 1);
    let cell = CELLS_PER_OCTAVE * (msb as usize - 2) + within as usize;
    if cell < BOUNDED_CELLS { cell } else { OVERFLOW }
}

/// The inclusive upper bound of a cell in nanoseconds, `None` for the overflow cell.
pub const fn upper_bound_ns(cell: usize) -> Option<u64> {
    if cell >= BOUNDED_CELLS {
        return None;
    }
    if cell < CELLS_PER_OCTAVE {
        return Some(UNIT_NS * (cell as u64 + 1));
    }
    let octave = cell / CELLS_PER_OCTAVE - 1;
    let within = cell % CELLS_PER_OCTAVE;
    Some((UNIT_NS * (CELLS_PER_OCTAVE + within + 1) as u64) << octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_bound_is_in_its_own_cell_and_one_nanosecond_more_in_the_next() {
        for index in 0..BOUNDED_CELLS {
            let bound = upper_bound_ns(index).expect("a bounded cell");
            assert_eq!(cell(bound), index, "{bound} ns");
            assert_eq!(cell(bound + 1), index + 1, "{bound} + 1 ns");
        }
    }

    #[test]
    fn bounds_grow_and_every_latency_is_within_its_cell() {
        let mut lower = 0;
        for index in 0..BOUNDED_CELLS {
            let upper = upper_bound_ns(index).expect("a bounded cell");
            assert!(upper > lower);
            for ns in [lower + 1, lower + (upper - lower).div_ceil(2), upper] {
                assert_eq!(cell(ns), index, "{ns} ns");
            }
            lower = upper;
        }
    }

    #[test]
    fn every_power_of_two_microseconds_is_a_bound() {
        for power in 0..=31 {
            let ns = 1_000_u64 << power;
            assert_eq!(upper_bound_ns(cell(ns)), Some(ns), "2^{power} us");
        }
        assert_eq!(upper_bound_ns(BOUNDED_CELLS - 1), Some(1_000 << 31));
    }

    #[test]
    fn from_one_microsecond_up_a_cell_is_at_most_an_eighth_of_its_lower_bound_wide() {
        for index in 8..BOUNDED_CELLS {
            let upper = upper_bound_ns(index).expect("a bounded cell");
            let lower = upper_bound_ns(index - 1).expect("a bounded cell");
            assert!(
                (upper - lower) * 8 <= lower,
                "cell {index}: {lower}..{upper}"
            );
        }
    }

    #[test]
    fn the_edges_are_in_the_first_and_the_overflow_cell() {
        assert_eq!(cell(0), 0);
        assert_eq!(cell(1), 0);
        assert_eq!(cell(125), 0);
        assert_eq!(cell(126), 1);
        assert_eq!(cell((1_000 << 31) + 1), OVERFLOW);
        assert_eq!(cell(u64::MAX), OVERFLOW);
        assert_eq!(upper_bound_ns(OVERFLOW), None);
    }
}
