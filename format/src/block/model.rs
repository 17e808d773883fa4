//! What the coder expects of a column: the contexts in which its numbers are coded.
//!
//! Everything here runs the same way over an encoder and a decoder: the encoder is given what to
//! code, the decoder ignores it, and both go on with what is returned.

use super::coder::{Bit, Coder};

/// Columns back that a link reaches at most, of those with steps.
pub(super) const REACH: usize = 256;

/// Links of a column at most.
pub(super) const MOST_LINKS: usize = 2;

/// A column whose steps are added to, or taken from, those of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// 1 is the last column that had steps.
    pub(super) distance: u64,
    pub(super) negative: bool,
}

/// How the values of a column that is not idle come from its residuals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What the steps are multiples of, not 0.
    pub(super) unit: u64,
    /// Added to every step, zig-zag coded.
    pub(super) drift: u64,
    pub(super) links: Vec<Link>,
    /// Every residual is zero.
    pub(super) exact: bool,
}

/// A number by its length in bits, in unary, and its bits behind the first.
#[derive(Clone, Debug)]
pub(super) struct Number([Bit; 64]);

impl Number {
    const NEW: Number = Number([Bit::NEW; 64]);

    pub(super) fn code(&mut self, coder: &mut impl Coder, number: u64) -> u64 {
        let length = bits(number);
        let mut models = (0..).zip(&mut self.0);
        let found = models.find_map(|(at, model)| coder.bit(model, at == length).then_some(at));
        tail(coder, number, found.unwrap_or(64))
    }
}

/// The bits of a number of this length behind its first.
fn tail(coder: &mut impl Coder, number: u64, length: i32) -> u64 {
    if length == 0 {
        return 0;
    }
    let count = length.cast_unsigned() - 1;
    1 << count | coder.plain(number, count)
}

fn bits(number: u64) -> i32 {
    64 - number.leading_zeros().cast_signed()
}

/// What is known of the column so far, while its residuals are coded.
#[derive(Debug, Default)]
pub(super) struct Track {
    linked: bool,
    /// Which of the last three residuals were not zero.
    recent: usize,
    /// Mean length of the residuals that were not zero, in sixteenths of a bit; 0 before the first.
    mean: i32,
    /// 0 before the first; the last was 1 positive, 2 positive after a negative one, 3 negative.
    sign: usize,
}

impl Track {
    pub(super) fn new(plan: &Plan) -> Track {
        Track {
            linked: !plan.links.is_empty(),
            ..Track::default()
        }
    }
}

/// Contexts of a length, by how far it is from the one expected.
#[derive(Clone, Debug)]
struct Lengths {
    no_less: Bit,
    up: [Bit; 8],
    down: [Bit; 8],
}

impl Lengths {
    const NEW: Lengths = Lengths {
        no_less: Bit::NEW,
        up: [Bit::NEW; 8],
        down: [Bit::NEW; 8],
    };
}

/// Everything learned in the course of a block.
#[derive(Debug)]
pub(super) struct Model {
    /// By whether the column before had any.
    any_absent: [Bit; 2],
    any_absent_before: usize,
    /// By whether the row before was absent.
    absent: [Bit; 2],
    scale: Number,
    /// By whether the two columns before began with zero.
    first: Vec<Number>,
    zeros_before: usize,
    /// By whether the two columns before had steps.
    idle: [Bit; 4],
    active_before: usize,
    unit: Number,
    drift: Number,
    more_links: [Bit; MOST_LINKS],
    distance: Number,
    negative_link: Bit,
    exact: Bit,
    /// By whether there are links, the columns before in this row, the rows before in this column.
    zero: [[[Bit; 8]; 8]; 2],
    /// By the mean length so far.
    lengths: Vec<Lengths>,
    /// By whether there are links, and the signs before.
    negative: [[Bit; 4]; 2],
}

impl Model {
    pub(super) fn new() -> Model {
        Model {
            any_absent: [Bit::NEW; 2],
            any_absent_before: 0,
            absent: [Bit::NEW; 2],
            scale: Number::NEW,
            first: vec![Number::NEW; 4],
            zeros_before: 0,
            idle: [Bit::NEW; 4],
            active_before: 0,
            unit: Number::NEW,
            drift: Number::NEW,
            more_links: [Bit::NEW; MOST_LINKS],
            distance: Number::NEW,
            negative_link: Bit::NEW,
            exact: Bit::NEW,
            zero: [[[Bit::NEW; 8]; 8]; 2],
            lengths: vec![Lengths::NEW; 128],
            negative: [[Bit::NEW; 4]; 2],
        }
    }

