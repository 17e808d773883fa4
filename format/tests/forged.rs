//! Files whose checksums are right and whose numbers are not: made by hand, or by a bug. They are
//! refused or called damaged, and cost neither memory nor time by what they promise.

use ktm_format::{
    DamageKind, Entropy, Error, Event, Geometry, HEADER_ZONE, HeapRegion, Host, ReadAt, Recording,
    Region, Schema, Series, Stamp, Values, Writer,
};

struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}

const SEGMENT: usize = 1024;
const FIRST: usize = HEADER_ZONE as usize;

const GEOMETRY: Geometry = Geometry {
    file_size: HEADER_ZONE + 6 * SEGMENT as u64,
    segment_size: SEGMENT as u32,
    hot_count: 2,
    cold_count: 4,
};

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

/// A recording of three events and a row.
fn recording() -> Vec<u8> {
    let region = HeapRegion::new(GEOMETRY.file_size);
    let created = Stamp::default();
    let writer = Writer::create(region.clone(), GEOMETRY, host(), created, &mut Fixed(1));
    let mut writer = writer.expect("a region of zeros");
    for _ in 0..3 {
        writer.event(created, &Event::new("mark")).expect("room");
    }
    let schema = Schema {
        module: "m".into(),
        labels: vec![],
        series: vec![Series::counter("x_total", "X.")],
    };
    let handle = writer.define(&schema).expect("small");
    let mut values = Values::new();
    values.push_u64(1);
    writer.append(handle, created, &values).expect("room");
    let mut bytes = vec![0; usize::try_from(GEOMETRY.file_size).expect("small")];
    region.read_at(0, &mut bytes).expect("in range");
    bytes
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

/// Makes a structure's CRC right, which lies at `crc`.
fn seal(structure: &mut [u8], crc: usize) {
    put(structure, crc, &[0; 4]);
    let sum = crc32fast::hash(structure);
    put(structure, crc, &sum.to_le_bytes());
}

fn open(bytes: &[u8]) -> Result<Writer<HeapRegion>, Error> {
    let region = HeapRegion::new(bytes.len() as u64);
    region.store(0, bytes);
    Writer::open(region, host(), &mut Fixed(2))
}

#[test]
fn a_superblock_that_promises_two_milliards_of_slots_costs_nothing() {
    let mut bytes = recording();
    for copy in [0, 32_768] {
        put(&mut bytes, copy + 40, &(1_u64 << 40).to_le_bytes());
        put(&mut bytes, copy + 48, &512_u32.to_le_bytes());
        put(&mut bytes, copy + 56, &0x7ffe_0000_u32.to_le_bytes());
        seal(&mut bytes[copy..copy + 256], 12);
    }
    let snapshot = Recording::over(bytes.clone()).and_then(|file| file.snapshot());
    let snapshot = snapshot.expect("its superblock is intact");
    let last = snapshot.damage().last().expect("most of it is missing");
    assert_eq!(last.what, DamageKind::Truncated);
    assert!(!snapshot.verify().expect("readable").is_sound());
    Recording::salvage_over(bytes.clone()).expect("readable");
    assert!(matches!(open(&bytes), Err(Error::Corrupt(_))));
}

#[test]
fn a_segment_with_the_highest_number_of_all_is_none() {
    let mut bytes = recording();
    for header in [FIRST, FIRST + SEGMENT - 128] {
        // An even one, so that it belongs to the slot.
        put(&mut bytes, header + 16, &(u64::MAX - 1).to_le_bytes());
        seal(&mut bytes[header..header + 128], 4);
    }
    let snapshot = Recording::over(bytes.clone()).and_then(|file| file.snapshot());
    let snapshot = snapshot.expect("its superblock is intact");
    assert_eq!(snapshot.damage()[0].what, DamageKind::Segment);
    snapshot.verify().expect("readable");
    Recording::salvage_over(bytes.clone()).expect("readable");
    let mut writer = open(&bytes).expect("damaged, and good for more");
    assert_eq!(
        writer.event(Stamp::default(), &Event::new("mark")).ok(),
        Some(1)
    );
}

/// Gives the first record of this kind in the first segment another number, and a right CRC.
fn renumber(bytes: &mut [u8], kind: u8, seq: u64) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[FIRST + 24..FIRST + 32]);
    hasher.update(&bytes[FIRST + 16..FIRST + 24]);
    let seed = hasher.finalize();
    let mut record = FIRST + 128;
    while bytes[record + 4] != kind {
        record += length_of(bytes, record).next_multiple_of(8);
    }
    let end = record + length_of(bytes, record);
    put(bytes, record + 16, &seq.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&bytes[record..record + 8]);
    hasher.update(&bytes[record + 12..end]);
    put(bytes, record + 8, &hasher.finalize().to_le_bytes());
}

fn length_of(bytes: &[u8], record: usize) -> usize {
    let length = bytes[record..record + 4].try_into().expect("four bytes");
    u32::from_le_bytes(length) as usize
}

const ROW: u8 = 1;
const EVENT: u8 = 2;

#[test]
fn a_record_with_the_highest_number_of_all_is_damage() {
    // The row is the last of the four, the event the first.
    for (kind, next) in [(ROW, 4), (EVENT, 5)] {
        let mut bytes = recording();
        renumber(&mut bytes, kind, u64::MAX);
        let snapshot = Recording::over(bytes.clone()).and_then(|file| file.snapshot());
        let snapshot = snapshot.expect("its superblock is intact");
        let verified = snapshot.verify().expect("readable");
        assert_eq!(verified.rows + verified.events, 3, "kind {kind}");
        assert_eq!(verified.damage[0].damage.what, DamageKind::Contents);
        let mut writer = open(&bytes).expect("damaged, and good for more");
        assert_eq!(
            writer.event(Stamp::default(), &Event::new("mark")).ok(),
            Some(next)
        );
    }
}

#[test]
fn behind_the_last_number_there_is_no_other() {
    for kind in [ROW, EVENT] {
        let mut bytes = recording();
        renumber(&mut bytes, kind, u64::MAX >> 1);
        let mut writer = open(&bytes).expect("sound");
        let refused = writer.event(Stamp::default(), &Event::new("mark"));
        assert!(matches!(refused, Err(Error::Poisoned(_))), "{refused:?}");
    }
}
