//! Lives of a writer on a simulated disk, each of which a power cut ends.
//!
//! After every cut: all that was synced and not overwritten is there; nothing is there that was not
//! written, or that was already gone at the last sync; order holds; recovering again sees the same.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use ktm_format::{Error, Geometry, HEADER_ZONE, Recording, Stamp, ValueType, Writer};
use ktm_simulation::{Disk, Platters, Random, Seen, check_cut, recovers_the_same, without_schema};

use crate::generate::{Repeated, event, host, plain_schema, values};
use crate::item::{Item, read};
use crate::{Target, Twin, Verdict, insist};

/// This target.
pub const TARGET: Target = Target {
    name: "power_cut",
    check,
    twins: &[
        Twin {
            bug: "hot segments are given free without waiting for the sync",
            check: |data| over(data, Policy::FreedWithoutSync),
        },
        Twin {
            bug: "a sync returns and does nothing",
            check: |data| over(data, Policy::SyncLies),
        },
        Twin {
            bug: "every run has the same nonce",
            check: |data| over(data, Policy::NonceRepeated),
        },
    ],
};

/// How the writer is driven, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// As documented.
    Sound,
    FreedWithoutSync,
    SyncLies,
    /// Only the segment's number enters the seed.
    NonceRepeated,
}

const MOST_LIVES: usize = 8;
const MOST_STEPS: usize = 60;

/// One step of a life.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Narrow(u8),
    Wide(u8),
    Event(u8),
    Epoch,
    Sync,
}

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, Policy::Sound)
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn geometry(u: &mut Unstructured<'_>) -> arbitrary::Result<Geometry> {
    let segment_size = 1024_u32 << u.int_in_range(0..=2)?;
    // As everywhere: one seal never fills the cold ring.
    let hot_count = u.int_in_range(2..=4)?;
    let cold_count = hot_count * 3 + u.int_in_range(0..=4)?;
    let segments = u64::from(hot_count + cold_count) * u64::from(segment_size);
    Ok(Geometry {
        file_size: HEADER_ZONE + segments,
        segment_size,
        hot_count,
        cold_count,
    })
}

fn over(data: &[u8], policy: Policy) -> Verdict {
    let mut u = Unstructured::new(data);
    let recipe = |u: &mut Unstructured<'_>| -> arbitrary::Result<_> {
        Ok((geometry(u)?, Random(u64::from(u.arbitrary::<u32>()?))))
    };
    let Ok((geometry, mut random)) = recipe(&mut u) else {
        return Ok(());
    };
    let mut image = created(geometry, &mut random);
    for cut in 0..MOST_LIVES {
        if u.is_empty() {
            break;
        }
        let broken = |what: String| format!("cut {cut}: {what}");
        let disk = Disk::new(image, Random(random.number()));
        if policy == Policy::SyncLies {
            disk.lie();
        }
        let writer = match policy {
            Policy::NonceRepeated => Writer::open(disk.clone(), host(), &mut Repeated),
            _ => Writer::open(disk.clone(), host(), &mut random),
        };
        let mut life = Life {
            writer: writer.map_err(|error| broken(format!("refused: {error}")))?,
            disk: &disk,
            policy,
            random: Random(random.number()),
            appended: BTreeSet::new(),
            synced: BTreeSet::new(),
            clock: cut as u64 * 10_000,
        };
        for _ in 0..u.int_in_range(0..=MOST_STEPS).unwrap_or(0) {
            let Ok(step) = Step::arbitrary(&mut u) else {
                break;
            };
            life.take(step).map_err(broken)?;
        }
        let (appended, synced) = (life.appended, life.synced);
        image = check_cut(&disk, &appended, &synced, visible).map_err(broken)?;
        recovers_the_same(&image, visible).map_err(broken)?;
    }
    Ok(())
}

fn created(geometry: Geometry, random: &mut Random) -> Vec<u8> {
    let size = usize::try_from(geometry.file_size).expect("small");
    let disk = Disk::new(vec![0; size], random.clone());
    Writer::create(disk.clone(), geometry, host(), Stamp::default(), random)
        .expect("a disk of zeros becomes a recording");
    disk.with(|platters| {
        platters.sync();
        platters.durable.clone()
    })
}

/// One life of a writer, from open to cut.
struct Life<'a> {
    writer: Writer<Disk>,
    disk: &'a Disk,
    policy: Policy,
    random: Random,
    appended: BTreeSet<u64>,
    synced: BTreeSet<u64>,
    clock: u64,
}

impl Life<'_> {
    fn stamp(&mut self) -> Stamp {
        self.clock += 1;
        Stamp {
            realtime_ns: self.clock.cast_signed() * 1000,
            boottime_ns: self.clock * 1000,
        }
    }

    fn take(&mut self, step: Step) -> Verdict {
        match step {
            Step::Narrow(count) => (0..count % 16).try_for_each(|_| self.row(3))?,
            Step::Wide(count) => (0..count % 8).try_for_each(|_| self.row(20))?,
            Step::Event(size) => {
                let stamp = self.stamp();
                let event = event(usize::from(size), self.clock);
                let appended = self.writer.event(stamp, &event);
                self.keep(appended)?;
            }
            Step::Epoch => {
                self.writer.begin_epoch();
            }
            Step::Sync => self.sync(),
        }
        self.seal()
    }

    fn row(&mut self, width: usize) -> Verdict {
        let schema = plain_schema(width, &vec![ValueType::U64; width]);
        let handle = self.writer.define(&schema);
        let words: Vec<_> = (0..width).map(|_| Some(self.random.number())).collect();
        let stamp = self.stamp();
        let appended = handle.and_then(|handle| self.writer.append(handle, stamp, &values(&words)));
        self.keep(appended)?;
        self.seal()
    }

    fn keep(&mut self, appended: Result<u64, Error>) -> Verdict {
        match appended {
            Ok(seq) => {
                self.appended.insert(seq);
                Ok(())
            }
            Err(Error::HotRingFull | Error::RowTooLarge { .. }) => Ok(()),
            Err(error) => Err(format!("appending failed: {error}")),
        }
    }

    fn sync(&mut self) {
        self.disk.with(Platters::sync);
        self.synced.clone_from(&self.appended);
    }

    fn seal(&mut self) -> Verdict {
        let Some(job) = self.writer.begin_seal() else {
            return Ok(());
        };
        let through = self
            .writer
            .commit_seal(job.encode())
            .map_err(|error| format!("sealing failed: {error}"))?;
        if self.policy != Policy::FreedWithoutSync {
            self.sync();
        }
        self.writer.seal_durable(through);
        Ok(())
    }
}

fn visible(image: Vec<u8>) -> Result<Seen<Item>, String> {
    let snapshot = Recording::over(image)
        .and_then(|recording| recording.snapshot())
        .map_err(|error| format!("unreadable: {error}"))?;
    let (items, _) = read(&snapshot)?;
    Ok(Seen {
        items: items.into_iter().map(|item| (item.seq, item)).collect(),
        without_schema: without_schema(&snapshot)
            .map_err(|error| format!("verifying failed: {error}"))?,
    })
}
