//! Death between any two stores.
//!
//! A killed process leaves what it had stored so far: every store into the mapping up to some word,
//! every `write` up to some call. A region notes all of them in order; the test then looks at the
//! recording that each beginning of that sequence leaves, over several laps of both rings: nothing
//! in it is damaged, and all rows are there whose append had returned. Stores in a wrong order must
//! be caught by the same look.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ktm_format::{
    Entropy, Event, Geometry, HeapRegion, Host, ReadAt, Recording, Region, Schema, Select, Series,
    Stamp, Syncer, Values, Writer,
};

/// Bytes that became visible at one moment.
struct Store {
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct Noted {
    region: HeapRegion,
    stores: Arc<Mutex<Vec<Store>>>,
}

impl Noted {
    fn note(&self, offset: u64, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.with(|stores| stores.push(Store { offset, bytes }));
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Store>) -> T) -> T {
        look(&mut self.stores.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ReadAt for Noted {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.region)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.region.read_at(offset, buffer)
    }
}

impl Region for Noted {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(offset, bytes);
        self.region.write(offset, bytes)
    }

    fn store(&self, offset: u64, bytes: &[u8]) {
        for (index, word) in (0..).zip(bytes.chunks(8)) {
            self.note(offset + index * 8, word);
        }
        self.region.store(offset, bytes);
    }

    fn publish(&self, offset: u64, word: [u8; 8]) {
        self.note(offset, &word);
        self.region.publish(offset, word);
    }

    fn syncer(&self) -> io::Result<Syncer> {
        self.region.syncer()
    }
}

/// A nonce that counts.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0 += 1;
        let bytes = self.0.to_le_bytes();
        for (to, from) in buffer.iter_mut().zip(bytes.iter().cycle()) {
            *to = *from;
        }
    }
}

const HOST: Host = Host {
    boot_id: [1; 16],
    pid: 1,
};

fn geometry() -> Geometry {
    Geometry {
        file_size: 65_536 + 10 * 4096,
        segment_size: 4096,
        hot_count: 4,
        cold_count: 6,
    }
}

fn schema() -> Schema {
    let series = (0..12).map(|n| Series::counter(format!("s{n}"), ""));
    Schema {
        module: "m".into(),
        labels: vec![],
        series: series.collect(),
    }
}

/// What a writer did: its stores in order, and after how many of them each number was given.
struct Story {
    stores: Vec<Store>,
    given: Vec<usize>,
    last: u64,
}

/// Two lives that append until both rings have come round.
fn story() -> Story {
    let noted = Noted {
        region: HeapRegion::new(geometry().file_size),
        stores: Arc::default(),
    };
    let mut entropy = Counting(0);
    let begin = |entropy: &mut Counting| {
        Writer::create(noted.clone(), geometry(), HOST, Stamp::default(), entropy)
    };
    drop(begin(&mut entropy).expect("zeros"));
    let created = noted.with(|stores| stores.len());
    let mut given = Vec::new();
    let mut last = 0;
    for life in 0..2 {
        let mut writer = Writer::open(noted.clone(), HOST, &mut entropy).expect("opens");
        let handle = writer.define(&schema()).expect("fits");
        for round in 0..400_u64 {
            let stamp = Stamp {
                realtime_ns: last as i64,
                boottime_ns: last,
            };
            let mut values = Values::new();
            for column in 0..12 {
                values.push_u64((last + round).wrapping_mul(0x9e37_79b9_7f4a_7c15 + column));
            }
            last = if round % 40 == 7 {
                writer.event(stamp, &Event::new(format!("life {life}")))
            } else {
                writer.append(handle, stamp, &values)
            }
            .expect("room");
            given.push(noted.with(|stores| stores.len()));
            writer.maintain().expect("memory does not fail");
        }
    }
    let mut stores = noted.with(std::mem::take);
    let skipped: Vec<Store> = stores.drain(..created).collect();
    assert!(!skipped.is_empty());
    let mut image = vec![0; usize::try_from(geometry().file_size).expect("small")];
    skipped.iter().for_each(|store| apply(&mut image, store));
    stores.insert(
        0,
        Store {
            offset: 0,
            bytes: image,
        },
    );
    given.iter_mut().for_each(|after| *after -= created - 1);
    Story {
        stores,
        given,
        last,
    }
}

