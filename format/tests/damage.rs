//! Damage of every kind, in turn, to small but complete recordings: nothing panics, nothing is
//! invented, no more is lost than what the damage touched, and all that is lost is told.

use std::collections::BTreeSet;

use ktm_format::block::{BLOCK_HEADER_SIZE, BlockHeader};
use ktm_format::record::{RECORD_HEADER_SIZE, RecordHeader};
use ktm_format::{
    DamageKind, Entropy, Error, Event, Geometry, HeapRegion, Host, ReadAt, Recording, Result, Ring,
    Schema, Select, Series, Snapshot, Stamp, Values, Verification, Writer,
};
use zerocopy::FromBytes;

const SECTOR: usize = 512;
const SEGMENT: usize = 4096;
const HEADERS: usize = 65_536;

/// Entropy that can be repeated.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn geometry() -> Geometry {
    Geometry {
        file_size: (HEADERS + 12 * SEGMENT) as u64,
        segment_size: SEGMENT as u32,
        hot_count: 4,
        cold_count: 8,
    }
}

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

fn schema(module: &str, series: usize) -> Schema {
    let series = (0..series).map(|n| Series::counter(format!("{module}_{n}_total"), "Help."));
    Schema {
        module: module.into(),
        labels: vec![],
        series: series.collect(),
    }
}

fn at(second: u64) -> Stamp {
    Stamp {
        realtime_ns: 1_700_000_000_000_000_000 + second as i64 * 1_000_000_000,
        boottime_ns: second * 1_000_000_000,
    }
}

/// One row of each of two modules, and now and then an event.
fn sample(writer: &mut Writer<HeapRegion>, second: u64) {
    for (module, count) in [("wide", 20), ("narrow", 3)] {
        let handle = writer.define(&schema(module, count)).expect("fits");
        let mut values = Values::new();
        for column in 0..count as u64 {
            values.push_u64((second * 7919 * (column + 1)) ^ (second * second));
        }
        writer.append(handle, at(second), &values).expect("room");
    }
    if second.is_multiple_of(10) {
        let event = Event::new("mark").with("second", second);
        writer.event(at(second), &event).expect("room");
    }
    writer.maintain().expect("the heap does not fail");
}

/// A recording of so many seconds in two runs, byte by byte, and what it was a little earlier.
fn recording(seconds: u64, salt: u64) -> (Vec<u8>, Vec<u8>) {
    let region = HeapRegion::new(geometry().file_size);
    let mut entropy = Counter(salt);
    let created = Stamp::default();
    let mut writer = Writer::create(region.clone(), geometry(), host(), created, &mut entropy)
        .expect("a region of zeros");
    let earlier = seconds - seconds / 4;
    let mut before = Vec::new();
    for second in 0..seconds {
        if second == seconds / 2 {
            writer = Writer::open(region.clone(), host(), &mut entropy).expect("opens");
        }
        if second == earlier {
            before = bytes(&region);
        }
        sample(&mut writer, second);
    }
    (bytes(&region), before)
}

fn bytes(region: &HeapRegion) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ReadAt::len(region).expect("known")).expect("small")];
    region.read_at(0, &mut bytes).expect("in range");
    bytes
}

/// Not yet come round, and come round several times.
fn recordings() -> [(Vec<u8>, Vec<u8>); 2] {
    [recording(60, 1), recording(700, 2)]
}

fn read(image: &[u8]) -> Result<Snapshot> {
    Recording::over(image.to_vec()).and_then(|recording| recording.snapshot())
}

/// Number and values of every row, number and text of every event.
fn contents(snapshot: &Snapshot) -> BTreeSet<(u64, String)> {
    let rows = snapshot.rows(&Select::all()).filter_map(Result::ok);
    let rows = rows.map(|row| (row.seq, format!("{row:?}")));
    let events = snapshot.events().iter();
    rows.chain(events.map(|event| (event.seq, format!("{event:?}"))))
        .collect()
}

