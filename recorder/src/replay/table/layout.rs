//! Putting lines into columns.

use super::measures::{Measure, Shown};
use crate::replay::bins::Bin;

/// Columns that are shown, and what became of the others.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) shown: Vec<Measure>,
    widths: Vec<usize>,
    time_width: usize,
    /// Zero in every line.
    pub(super) zero: Vec<String>,
    /// Without a value in every line.
    pub(super) absent: Vec<String>,
    /// Left out for want of room.
    pub(super) narrow: Vec<String>,
}

const BETWEEN: usize = 2;

impl Layout {
    /// Chooses the columns for these lines.
    pub(super) fn of<'a>(
        measures: Vec<Measure>,
        bins: impl Iterator<Item = &'a Bin> + Clone,
        time_width: usize,
        room: usize,
    ) -> Layout {
        let mut layout = Layout {
            time_width,
            ..Layout::default()
        };
        for measure in measures {
            let cells: Vec<Shown> = bins.clone().map(|bin| measure.show(bin)).collect();
            if cells.iter().all(|cell| *cell == Shown::Nothing) {
                // Without calls there is no latency; the calls' own column says why.
                if !measure.is_quantile() {
                    layout.absent.push(measure.name);
                }
            } else if !cells.iter().any(|cell| matches!(cell, Shown::Text(_))) {
                layout.zero.push(measure.name);
            } else {
                let widest = cells
                    .iter()
                    .map(|cell| cell_text(cell).len())
                    .max()
                    .unwrap_or(0);
                layout.widths.push(widest.max(measure.heading.len()));
                layout.shown.push(measure);
            }
        }
        while layout.width() > room && layout.shown.len() > 1 {
            let places = layout.shown.iter().enumerate();
            let Some((last, _)) = places.max_by_key(|(_, measure)| measure.priority) else {
                break;
            };
            layout.narrow.push(layout.shown.remove(last).name);
            layout.widths.remove(last);
        }
        layout.widen_groups();
        layout
    }

    fn width(&self) -> usize {
        self.time_width
            + self
                .widths
                .iter()
                .map(|width| width + BETWEEN)
                .sum::<usize>()
    }

    /// A group's name needs at least its own width.
    fn widen_groups(&mut self) {
        for (start, count, name) in self.groups() {
            let last = start + count - 1;
            let span = self.span(start, count);
            if let Some(width) = self.widths.get_mut(last) {
                *width += name.len().saturating_sub(span);
            }
        }
    }

    /// First column, number of columns, name.
    fn groups(&self) -> Vec<(usize, usize, String)> {
        let mut groups: Vec<(usize, usize, String)> = Vec::new();
        for (index, measure) in self.shown.iter().enumerate() {
            match groups.last_mut() {
                Some((_, count, name)) if *name == measure.group => *count += 1,
                _ => groups.push((index, 1, measure.group.clone())),
            }
        }
        groups
    }

    fn span(&self, start: usize, count: usize) -> usize {
        let widths = self.widths.get(start..start + count).unwrap_or_default();
        widths.iter().sum::<usize>() + BETWEEN * count.saturating_sub(1)
    }

    /// One or two lines over the columns.
    pub(super) fn headings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let groups = self.groups();
        if groups.iter().any(|(_, _, name)| !name.is_empty()) {
            let mut line = " ".repeat(self.time_width);
            for (start, count, name) in groups {
                let span = self.span(start, count);
                let framed = if span >= name.len() + 4 {
                    format!(" {name} ")
                } else {
                    name
                };
                let fill = if framed.starts_with(' ') {
                    format!("{framed:-^span$}")
                } else {
                    format!("{framed:>span$}")
                };
                line.push_str(&format!("{:BETWEEN$}{fill}", ""));
            }
            lines.push(line);
        }
        let mut line = format!("{:<width$}", "time", width = self.time_width);
        for (measure, width) in self.shown.iter().zip(&self.widths) {
            line.push_str(&format!("{:BETWEEN$}{:>width$}", "", measure.heading));
        }
        lines.push(line);
        lines
    }

    /// True if a line of this bin would say anything.
    pub(super) fn has_values(&self, bin: &Bin) -> bool {
        let is_value = |shown: Shown| !matches!(shown, Shown::Nothing);
        self.shown.iter().any(|measure| is_value(measure.show(bin)))
    }

    /// One line of the table.
    pub(super) fn line(&self, time: &str, bin: &Bin) -> String {
        let mut line = format!("{time:<width$}", width = self.time_width);
        for (measure, width) in self.shown.iter().zip(&self.widths) {
            line.push_str(&format!(
                "{:BETWEEN$}{:>width$}",
                "",
                cell_text(&measure.show(bin))
            ));
        }
        line
    }
}

fn cell_text(shown: &Shown) -> &str {
    match shown {
        Shown::Nothing => "-",
        Shown::Zero => "0",
        Shown::Text(text) => text,
    }
}
