//! A recording made step by step, beside a list of what went into it.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use ktm_format::{
    Error, Geometry, HeapRegion, LastRecord, Recovery, Schema, SealJob, Sealed, SealedThrough,
    Stamp, Writer,
};

use crate::generate::{self, Course, bytes_of, event, host, plain_schema};
use crate::item::{Item, What};
use ktm_simulation::Random;

/// One step.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Rows of one schema.
    Rows {
        schema: u8,
        count: u8,
    },
    /// A row of every schema.
    Sample,
    Event {
        size: u8,
    },
    Epoch,
    /// The clock steps by so many seconds.
    MoveClock(i16),
    BeginSeal,
    CommitSeal,
    SealDurable,
    Maintain,
    /// The writer dies and another one takes over.
    Reopen,
}

/// A schema and how its columns go on.
struct Module {
    schema: Arc<Schema>,
    courses: Vec<Course>,
}

/// A seal under way.
enum Sealing {
    None,
    Begun(SealJob),
    Committed(SealedThrough),
}

/// The recording and its model.
pub(crate) struct History {
    region: HeapRegion,
    writer: Writer<HeapRegion>,
    modules: Vec<Module>,
    sealing: Sealing,
    random: Random,
    clock: Stamp,
    /// All that was ever appended.
    pub(crate) items: Vec<Item>,
    /// How many of them may have been overwritten: those there were when the last seal began that
    /// gave its hot segments free.
    pub(crate) released: usize,
    /// How many there were when the seal under way began.
    sealing_from: usize,
    /// Steps that did not fit the file, and did nothing.
    pub(crate) refused: usize,
}

type Outcome = Result<(), String>;

impl History {
    pub(crate) fn new(u: &mut Unstructured<'_>) -> arbitrary::Result<History> {
        let geometry = generate::geometry(u)?;
        let modules = (0..u.int_in_range(1..=3)?).map(|number| {
            let types = generate::types(u, 6)?;
            let courses = types.iter().map(|_| Course::new(u));
            Ok(Module {
                courses: courses.collect::<arbitrary::Result<_>>()?,
                schema: Arc::new(plain_schema(number, &types)),
            })
        });
        let modules = modules.collect::<arbitrary::Result<_>>()?;
        let clock = Stamp {
            realtime_ns: u.arbitrary()?,
            boottime_ns: u.arbitrary::<u64>()? >> 8,
        };
        Ok(History::create(geometry, modules, clock))
    }

