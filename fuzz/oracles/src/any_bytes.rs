//! Any bytes as a file: by themselves, behind intact superblocks, or inside an intact segment.
//!
//! Every reader there is takes them or refuses them. None panics, takes memory by what a field
//! says, or gives rows out of order; what can be opened for writing can be written to, and opened
//! again.

use ktm_format::{
    Error, Event, Geometry, HEADER_ZONE, HeapRegion, Recording, Snapshot, Stamp, Writer,
};

use crate::generate::{bytes_of, host, region_of};
use crate::item::{Item, read};
use crate::layout::{self, SEGMENT_HEADER};
use crate::{Target, Twin, Verdict, ensure, insist};
use ktm_simulation::Random;

/// This target.
pub const TARGET: Target = Target {
    name: "any_bytes",
    check,
    twins: &[
        Twin {
            bug: "a record is read twice",
            check: |data| over(data, &|items| items.extend(items.first().cloned())),
        },
        Twin {
            bug: "the last record is forgotten by whoever reads again",
            check: |data| over(data, &|items| drop(items.pop())),
        },
    ],
};

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, &|_| ())
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn over(data: &[u8], tamper: &Tamper) -> Verdict {
    let Some((mode, bytes)) = data.split_first() else {
        return Ok(());
    };
    read_every_way(&file(*mode, bytes), tamper)
}

/// Stands between a reader and the oracle.
pub(crate) type Tamper<'a> = dyn Fn(&mut Vec<Item>) + 'a;

const SEGMENT: u32 = 512;

fn file(mode: u8, bytes: &[u8]) -> Vec<u8> {
    if mode.is_multiple_of(4) {
        return bytes.to_vec();
    }
    let geometry = Geometry {
        file_size: HEADER_ZONE + 6 * u64::from(SEGMENT),
        segment_size: SEGMENT,
        hot_count: 2,
        cold_count: 4,
    };
    let region = HeapRegion::new(geometry.file_size);
    let created = Stamp::default();
    Writer::create(region.clone(), geometry, host(), created, &mut Random(1))
        .expect("a region of zeros becomes a recording");
    let mut image = bytes_of(&region);
    let segments = layout::HEADER_ZONE;
    match mode % 4 {
        1 => layout::put(&mut image, segments, bytes),
        2 => layout::put(&mut image, segments + SEGMENT_HEADER, bytes),
        _ => layout::put(&mut image, 0, bytes),
    }
    image
}

/// Reads a file in every way there is, and takes it up for writing.
pub(crate) fn read_every_way(image: &[u8], tamper: &Tamper) -> Verdict {
    if let Ok(salvaged) = Recording::salvage_over(image.to_vec()) {
        whole(&salvaged, tamper)?;
    }
    let snapshot = Recording::over(image.to_vec()).and_then(|recording| recording.snapshot());
    let Ok(snapshot) = snapshot else {
        return Ok(());
    };
    whole(&snapshot, tamper)?;
    take_up(image, tamper)
}

/// Reads everything in a snapshot, and holds what verify says against it.
pub(crate) fn whole(snapshot: &Snapshot, tamper: &Tamper) -> Result<Vec<Item>, String> {
    let (mut items, unreadable) = read(snapshot)?;
    tamper(&mut items);
    let ordered = items.windows(2).all(|pair| pair[0].seq <= pair[1].seq);
    ensure(ordered, || "rows and events are out of order".into())?;
    let verification = snapshot
        .verify()
        .map_err(|error| format!("verifying failed: {error}"))?;
    let counted = verification.rows + verification.events;
    ensure(counted == items.len() as u64, || {
        format!(
            "verify counts {counted} rows and events, there are {}",
            items.len()
        )
    })?;
    let ends = [verification.first, verification.last].map(|at| at.map(|at| at.seq));
    let expected = [items.first(), items.last()].map(|item| item.map(|item| item.seq));
    ensure(ends == expected, || {
        format!("verify says {ends:?} are the first and last number, they are {expected:?}")
    })?;
    let known = snapshot.damage().len().max(unreadable);
    ensure(verification.damage.len() >= known, || {
        format!(
            "verify lists {} of {known} damages",
            verification.damage.len()
        )
    })?;
    let holes = verification.missing.windows(2);
    let mut apart = holes.map(|pair| pair[0].last < pair[1].first);
    ensure(apart.all(|apart| apart), || {
        "the missing numbers overlap".into()
    })?;
    Ok(items)
}

/// Takes a recording up for writing, twice, and writes to it.
fn take_up(image: &[u8], tamper: &Tamper) -> Verdict {
    let region = region_of(image);
    let Ok(mut writer) = Writer::open(region.clone(), host(), &mut Random(2)) else {
        return Ok(());
    };
    let last = writer.recovery().last.map(|last| last.seq);
    let mark = Event::new("mark");
    let number = match writer.event(Stamp::default(), &mark) {
        Ok(number) => number,
        Err(Error::HotRingFull | Error::RowTooLarge { .. }) => return Ok(()),
        // A forged record may hold the last number there is.
        Err(Error::Poisoned(_)) if last == Some(u64::MAX >> 1) => return Ok(()),
        Err(error) => return Err(format!("nothing can be appended: {error}")),
    };
    ensure(last.is_none_or(|last| last < number), || {
        format!("number {number} is given after {last:?}")
    })?;
    drop(writer);
    for salt in 3..5 {
        let snapshot = Recording::over(bytes_of(&region)).and_then(|file| file.snapshot());
        let snapshot = snapshot.map_err(|error| format!("unreadable after opening: {error}"))?;
        let items = whole(&snapshot, tamper)?;
        ensure(items.iter().any(|item| item.seq == number), || {
            format!("number {number} is lost, which was appended")
        })?;
        Writer::open(region.clone(), host(), &mut Random(salt))
            .map_err(|error| format!("the second writer is refused: {error}"))?;
    }
    Ok(())
}