fn numbers(contents: &BTreeSet<(u64, String)>) -> BTreeSet<u64> {
    contents.iter().map(|(number, _)| *number).collect()
}

/// How many rows and events have a record that these bytes of the whole recording touch; those of
/// unreadable schemas count by their segment.
fn touched(whole: &[u8], from: usize, to: usize) -> u64 {
    let mut touched = 0;
    for segment in (HEADERS..whole.len()).step_by(SEGMENT) {
        let mut at = segment + 128;
        loop {
            let (header, rest) =
                RecordHeader::read_from_prefix(&whole[at..]).expect("within the file");
            let length = header.length.get() as usize;
            if length < RECORD_HEADER_SIZE || at + length > segment + SEGMENT {
                break;
            }
            if at < to && at + length > from {
                touched += match header.kind.get() {
                    4 => BlockHeader::read_from_bytes(&rest[..BLOCK_HEADER_SIZE])
                        .map_or(0, |block| u64::from(block.rows.get())),
                    3 => 0,
                    _ => 1,
                };
            }
            at += length;
        }
    }
    touched
}

/// Everything that is lost is told: by a place with its numbers, as a hole, or as perhaps the
/// newest; verifying agrees with reading.
fn assert_told(whole: &BTreeSet<u64>, snapshot: &Snapshot, what: &str) -> Verification {
    let kept = contents(snapshot);
    let verification = snapshot.verify().expect("memory does not fail");
    let found = verification.rows + verification.events;
    assert_eq!(
        found,
        kept.len() as u64,
        "{what}: reading and verifying differ"
    );
    let places: Vec<_> = verification
        .damage
        .iter()
        .map(|loss| &loss.damage)
        .collect();
    let missed = snapshot
        .damage()
        .iter()
        .find(|damage| !places.contains(damage));
    assert!(missed.is_none(), "{what}: verify does not know {missed:?}");
    let is_told = |number: u64| {
        let holes = verification.damage.iter().flat_map(|loss| &loss.numbers);
        let mut holes = holes.chain(&verification.holes);
        let last = verification.last.map_or(0, |last| last.seq);
        let first = verification.first.map_or(0, |first| first.seq);
        let is_old = number < first && !verification.damage.is_empty();
        let is_new = number > last && verification.damage.iter().any(|loss| loss.tail);
        is_old || is_new || holes.any(|hole| hole.first <= number && number <= hole.last)
    };
    let kept = numbers(&kept);
    let silent: Vec<_> = whole
        .difference(&kept)
        .filter(|number| !is_told(**number))
        .collect();
    assert!(
        silent.is_empty(),
        "{what}: {silent:?} are lost silently: {verification:?}"
    );
    verification
}

/// The check itself is shown a loss that nobody tells of.
#[test]
#[should_panic(expected = "lost silently")]
fn a_silent_loss_is_caught() {
    let (whole, _) = recording(60, 1);
    let mut expected = numbers(&contents(&read(&whole).expect("sound")));
    let last = expected.last().copied().expect("some");
    expected.insert(last + 1);
    assert_told(
        &expected,
        &read(&whole).expect("sound"),
        "the newest row dropped",
    );
}

/// And the bound: a lost segment is more than one of its sectors touches.
#[test]
fn a_loss_beyond_what_was_touched_is_caught() {
    let (whole, _) = recording(60, 1);
    let all = contents(&read(&whole).expect("sound"));
    let is_caught = |index: usize| {
        let mut damaged = whole.clone();
        damaged[slot(index)].fill(0xee);
        let lost = all.len() - contents(&read(&damaged).expect("readable")).len();
        let first = slot(index).start;
        lost as u64 > touched(&whole, first, first + SECTOR)
    };
    assert!((0..12).any(is_caught));
}

#[test]
fn a_sound_recording_is_sound_also_after_laps() {
    for (whole, _) in recordings() {
        let snapshot = read(&whole).expect("sound");
        let verification = snapshot.verify().expect("memory does not fail");
        assert!(verification.is_sound(), "{verification:?}");
        assert!(!verification.has_lost_something());
        assert_eq!(verification.lost, 0);
    }
}

