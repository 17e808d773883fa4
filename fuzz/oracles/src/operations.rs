//! Any sequence of operations, against a list of what was appended.
//!
//! What is read back is the end of the list: of every schema, and of the events, the newest ones
//! without a hole, exactly as they were appended. Nothing is missing that was not given free to be
//! overwritten, and nothing at all as long as the cold ring has not come round. A sound file is
//! called sound.

use arbitrary::{Arbitrary, Unstructured};
use ktm_format::{Recording, Snapshot};

use crate::history::{History, Step};
use crate::item::{Item, read};
use crate::{Target, Twin, Verdict, ensure, insist};

/// This target.
pub const TARGET: Target = Target {
    name: "operations",
    check,
    twins: &[
        Twin {
            bug: "the newest row is not read",
            check: |data| over(data, |items| drop(items.pop())),
        },
        Twin {
            bug: "one row in the middle is not read",
            check: |data| {
                over(data, |items| {
                    if items.len() > 2 {
                        items.remove(items.len() / 2);
                    }
                })
            },
        },
        Twin {
            bug: "a row is given the epoch before its own",
            check: |data| over(data, |items| each_last(items, |item| item.epoch -= 1)),
        },
        Twin {
            bug: "a clock is cut to microseconds",
            check: |data| {
                over(data, |items| {
                    each_last(items, |item| item.stamp.realtime_ns &= !0x3ff);
                })
            },
        },
    ],
};

const MOST_STEPS: usize = 100;

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, |_| ())
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn each_last(items: &mut [Item], change: impl FnOnce(&mut Item)) {
    if let Some(item) = items.last_mut() {
        change(item);
    }
}

/// `tamper` stands between the reader and the oracle.
fn over(data: &[u8], tamper: impl Fn(&mut Vec<Item>)) -> Verdict {
    let mut u = Unstructured::new(data);
    let Ok(mut history) = History::new(&mut u) else {
        return Ok(());
    };
    for _ in 0..MOST_STEPS {
        if u.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut u) else {
            break;
        };
        let look = matches!(step, Step::Reopen | Step::SealDurable);
        history.take(step)?;
        if look {
            compare(&history, &tamper)?;
        }
    }
    compare(&history, &tamper)
}

fn compare(history: &History, tamper: impl Fn(&mut Vec<Item>)) -> Verdict {
    let snapshot = Recording::over(history.bytes())
        .and_then(|recording| recording.snapshot())
        .map_err(|error| format!("a sound recording is refused: {error}"))?;
    let (mut found, unreadable) = read(&snapshot)?;
    tamper(&mut found);
    ensure(unreadable == 0 && snapshot.damage().is_empty(), || {
        format!("damage in a sound file: {:?}", snapshot.damage())
    })?;
    ensure(
        found.windows(2).all(|pair| pair[0].seq < pair[1].seq),
        || "a row and an event have one number".into(),
    )?;
    is_the_end_of(&found, &history.items)?;
    let is_there = |item: &Item| {
        found
            .binary_search_by_key(&item.seq, |found| found.seq)
            .is_ok()
    };
    let has_lapped = snapshot.info().cold_used == snapshot.info().geometry.cold_count;
    let may_be_gone = if has_lapped { history.released } else { 0 };
    if let Some(gone) = history.items[may_be_gone..]
        .iter()
        .find(|item| !is_there(item))
    {
        return Err(format!("number {} is lost", gone.seq));
    }
    is_called_sound(&snapshot, &found)
}

/// Whether what was found is, stream by stream, the end of what was appended.
fn is_the_end_of(found: &[Item], appended: &[Item]) -> Verdict {
    // The newest one missing of each stream.
    let mut missing: Vec<&Item> = Vec::new();
    let mut found = found.iter().rev().peekable();
    for item in appended.iter().rev() {
        let Some(met) = found.next_if(|met| met.seq == item.seq) else {
            if !missing.iter().any(|newer| newer.is_in_the_stream_of(item)) {
                missing.push(item);
            }
            continue;
        };
        ensure(met == item, || {
            format!("number {} was {item:?} and is {met:?}", item.seq)
        })?;
        let hole = missing.iter().find(|newer| newer.is_in_the_stream_of(item));
        if let Some(hole) = hole {
            return Err(format!(
                "number {} is lost, older {} of the same kind is not",
                hole.seq, item.seq
            ));
        }
    }
    match found.next() {
        None => Ok(()),
        Some(invented) => Err(format!("number {} was never appended", invented.seq)),
    }
}

fn is_called_sound(snapshot: &Snapshot, found: &[Item]) -> Verdict {
    let verification = snapshot
        .verify()
        .map_err(|error| format!("verifying failed: {error}"))?;
    ensure(verification.is_sound(), || {
        format!("a sound file is called damaged: {verification:?}")
    })?;
    let counted = verification.rows + verification.events;
    ensure(counted == found.len() as u64, || {
        format!(
            "verify counts {counted} rows and events, there are {}",
            found.len()
        )
    })
}