fn apply(image: &mut [u8], store: &Store) {
    let at = usize::try_from(store.offset).expect("small");
    image[at..at + store.bytes.len()].copy_from_slice(&store.bytes);
}

/// Looks at what is left after `done` stores.
fn look(image: &[u8], story: &Story, done: usize) -> Result<(), String> {
    let snapshot = Recording::over(image.to_vec())
        .and_then(|recording| recording.snapshot())
        .map_err(|error| error.to_string())?;
    if !snapshot.damage().is_empty() {
        return Err(format!("{:?}", snapshot.damage()));
    }
    let rows: Result<Vec<_>, _> = snapshot.rows(&Select::all()).collect();
    let rows = rows.map_err(|error| error.to_string())?;
    let mut numbers: Vec<u64> = rows.iter().map(|row| row.seq).collect();
    numbers.extend(snapshot.events().iter().map(|event| event.seq));
    numbers.sort_unstable();
    let returned = story.given.partition_point(|after| *after <= done) as u64;
    let Some((first, last)) = numbers.first().zip(numbers.last()) else {
        return if returned == 0 {
            Ok(())
        } else {
            Err("nothing left".into())
        };
    };
    if *last < returned || *last > returned + 1 {
        return Err(format!("{returned} had been given, the last is {last}"));
    }
    if numbers.len() as u64 != last - first + 1 {
        return Err(format!("holes between {first} and {last}: {numbers:?}"));
    }
    Ok(())
}

/// Looks after every store into a header, after the first and the last of each record, and after
/// some others.
fn look_everywhere(story: &Story) -> Result<usize, String> {
    let mut image = Vec::new();
    let mut looks = 0;
    let size = u64::from(geometry().segment_size);
    let is_near_header = |store: &Store| {
        let at = (store.offset - 65_536.min(store.offset)) % size;
        at < 192 || at + 192 > size
    };
    for (index, store) in story.stores.iter().enumerate() {
        if image.is_empty() {
            image.clone_from(&store.bytes);
        } else {
            apply(&mut image, store);
        }
        let ends_one = |done: usize| story.given.binary_search(&done).is_ok();
        let is_first_or_last = ends_one(index) || ends_one(index + 1);
        if is_near_header(store) || is_first_or_last || index % 97 == 0 {
            looks += 1;
            look(&image, story, index + 1)
                .map_err(|what| format!("after store {index} at {}: {what}", store.offset))?;
        }
    }
    Ok(looks)
}

#[test]
fn a_death_between_any_two_stores_damages_nothing() {
    let story = story();
    assert_eq!(story.last, 800);
    let looks = look_everywhere(&story).expect("sound at every store");
    println!("{looks} of {} moments looked at", story.stores.len());
}

#[test]
fn headers_stored_before_they_are_made_unwritten_are_caught() {
    let mut story = story();
    let size = u64::from(geometry().segment_size);
    let unmakes = |store: &Store| {
        let at = store.offset.saturating_sub(65_536) % size;
        store.bytes == [0; 8] && (at == 0 || at == size - 128)
    };
    for index in 1..story.stores.len() {
        if unmakes(&story.stores[index]) {
            // As if that store had been left out.
            let before = std::mem::take(&mut story.stores[index].bytes);
            assert_eq!(before.len(), 8);
        }
    }
    let caught = look_everywhere(&story).expect_err("a torn header");
    assert!(caught.contains("SegmentHeader"), "{caught}");
}

#[test]
fn records_made_visible_before_they_are_whole_are_caught() {
    let mut story = story();
    let after = story.given[5];
    let first = story.given[4];
    // The last store of an append is the one that makes its record visible.
    story.stores[first..after].rotate_right(1);
    let caught = look_everywhere(&story).expect_err("half a record");
    assert!(
        caught.starts_with(&format!("after store {first} ")),
        "{caught}"
    );
}