/// With every sector given back as zeros, or as noise.
#[test]
fn every_sector_costs_what_it_touches_and_no_more() {
    let noise: Vec<u8> = (0..SECTOR).map(|n| (n * 167 + 13) as u8).collect();
    for (whole, _) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        for sector in (0..whole.len()).step_by(SECTOR) {
            for fill in [&vec![0; SECTOR], &noise] {
                let what = format!("sector at {sector}");
                let mut damaged = whole.clone();
                damaged[sector..sector + SECTOR].copy_from_slice(fill);
                let snapshot = read(&damaged).expect("one superblock is intact");
                let kept = contents(&snapshot);
                assert!(kept.is_subset(&all), "{what}: invented");
                let lost = (all.len() - kept.len()) as u64;
                let touched = touched(&whole, sector, sector + SECTOR);
                assert!(lost <= touched, "{what}: {lost} lost, {touched} touched");
                assert_told(&numbers(&all), &snapshot, &what);
                let salvaged = Recording::salvage_over(damaged).expect("something is left");
                assert_eq!(contents(&salvaged), kept, "{what}: salvage differs");
            }
        }
    }
}

#[test]
fn a_file_cut_at_any_sector_keeps_what_is_before_the_cut() {
    for (whole, _) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        for length in (0..whole.len()).step_by(SECTOR) {
            let what = format!("cut to {length}");
            let cut = whole[..length].to_vec();
            if length < 256 {
                assert!(matches!(read(&cut), Err(Error::NotARecording(_))), "{what}");
                assert!(Recording::salvage_over(cut).is_err(), "{what}");
                continue;
            }
            let snapshot = read(&cut).expect("superblock A is there");
            let kept = contents(&snapshot);
            assert!(kept.is_subset(&all), "{what}: invented");
            let lost = (all.len() - kept.len()) as u64;
            let touched = touched(&whole, length, whole.len());
            assert!(lost <= touched, "{what}: {lost} lost, {touched} touched");
            let verification = assert_told(&numbers(&all), &snapshot, &what);
            let truncated = |damage: &DamageKind| *damage == DamageKind::Truncated;
            assert!(
                verification
                    .damage
                    .iter()
                    .any(|loss| truncated(&loss.damage.what))
            );
            let behind = verification.damage.iter().find(|loss| {
                !truncated(&loss.damage.what)
                    && loss.damage.offset + loss.damage.length > length as u64
            });
            assert!(behind.is_none(), "{what}: reported twice: {behind:?}");
        }
    }
}

/// The bytes of slot `index` of the file, both rings counted through.
fn slot(index: usize) -> std::ops::Range<usize> {
    HEADERS + index * SEGMENT..HEADERS + (index + 1) * SEGMENT
}

#[test]
fn swapped_segments_are_noticed_and_salvage_reads_them_where_they_are() {
    for (whole, _) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        let used: Vec<usize> = (0..12).filter(|n| whole[slot(*n)][0] != 0).collect();
        for pair in used.windows(2) {
            let what = format!("slots {pair:?} swapped");
            let mut swapped = whole.clone();
            swapped[slot(pair[0])].copy_from_slice(&whole[slot(pair[1])]);
            swapped[slot(pair[1])].copy_from_slice(&whole[slot(pair[0])]);
            let snapshot = read(&swapped).expect("the superblocks are intact");
            assert!(contents(&snapshot).is_subset(&all), "{what}: invented");
            let verification = assert_told(&numbers(&all), &snapshot, &what);
            assert_eq!(verification.damage.len(), 2, "{what}: {verification:?}");
            let salvaged = Recording::salvage_over(swapped).expect("all is left");
            assert_eq!(contents(&salvaged), all, "{what}: salvage lost something");
            let places = salvaged.damage().iter().map(|damage| damage.what);
            assert!(
                places.clone().all(|what| what == DamageKind::Misplaced),
                "{what}"
            );
            assert!(
                !salvaged.verify().expect("readable").has_lost_something(),
                "{what}"
            );
        }
    }
}

