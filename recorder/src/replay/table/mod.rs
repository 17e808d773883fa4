//! The table: what a person at a terminal sees first.
//!
//! A heading (which file, which span, how sound), then for every epoch its samples as rates and
//! latencies, with events between the lines where they happened. Long ranges are thinned: several
//! samples make one line, and the heading says how many. Columns that are zero or absent
//! throughout are named in one line each instead of being shown.

mod collect;
mod layout;
mod measures;
mod numbers;
mod page;
#[cfg(test)]
mod tests;

pub(super) use page::write;
