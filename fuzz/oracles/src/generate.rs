//! Geometries, schemas, values and events of any bytes.

use arbitrary::{Result, Unstructured};
use ktm_format::{
    Entropy, Event, Geometry, HEADER_ZONE, HeapRegion, Host, Kind, ReadAt, Region, Schema, Series,
    ValueType, Values,
};

use ktm_simulation::Random;

/// A region with these bytes, the last ones left out where they make no whole word.
pub(crate) fn region_of(bytes: &[u8]) -> HeapRegion {
    let whole = bytes.len() / 8 * 8;
    let region = HeapRegion::new(whole as u64);
    region.store(0, &bytes[..whole]);
    region
}

pub(crate) fn bytes_of(region: &HeapRegion) -> Vec<u8> {
    let length = ReadAt::len(region).expect("a heap knows its length");
    let mut bytes = vec![0; usize::try_from(length).expect("it is in memory")];
    region.read_at(0, &mut bytes).expect("all of it is there");
    bytes
}

pub(crate) fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

/// Rings of few and small segments. The cold one takes all of the hot one at once, as it does in
/// every geometry that a writer chooses for itself.
pub(crate) fn geometry(u: &mut Unstructured<'_>) -> Result<Geometry> {
    let segment_size = 512_u32 << u.int_in_range(0..=3)?;
    let hot_count = u.int_in_range(2..=4)?;
    let cold_count = hot_count * 3 + u.int_in_range(0..=6)?;
    let tail = u64::from(u.int_in_range(0..=3_u8)?) * 8;
    let segments = u64::from(hot_count + cold_count) * u64::from(segment_size);
    Ok(Geometry {
        file_size: HEADER_ZONE + segments + tail,
        segment_size,
        hot_count,
        cold_count,
    })
}

const KINDS: [Kind; 9] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Bucket,
    Kind::Sum,
    Kind::Count,
    Kind::Untyped,
    Kind::Quantile,
    Kind::SummarySum,
    Kind::SummaryCount,
];

const TYPES: [ValueType; 3] = [ValueType::U64, ValueType::I64, ValueType::F64];

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let short = u.int_in_range(0..=12)?;
    match u.int_in_range(0..=15_u8)? {
        // Longer than a length of one byte, and than one of two.
        0 => Ok("x".repeat(usize::from(u.arbitrary::<u16>()?) + short)),
        1 => Ok("\u{e9}".repeat(short * 30_000 / 12)),
        _ => {
            let bytes = u.bytes(short.min(u.len()))?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

fn labels(u: &mut Unstructured<'_>) -> Result<Vec<(String, String)>> {
    let count = u.int_in_range(0..=2)?;
    (0..count).map(|_| Ok((text(u)?, text(u)?))).collect()
}

/// Any schema, of at most so many series.
pub(crate) fn schema(u: &mut Unstructured<'_>, most: usize) -> Result<Schema> {
    let count = u.int_in_range(0..=most)?;
    let module = text(u)?;
    let own = labels(u)?;
    let series = (0..count).map(|_| {
        let value_type = *u.choose(&TYPES)?;
        let exponent = match value_type {
            ValueType::F64 => 0,
            _ => u.int_in_range(-18..=18)?,
        };
        Ok(Series {
            name: text(u)?,
            labels: labels(u)?,
            kind: *u.choose(&KINDS)?,
            value_type,
            exponent,
            unit: text(u)?,
            help: text(u)?,
        })
    });
    Ok(Schema {
        series: series.collect::<Result<_>>()?,
        module,
        labels: own,
    })
}

/// A schema with short names, so that it fits the smallest segment.
pub(crate) fn plain_schema(number: usize, types: &[ValueType]) -> Schema {
    let series = types.iter().enumerate().map(|(index, value_type)| {
        Series::new(format!("s{index}"), Kind::Untyped, *value_type, "")
    });
    Schema {
        module: format!("m{number}"),
        labels: Vec::new(),
        series: series.collect(),
    }
}

pub(crate) fn types(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<ValueType>> {
    let count = u.int_in_range(0..=most)?;
    (0..count).map(|_| u.choose(&TYPES).copied()).collect()
}

/// How the values of a column go on from row to row.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pattern: u8,
    word: u64,
    random: Random,
}

impl Course {
    pub(crate) fn new(u: &mut Unstructured<'_>) -> Result<Course> {
        Ok(Course {
            pattern: u.arbitrary()?,
            word: u.arbitrary()?,
            random: Random(u64::from(u.arbitrary::<u16>()?)),
        })
    }

    /// The next value, `None` where it is absent.
    pub(crate) fn next(&mut self) -> Option<u64> {
        if self.pattern & 0x80 != 0 && self.random.one_in(3) {
            return None;
        }
        let number = self.random.number();
        self.word = match self.pattern & 0x0f {
            // As it was, idle but for a rare step, steady, or nearly so.
            0..=2 => self.word,
            3 if self.random.one_in(16) => self.word.wrapping_add(number >> 40),
            3 => self.word,
            4 => self.word.wrapping_add(1000),
            5 => self.word.wrapping_add(number >> 50),
            6 => self.word.wrapping_sub(number >> 50),
            // From one end of the integers to the other.
            7 => !self.word,
            8 => self.word.wrapping_add(1 << 63),
            // Doubles: a walk, halves, not-a-numbers with a payload, infinities and minus zero.
            9 => (f64::from_bits(self.word) + 0.1).to_bits(),
            10 => ((number >> 56) as f64 / 2.0).to_bits(),
            11 => 0x7ff0_0000_0000_0000 | number >> 12,
            12 => [f64::INFINITY, f64::NEG_INFINITY, -0.0][(number % 3) as usize].to_bits(),
            13 => number >> (number % 64),
            _ => number,
        };
        Some(self.word)
    }
}

/// A row of values, and what is to be read back of it.
pub(crate) fn values(words: &[Option<u64>]) -> Values {
    let mut values = Values::new();
    for word in words {
        match word {
            Some(word) => values.push_u64(*word),
            None => values.push_absent(),
        }
    }
    values
}

/// An event of about so many bytes.
pub(crate) fn event(size: usize, number: u64) -> Event {
    let event = Event::new("mark").with("number", number);
    match size {
        0 => event,
        size => event.with("text", "x".repeat(size)),
    }
}

/// The same bytes again and again: a writer without a nonce of its own.
#[derive(Debug)]
pub(crate) struct Repeated;

impl Entropy for Repeated {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}