#[test]
fn a_segment_put_back_to_an_earlier_state_is_noticed() {
    for (whole, before) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        let old = contents(&read(&before).expect("sound"));
        for index in 0..12 {
            let what = format!("slot {index} put back");
            let mut stale = whole.clone();
            stale[slot(index)].copy_from_slice(&before[slot(index)]);
            let snapshot = read(&stale).expect("the superblocks are intact");
            let kept = contents(&snapshot);
            assert!(
                kept.iter()
                    .all(|record| all.contains(record) || old.contains(record))
            );
            let lost: BTreeSet<u64> = numbers(&all).difference(&numbers(&kept)).copied().collect();
            let last = numbers(&kept).last().copied().unwrap_or(0);
            // The newest segment itself: what it held had never been, for all that is left.
            let is_newest = lost.iter().all(|number| *number > last);
            if !is_newest {
                let verification = assert_told(&numbers(&all), &snapshot, &what);
                assert!(!verification.is_sound(), "{what}");
            }
        }
    }
}

#[test]
fn a_segment_of_zeros_is_not_taken_for_one_never_used() {
    for (whole, _) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        let used: Vec<usize> = (0..12).filter(|n| whole[slot(*n)][0] != 0).collect();
        for index in used {
            let what = format!("slot {index} zeroed");
            let mut damaged = whole.clone();
            damaged[slot(index)].fill(0);
            let snapshot = read(&damaged).expect("the superblocks are intact");
            let kept = contents(&snapshot);
            let last = numbers(&kept).last().copied().unwrap_or(0);
            let lost = numbers(&all)
                .difference(&numbers(&kept))
                .any(|number| *number < last);
            if lost {
                assert_told(&numbers(&all), &snapshot, &what);
            }
        }
    }
}

#[test]
fn a_segment_of_another_recording_is_not_read() {
    for (index, (whole, _)) in recordings().into_iter().enumerate() {
        let all = contents(&read(&whole).expect("sound"));
        let (other, _) = recording(if index == 0 { 60 } else { 700 }, 99);
        for index in (0..12).filter(|n| whole[slot(*n)][0] != 0) {
            let what = format!("slot {index} of another file");
            let mut mixed = whole.clone();
            mixed[slot(index)].copy_from_slice(&other[slot(index)]);
            let snapshot = read(&mixed).expect("the superblocks are intact");
            assert!(contents(&snapshot).is_subset(&all), "{what}: invented");
            let verification = assert_told(&numbers(&all), &snapshot, &what);
            assert_eq!(
                verification.damage[0].damage.what,
                DamageKind::Segment,
                "{what}"
            );
            let salvaged = Recording::salvage_over(mixed).expect("most is left");
            assert_eq!(contents(&salvaged), contents(&snapshot), "{what}");
        }
    }
}

#[test]
fn garbage_and_foreign_files_are_refused() {
    let garbage: Vec<u8> = (0..200_000_u64)
        .map(|n| (n * n * 31 + n / 7) as u8)
        .collect();
    for (what, bytes) in [
        ("nothing", vec![]),
        ("a byte", vec![0x89]),
        ("zeros", vec![0; 1 << 20]),
        ("garbage", garbage),
        ("text", b"timestamp,epoch\n".repeat(9_000)),
    ] {
        assert!(
            matches!(read(&bytes), Err(Error::NotARecording(_))),
            "{what}"
        );
        let refused = Recording::salvage_over(bytes);
        assert!(
            matches!(refused, Err(Error::NotARecording(_))),
            "{what}: {refused:?}"
        );
    }
}

