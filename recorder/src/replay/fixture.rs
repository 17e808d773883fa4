//! Small recordings for tests, made by the real writer in memory with a clock that is told.

use ktm_format::{
    Entropy, Event, Geometry, HeapRegion, Host, Recording, Schema, Snapshot, Stamp, ValueType,
    Values, Writer,
};

/// The same bytes every time.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

pub(crate) struct Fixture {
    region: HeapRegion,
    writer: Writer<HeapRegion>,
    pub(crate) stamp: Stamp,
}

pub(crate) const SECOND: i64 = 1_000_000_000;

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let geometry = Geometry::for_size(1 << 20).expect("large enough");
        let region = HeapRegion::new(1 << 20);
        let stamp = Stamp {
            realtime_ns: 0,
            boottime_ns: 1,
        };
        let writer = Writer::create(region.clone(), geometry, host(), stamp, &mut Fixed(7));
        Fixture {
            writer: writer.expect("a sound region"),
            region,
            stamp,
        }
    }

    /// Both clocks show this many seconds, boot time 1000 seconds more.
    pub(crate) fn at(&mut self, seconds: i64) -> &mut Fixture {
        let boottime_ns = u64::try_from((seconds + 1000) * SECOND).expect("after boot");
        self.stamp = Stamp {
            realtime_ns: seconds * SECOND,
            boottime_ns,
        };
        self
    }

    /// One row of whole numbers at the time told last.
    pub(crate) fn row(&mut self, schema: &Schema, values: &[Option<u64>]) -> &mut Fixture {
        let mut row = Values::new();
        for (value, series) in values.iter().zip(&schema.series) {
            match (value, series.value_type) {
                (None, _) => row.push_absent(),
                (Some(value), ValueType::F64) => row.push_f64(f64::from_bits(*value)),
                (Some(value), _) => row.push_u64(*value),
            }
        }
        let handle = self.writer.define(schema).expect("fits");
        self.writer.append(handle, self.stamp, &row).expect("room");
        self.writer.maintain().expect("memory does not fail");
        self
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Fixture {
        self.writer.event(self.stamp, &event).expect("room");
        self
    }

    pub(crate) fn epoch(&mut self) -> &mut Fixture {
        self.writer.begin_epoch();
        self
    }

    /// The recorder dies here and another takes the file up.
    pub(crate) fn restart(&mut self) -> &mut Fixture {
        self.writer =
            Writer::open(self.region.clone(), host(), &mut Fixed(9)).expect("a sound region");
        self
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let recording = Recording::over(self.region.clone()).expect("a recording");
        recording.snapshot().expect("readable")
    }
}

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 42,
    }
}

/// Asking.
impl Fixture {
    /// The answer to a query, asked at 1970-01-02T00:00:00Z.
    pub(crate) fn written(
        &self,
        format: super::Format,
        text: super::QueryText,
    ) -> Result<String, super::ParameterError> {
        let zone = crate::time::Zone::utc();
        let reference = crate::time::Reference {
            now_ns: 86_400 * SECOND,
            zone: zone.clone(),
        };
        let query = super::Query::parse(&text, &reference)?;
        let replay = super::Replay::new(self.snapshot().into(), query)?;
        replay.check(format)?;
        let mut out = Vec::new();
        let presentation = super::Presentation::plain(zone, "box.ktm");
        replay
            .write(format, &presentation, &mut out)
            .expect("a Vec takes everything");
        Ok(String::from_utf8(out).expect("text"))
    }
}