    fn create(geometry: Geometry, modules: Vec<Module>, clock: Stamp) -> History {
        let region = HeapRegion::new(geometry.file_size);
        let mut random = Random(1);
        let writer = Writer::create(region.clone(), geometry, host(), clock, &mut random);
        History {
            writer: writer.expect("a region of zeros becomes a recording"),
            region,
            modules,
            sealing: Sealing::None,
            random,
            clock,
            items: Vec::new(),
            released: 0,
            sealing_from: 0,
            refused: 0,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.writer.geometry()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        bytes_of(&self.region)
    }

    pub(crate) fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Rows { schema, count } => {
                let module = usize::from(schema) % self.modules.len();
                (0..=count % 64).try_for_each(|_| self.row(module))
            }
            Step::Sample => (0..self.modules.len()).try_for_each(|module| self.row(module)),
            Step::Event { size } => self.event(usize::from(size)),
            Step::Epoch => {
                self.writer.begin_epoch();
                Ok(())
            }
            Step::MoveClock(seconds) => {
                let step = i64::from(seconds) * 1_000_000_000;
                self.clock.realtime_ns = self.clock.realtime_ns.wrapping_add(step);
                Ok(())
            }
            Step::BeginSeal => {
                self.begin_seal();
                Ok(())
            }
            Step::CommitSeal => self.commit_seal(),
            Step::SealDurable => {
                self.seal_durable();
                Ok(())
            }
            Step::Maintain => self.maintain(),
            Step::Reopen => self.reopen(),
        }
    }

    fn now(&mut self) -> Stamp {
        let passed = 1_000_000_000;
        self.clock.realtime_ns = self.clock.realtime_ns.wrapping_add(passed);
        self.clock.boottime_ns = self.clock.boottime_ns.wrapping_add(passed as u64);
        self.clock
    }

    fn row(&mut self, module: usize) -> Outcome {
        let stamp = self.now();
        let module = &mut self.modules[module];
        let words: Vec<_> = module.courses.iter_mut().map(Course::next).collect();
        let schema = Arc::clone(&module.schema);
        let appended = self
            .writer
            .define(&schema)
            .and_then(|handle| self.writer.append(handle, stamp, &generate::values(&words)));
        self.keep(appended, stamp, What::Row(schema, words))
    }

    fn event(&mut self, size: usize) -> Outcome {
        let stamp = self.now();
        let event = event(size, self.items.len() as u64);
        let appended = self.writer.event(stamp, &event);
        self.keep(appended, stamp, What::Event(event))
    }

    fn keep(&mut self, appended: Result<u64, Error>, stamp: Stamp, what: What) -> Outcome {
        let seq = match appended {
            Ok(seq) => seq,
            Err(Error::HotRingFull | Error::RowTooLarge { .. }) => {
                self.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("appending failed: {error}")),
        };
        self.items.push(Item {
            seq,
            stamp,
            epoch: self.writer.epoch(),
            run: self.writer.run(),
            what,
        });
        Ok(())
    }

    fn begin_seal(&mut self) {
        if let Some(job) = self.writer.begin_seal() {
            self.sealing_from = self.items.len();
            self.sealing = Sealing::Begun(job);
        }
    }

    fn commit_seal(&mut self) -> Outcome {
        self.sealing = match std::mem::replace(&mut self.sealing, Sealing::None) {
            Sealing::Begun(job) => {
                let sealed: Sealed = job.encode();
                let through = self.writer.commit_seal(sealed);
                Sealing::Committed(through.map_err(|e| format!("sealing failed: {e}"))?)
            }
            other => other,
        };
        Ok(())
    }

    fn seal_durable(&mut self) {
        self.sealing = match std::mem::replace(&mut self.sealing, Sealing::None) {
            Sealing::Committed(through) => {
                self.writer.seal_durable(through);
                self.released = self.sealing_from;
                Sealing::None
            }
            other => other,
        };
    }

    fn maintain(&mut self) -> Outcome {
        if self.writer.needs_seal() {
            self.released = self.items.len();
        }
        let done = self.writer.maintain();
        done.map_err(|error| format!("sealing in place failed: {error}"))
    }

    /// Takes the recording up again, and holds what the writer says of it against the model.
    fn reopen(&mut self) -> Outcome {
        self.sealing = Sealing::None;
        // Opening may seal what is full.
        self.released = self.items.len();
        self.writer = Writer::open(self.region.clone(), host(), &mut self.random)
            .map_err(|error| format!("a sound recording is refused: {error}"))?;
        agrees(self.writer.recovery(), &self.items)
    }
}

fn agrees(recovery: &Recovery, items: &[Item]) -> Outcome {
    let last = |is_wanted: fn(&What) -> bool| {
        let item = items.iter().rev().find(|item| is_wanted(&item.what))?;
        Some(LastRecord {
            seq: item.seq,
            stamp: item.stamp,
            epoch: item.epoch,
            run: item.run,
        })
    };
    if recovery.last != last(|_| true) {
        let expected = last(|_| true);
        return Err(format!(
            "the last record is {expected:?}, recovery says {:?}",
            recovery.last
        ));
    }
    match recovery.damage.first() {
        None => Ok(()),
        Some(damage) => Err(format!("recovery sees damage in a sound file: {damage:?}")),
    }
}