#[test]
fn without_superblocks_salvage_finds_the_geometry_by_the_segments() {
    for (whole, _) in recordings() {
        let all = contents(&read(&whole).expect("sound"));
        for fill in [0, 0xee] {
            let mut damaged = whole.clone();
            damaged[..HEADERS].fill(fill);
            assert!(read(&damaged).is_err());
            let salvaged = Recording::salvage_over(damaged.clone()).expect("all is left");
            assert_eq!(contents(&salvaged), all);
            let Geometry {
                segment_size,
                hot_count,
                cold_count,
                ..
            } = salvaged.info().geometry;
            assert_eq!(
                (segment_size, hot_count, cold_count),
                (SEGMENT as u32, 4, 8)
            );
            // And with the file cut short as well.
            let length = damaged.len() - 3 * SEGMENT - 1000;
            damaged.truncate(length);
            let salvaged = Recording::salvage_over(damaged).expect("most is left");
            let cut = contents(&read(&whole[..length]).expect("superblock A is there"));
            assert!(contents(&salvaged).is_superset(&cut));
            assert!(contents(&salvaged).is_subset(&all));
        }
    }
}

#[test]
fn salvage_refuses_a_later_version_by_name() {
    let (mut whole, _) = recording(60, 1);
    whole[..HEADERS].fill(0);
    for segment in (HEADERS..whole.len()).step_by(SEGMENT) {
        for header in [segment, segment + SEGMENT - 128] {
            let header = &mut whole[header..header + 128];
            if header[0] == 0 {
                continue;
            }
            header[10] = 2;
            header[4..8].fill(0);
            let crc = crc32fast::hash(header);
            header[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let refused = Recording::salvage_over(whole);
    assert!(
        matches!(refused, Err(Error::UnsupportedVersion { found: 2, .. })),
        "{refused:?}"
    );
}

/// A reader that comes in between never takes a live file for a damaged one.
#[test]
fn a_recording_being_written_is_sound_at_every_step() {
    let region = HeapRegion::new(geometry().file_size);
    let created = Stamp::default();
    let mut writer = Writer::create(region.clone(), geometry(), host(), created, &mut Counter(5))
        .expect("a region of zeros");
    for second in 0..400 {
        sample(&mut writer, second);
        let verification = read(&bytes(&region)).and_then(|snapshot| snapshot.verify());
        let verification = verification.expect("readable");
        assert!(verification.is_sound(), "second {second}: {verification:?}");
    }
}

/// A known place and its story: the report says what a person needs.
#[test]
fn a_lost_block_is_told_with_its_module_its_numbers_and_its_neighbours() {
    let (whole, _) = recording(60, 1);
    let cold = geometry().offset(Ring::Cold, 0) as usize;
    let record = |at: usize| {
        let header = RecordHeader::read_from_prefix(&whole[at..]);
        header.expect("a record").0
    };
    let mut block = cold + 128;
    while record(block).kind.get() != 4 {
        block += record(block).length.get() as usize;
    }
    let header = record(block);
    let mut damaged = whole.clone();
    damaged[block + 120] ^= 1;
    let verification = read(&damaged).and_then(|s| s.verify()).expect("readable");
    let [loss] = &verification.damage[..] else {
        panic!("{verification:?}");
    };
    let [held] = &loss.held[..] else {
        panic!("its header is whole: {loss:?}");
    };
    assert_eq!(held.module.as_deref(), Some("wide"));
    assert_eq!((held.kind.name(), held.first), ("block", header.seq.get()));
    let all = numbers(&contents(&read(&whole).expect("sound")));
    let kept = numbers(&contents(&read(&damaged).expect("readable")));
    let lost: Vec<u64> = all.difference(&kept).copied().collect();
    assert_eq!(verification.lost, lost.len() as u64);
    assert_eq!(loss.count(), lost.len() as u64);
    assert!(verification.holes.is_empty() && !loss.tail);
    let hole = loss
        .numbers
        .iter()
        .find(|hole| hole.first == lost[3])
        .expect("told");
    assert_eq!(hole.before.map(|before| before.seq), Some(lost[3] - 1));
    assert_eq!(hole.after.map(|after| after.seq), Some(lost[3] + 1));
}
