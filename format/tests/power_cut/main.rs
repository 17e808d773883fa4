//! Power cuts on a simulated disk.
//!
//! The disk keeps what is durable apart from what is only written. Between two syncs it may have
//! written back any 512-byte sector at any moment, torn inside too. A cut keeps of each unsynced
//! sector the durable bytes, the newest, those of some moment between, or a splice of two of them.
//!
//! After every cut: all that was synced and not overwritten is there; nothing is there that was not
//! written, or that was already gone at the last sync; order holds; recovering again sees the same.
//! Policies known to be wrong must be caught by the same checks: two in how the writer is driven,
//! three that a toy ring is built with.
//!
//! `SEED=n CUTS=n cargo test -p ktm-format --test power_cut` repeats a run exactly.

use std::collections::{BTreeMap, BTreeSet};

use ktm_format::{
    Entropy, Error, Event, Geometry, Host, Recording, Row, Schema, Select, Series, Stamp, Values,
    Writer,
};
use ktm_simulation::{Disk, Platters, Random, Seen, check_cut, recovers_the_same, without_schema};

mod toy;

/// How the writer is driven.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    /// As documented.
    Sound,
    /// Hot segments are given free without waiting for the sync.
    FreedWithoutSync,
    /// Every run has the same nonce, so that only the segment's number enters the seed.
    NonceRepeated,
}

struct Repeated;

impl Entropy for Repeated {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

fn geometry() -> Geometry {
    Geometry {
        file_size: 65_536 + 10 * 4096,
        segment_size: 4096,
        hot_count: 4,
        cold_count: 6,
    }
}

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

fn schema(width: usize) -> Schema {
    let series = (0..width).map(|n| Series::counter(format!("s{n}"), ""));
    Schema {
        module: format!("m{width}"),
        labels: vec![],
        series: series.collect(),
    }
}

fn visible(image: Vec<u8>) -> Result<Seen<Row>, String> {
    let unreadable = |error: Error| format!("unreadable: {error}");
    let snapshot = Recording::over(image)
        .and_then(|recording| recording.snapshot())
        .map_err(unreadable)?;
    let mut rows = BTreeMap::<u64, Row>::new();
    for row in snapshot.rows(&Select::all()).flatten() {
        if rows
            .last_key_value()
            .is_some_and(|(last, _)| *last >= row.seq)
        {
            return Err(format!("row {} out of order", row.seq));
        }
        rows.insert(row.seq, row);
    }
    Ok(Seen {
        items: rows,
        without_schema: without_schema(&snapshot).map_err(unreadable)?,
    })
}

fn visible_in_toy(policy: toy::Policy, image: &[u8]) -> Result<Seen<Vec<u8>>, String> {
    Ok(Seen {
        items: toy::visible(policy, image)?,
        without_schema: BTreeSet::new(),
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
            realtime_ns: self.clock as i64 * 1000,
            boottime_ns: self.clock * 1000,
        }
    }

    fn append(&mut self) {
        let width = if self.random.one_in(4) { 30 } else { 3 };
        let handle = self.writer.define(&schema(width)).expect("fits");
        let mut values = Values::new();
        for column in 0..width {
            // Most counters of a real row are idle: what one lap leaves is what another one wrote.
            let is_idle = column % 4 != 0;
            values.push_u64(if is_idle { 7 } else { self.random.number() });
        }
        let stamp = self.stamp();
        match self.writer.append(handle, stamp, &values) {
            Ok(seq) => {
                self.appended.insert(seq);
            }
            Err(Error::HotRingFull) => self.seal(),
            Err(error) => panic!("{error}"),
        }
    }

    fn sync(&mut self) {
        self.disk.with(Platters::sync);
        self.synced = self.appended.clone();
    }

    fn seal(&mut self) {
        let Some(job) = self.writer.begin_seal() else {
            return;
        };
        let through = self
            .writer
            .commit_seal(job.encode())
            .expect("the disk does not fail");
        if self.policy != Policy::FreedWithoutSync {
            self.sync();
        }
        self.writer.seal_durable(through);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 => self.sync(),
            1 => {
                let stamp = self.stamp();
                let _full = self.writer.event(stamp, &Event::new("mark"));
            }
            _ => self.append(),
        }
        self.seal();
    }
}

