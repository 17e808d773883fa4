//! Numbers in a row, and what is left of them without others.

/// The numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Span {
    /// `None` where there is no number between them.
    pub(crate) fn of(first: u64, last: u64) -> Option<Span> {
        (first <= last).then_some(Span { first, last })
    }

    pub(crate) fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// `17`, or `20-25`.
    pub(crate) fn text(&self) -> String {
        let Span { first, last } = self;
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    }

    /// Reads what [`Span::text`] writes.
    pub(crate) fn parse(text: &str) -> Option<Span> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Span::of(first.parse().ok()?, last.parse().ok()?)
    }

    /// What both have.
    pub(crate) fn and(self, other: Span) -> Option<Span> {
        let first = self.first.max(other.first);
        let last = self.last.min(other.last);
        Span::of(first, last)
    }

    /// The same numbers as spans that neither touch nor overlap, in order.
    pub(crate) fn union(mut spans: Vec<Span>) -> Vec<Span> {
        spans.sort_unstable();
        let mut union: Vec<Span> = Vec::new();
        for span in spans {
            match union.last_mut() {
                Some(last) if span.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(span.last);
                }
                _ => union.push(span),
            }
        }
        union
    }

    /// What is left without these, which [`Span::union`] has put in order.
    pub(crate) fn without(self, others: &[Span]) -> Vec<Span> {
        let mut left = Vec::new();
        let mut first = self.first;
        let from = others.partition_point(|other| other.last < self.first);
        for other in others.iter().skip(from) {
            if other.first > self.last {
                break;
            }
            if other.first > first {
                let last = other.first - 1;
                left.push(Span { first, last });
            }
            match other.last.checked_add(1) {
                Some(next) if next <= self.last => first = next,
                _ => return left,
            }
        }
        let last = self.last;
        left.push(Span { first, last });
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    #[test]
    fn a_union_has_every_number_once() {
        let spans = vec![
            span(9, 9),
            span(1, 3),
            span(4, 5),
            span(8, 12),
            span(u64::MAX, u64::MAX),
        ];
        assert_eq!(
            Span::union(spans),
            [span(1, 5), span(8, 12), span(u64::MAX, u64::MAX)]
        );
    }

    #[test]
    fn what_is_left_is_what_nobody_took() {
        let all = span(10, 20);
        assert_eq!(all.without(&[]), [all]);
        assert_eq!(all.without(&[span(1, 9), span(21, 30)]), [all]);
        assert_eq!(all.without(&[span(0, u64::MAX)]), []);
        assert_eq!(
            all.without(&[span(5, 10), span(13, 14), span(20, 20)]),
            [span(11, 12), span(15, 19)]
        );
        let end = span(u64::MAX - 1, u64::MAX);
        assert_eq!(
            end.without(&[span(u64::MAX, u64::MAX)]),
            [span(u64::MAX - 1, u64::MAX - 1)]
        );
    }
}