    /// Which rows of a column are absent; empty where none is.
    pub(super) fn absence(&mut self, coder: &mut impl Coder, absent: &mut Vec<bool>, rows: usize) {
        let any = &mut self.any_absent[self.any_absent_before];
        let any = coder.bit(any, !absent.is_empty());
        self.any_absent_before = usize::from(any);
        if !any {
            absent.clear();
            return;
        }
        absent.resize(rows, false);
        let mut before = 0;
        for cell in absent {
            *cell = coder.bit(&mut self.absent[before], *cell);
            before = usize::from(*cell);
        }
    }

    pub(super) fn scale(&mut self, coder: &mut impl Coder, code: u64) -> u64 {
        self.scale.code(coder, code)
    }

    pub(super) fn first(&mut self, coder: &mut impl Coder, number: u64) -> u64 {
        let number = self.first[self.zeros_before].code(coder, number);
        self.zeros_before = (self.zeros_before << 1 | usize::from(number == 0)) & 3;
        number
    }

    /// The plan of a column, none where every row is the same.
    pub(super) fn plan(&mut self, coder: &mut impl Coder, plan: Option<&Plan>) -> Option<Plan> {
        let idle = coder.bit(&mut self.idle[self.active_before], plan.is_none());
        self.active_before = (self.active_before << 1 | usize::from(!idle)) & 3;
        if idle {
            return None;
        }
        let unit = self.unit.code(coder, plan.map_or(0, |plan| plan.unit));
        let given = plan.map_or(&[][..], |plan| &plan.links);
        let mut links = Vec::new();
        for more in &mut self.more_links {
            let link = given.get(links.len());
            if !coder.bit(more, link.is_some()) {
                break;
            }
            links.push(Link {
                distance: self
                    .distance
                    .code(coder, link.map_or(0, |link| link.distance)),
                negative: coder.bit(&mut self.negative_link, link.is_some_and(|l| l.negative)),
            });
        }
        Some(Plan {
            unit,
            drift: self.drift.code(coder, plan.map_or(0, |plan| plan.drift)),
            links,
            exact: coder.bit(&mut self.exact, plan.is_some_and(|plan| plan.exact)),
        })
    }

    /// One residual. `near` tells which of the three columns before had one in this row.
    #[inline]
    pub(super) fn residual(
        &mut self,
        coder: &mut impl Coder,
        track: &mut Track,
        near: &mut u8,
        residual: u64,
    ) -> u64 {
        let linked = usize::from(track.linked);
        let context = &mut self.zero[linked][usize::from(*near & 7)][track.recent & 7];
        let zero = coder.bit(context, residual == 0);
        *near = *near << 1 | u8::from(!zero);
        track.recent = track.recent << 1 | usize::from(!zero);
        if zero {
            return 0;
        }
        let size = (residual as i64).unsigned_abs();
        let length = self.length(coder, track.mean, bits(size));
        track.mean = match track.mean {
            0 => length * 16,
            mean => mean + ((length * 16 - mean) >> 2),
        };
        let size = tail(coder, size, length);
        let sign = &mut self.negative[linked][track.sign & 3];
        let negative = coder.bit(sign, (residual as i64) < 0);
        track.sign = match (negative, track.sign) {
            (true, _) => 3,
            (false, 0 | 1) => 1,
            (false, _) => 2,
        };
        if negative { size.wrapping_neg() } else { size }
    }

    /// A length from 1 to 64: up or down from the mean so far, one after the other.
    #[inline]
    fn length(&mut self, coder: &mut impl Coder, mean: i32, length: i32) -> i32 {
        let expected = (mean + 8) >> 4;
        let Lengths { no_less, up, down } = &mut self.lengths[expected as usize & 127];
        if expected <= 1 || coder.bit(no_less, length >= expected) {
            let from = expected.max(1);
            let mut at = from;
            while at < 64 && !coder.bit(&mut up[(at - from).min(7) as usize], length == at) {
                at += 1;
            }
            at
        } else {
            let from = expected - 1;
            let mut at = from;
            while at > 1 && !coder.bit(&mut down[(from - at).min(7) as usize], length == at) {
                at -= 1;
            }
            at
        }
    }
}