/// Runs a disk through this many cuts and gives the first broken promise.
fn trial(policy: Policy, seed: u64, cuts: u32) -> Result<(), String> {
    let mut random = Random(seed);
    let size = usize::try_from(geometry().file_size).expect("small");
    let mut image = {
        let disk = Disk::new(vec![0; size], random.clone());
        let created = Stamp::default();
        Writer::create(disk.clone(), geometry(), host(), created, &mut random).expect("zeros");
        disk.with(|platters| {
            platters.sync();
            platters.durable.clone()
        })
    };
    for cut in 0..cuts {
        let disk = Disk::new(image, Random(random.number()));
        let broken = |what: String| format!("seed {seed}, cut {cut}: {what}");
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
            clock: u64::from(cut) * 10_000,
        };
        for _ in 0..random.below(120) {
            life.step();
        }
        let (appended, synced) = (life.appended.clone(), life.synced.clone());
        drop(life);
        image = check_cut(&disk, &appended, &synced, visible).map_err(broken)?;
        recovers_the_same(&image, visible).map_err(broken)?;
    }
    Ok(())
}

/// The same with the toy.
fn trial_of_toy(policy: toy::Policy, seed: u64, cuts: u32) -> Result<(), String> {
    let mut random = Random(seed);
    let mut image = vec![0; toy::SIZE];
    for cut in 0..cuts {
        let disk = Disk::new(image, Random(random.number()));
        let mut ring = toy::Toy::open(policy, disk.clone(), Random(random.number()));
        let mut appended = BTreeSet::new();
        let mut synced = BTreeSet::new();
        for _ in 0..random.below(120) {
            appended.insert(ring.append());
            if random.one_in(20) {
                disk.with(Platters::sync);
                synced.clone_from(&appended);
            }
        }
        let look = |image: Vec<u8>| visible_in_toy(policy, &image);
        image = check_cut(&disk, &appended, &synced, look)
            .map_err(|what| format!("seed {seed}, cut {cut}: {what}"))?;
    }
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn no_synced_row_is_lost_and_none_comes_back_from_the_dead() {
    let first = setting("SEED", 1);
    let cuts = setting("CUTS", 1000);
    for seed in first..first + cuts / 50 {
        trial(Policy::Sound, seed, 50).expect("the promise holds");
    }
}

#[test]
fn freeing_hot_segments_without_a_sync_is_caught() {
    let caught = (1..200).find_map(|seed| trial(Policy::FreedWithoutSync, seed, 50).err());
    assert!(caught.is_some_and(|what| what.contains("lost")));
}

#[test]
fn repeating_the_nonce_is_caught() {
    let caught = (1..2000).find_map(|seed| trial(Policy::NonceRepeated, seed, 50).err());
    assert!(
        caught.is_some(),
        "a seed of the segment number alone must not pass"
    );
}

#[test]
fn a_toy_ring_built_soundly_keeps_the_promises_too() {
    for seed in 1..40 {
        trial_of_toy(toy::Policy::Sound, seed, 50).expect("the toy is sound");
    }
}

/// The first broken promise of a toy built with this policy.
fn caught(policy: toy::Policy) -> String {
    (1..200)
        .find_map(|seed| trial_of_toy(policy, seed, 50).err())
        .expect("a known-bad policy breaks a promise")
}

#[test]
fn resuming_in_place_is_caught() {
    let what = caught(toy::Policy::ResumeInPlace);
    println!("{what}");
}

#[test]
fn an_unseeded_crc_is_caught() {
    let what = caught(toy::Policy::UnseededCrc);
    println!("{what}");
}

#[test]
fn a_header_trusted_as_truth_is_caught() {
    let what = caught(toy::Policy::HeaderIsTruth);
    println!("{what}");
}
