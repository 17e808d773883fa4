//! A real recording, damaged with knowledge of its structure, past the checksums where the recipe
//! says so.
//!
//! However it is damaged, it is read or refused as any bytes are. As long as no record was sealed
//! again, whatever is found is what was written; and where nothing authentic was put back either,
//! nothing is missing without damage being told.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use ktm_format::Recording;

use crate::any_bytes::{Tamper, read_every_way, whole};
use crate::history::{History, Step};
use crate::item::Item;
use crate::layout::{self, Layout, RECORD_HEADER, SEGMENT_HEADER, SUPERBLOCKS};
use crate::{Target, Twin, Verdict, ensure, insist};

/// This target.
pub const TARGET: Target = Target {
    name: "file",
    check,
    twins: &[
        Twin {
            bug: "a checksum is not looked at",
            check: |data| over(data, &|_| (), Checksums::Ignored),
        },
        Twin {
            bug: "damage is passed over in silence",
            check: |data| over(data, &|_| (), Checksums::Silent),
        },
        Twin {
            bug: "a row is given the number of the one before",
            check: |data| {
                let shift = |items: &mut Vec<Item>| {
                    if let Some(item) = items.last_mut() {
                        item.seq = item.seq.saturating_sub(1);
                    }
                };
                over(data, &shift, Checksums::Checked)
            },
        },
    ],
};

/// What is planted in the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    Checked,
    /// As if the checksum of a damaged record were right.
    Ignored,
    /// As if damage were the end of the data.
    Silent,
}

const MOST_STEPS: usize = 60;
const MOST_EDITS: usize = 8;

/// A field or some bytes of something.
#[derive(Arbitrary, Clone, Debug)]
struct Change {
    at: u8,
    bytes: [u8; 8],
    length: u8,
}

impl Change {
    /// Overwrites up to eight bytes of `range`.
    fn apply(&self, image: &mut [u8], start: usize, length: usize) {
        if length == 0 {
            return;
        }
        let offset = usize::from(self.at) % length;
        let count = (usize::from(self.length) % 8 + 1).min(length - offset);
        layout::put(image, start + offset, &self.bytes[..count]);
    }
}

/// Which headers of a segment.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Which {
    First,
    Second,
    Both,
}

/// One damage.
#[derive(Arbitrary, Clone, Debug)]
enum Edit {
    Flip {
        offset: u32,
        bit: u8,
    },
    Zero {
        offset: u32,
        sectors: u8,
    },
    Truncate {
        length: u32,
    },
    Extend {
        bytes: u8,
    },
    Swap {
        one: u8,
        other: u8,
    },
    Copy {
        from: u8,
        to: u8,
    },
    /// A segment as it was earlier.
    Stale {
        segment: u8,
    },
    Superblock {
        copy: u8,
        both: bool,
        change: Change,
    },
    SegmentHeader {
        segment: u8,
        which: Which,
        change: Change,
    },
    /// As before, and every record is sealed with the new seed.
    Reseeded {
        segment: u8,
        change: Change,
    },
    RecordHeader {
        segment: u8,
        record: u8,
        change: Change,
    },
    Payload {
        segment: u8,
        record: u8,
        change: Change,
    },
    Appended {
        segment: u8,
        like: u8,
        kind: u8,
        payload: Vec<u8>,
    },
    Schema {
        segment: u8,
        encoded: Vec<u8>,
    },
}

impl Edit {
    /// True where a record that was never written verifies afterwards.
    fn forges(&self) -> bool {
        matches!(
            self,
            Edit::Reseeded { .. }
                | Edit::RecordHeader { .. }
                | Edit::Payload { .. }
                | Edit::Appended { .. }
                | Edit::Schema { .. }
        )
    }

    /// True where what is put in its place is authentic too, and cannot be told from the truth.
    fn deceives(&self) -> bool {
        self.forges()
            || matches!(
                self,
                Edit::Stale { .. } | Edit::Superblock { .. } | Edit::SegmentHeader { .. }
            )
    }

    /// True where a whole segment may have gone, with zeros or another in its place.
    fn takes_segments(&self) -> bool {
        matches!(
            self,
            Edit::Zero { .. } | Edit::Copy { .. } | Edit::Swap { .. }
        )
    }
}

/// The file being damaged.
struct Patient {
    image: Vec<u8>,
    earlier: Vec<u8>,
    layout: Layout,
}

impl Patient {
    fn edit(&mut self, edit: &Edit) {
        let length = self.image.len().max(1);
        let place = |offset: u32| offset as usize % length;
        match edit {
            Edit::Flip { offset, bit } => {
                if let Some(byte) = self.image.get_mut(place(*offset)) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Edit::Zero { offset, sectors } => {
                let start = place(*offset) / 512 * 512;
                let end = start + 512 * (usize::from(*sectors) % 8 + 1);
                let end = end.min(self.image.len());
                self.image[start.min(end)..end].fill(0);
            }
            Edit::Truncate { length } => self.image.truncate(place(*length)),
            Edit::Extend { bytes } => {
                let length = self.image.len() + usize::from(*bytes);
                self.image.resize(length, *bytes);
            }
            Edit::Swap { one, other } => {
                let (one, other) = (self.segment(*one), self.segment(*other));
                let (a, b) = (self.copy(&one), self.copy(&other));
                layout::put(&mut self.image, one.start, &b);
                layout::put(&mut self.image, other.start, &a);
            }
            Edit::Copy { from, to } => {
                let (from, to) = (self.segment(*from), self.segment(*to));
                let bytes = self.copy(&from);
                layout::put(&mut self.image, to.start, &bytes);
            }
            Edit::Stale { segment } => {
                let segment = self.segment(*segment);
                let old = self.earlier.get(segment.clone()).unwrap_or_default();
                layout::put(&mut self.image, segment.start, old);
            }
            Edit::Superblock { copy, both, change } => {
                let copies = if *both {
                    0..2
                } else {
                    usize::from(copy % 2)..usize::from(copy % 2) + 1
                };
                for copy in copies {
                    change.apply(&mut self.image, SUPERBLOCKS[copy], 128);
                    layout::seal_superblock(&mut self.image, copy);
                }
            }
            edit => self.edit_segment(edit),
        }
    }

    fn edit_segment(&mut self, edit: &Edit) {
        match edit {
            Edit::SegmentHeader {
                segment,
                which,
                change,
            } => self.change_headers(*segment, *which, change),
            Edit::Reseeded { segment, change } => {
                self.change_headers(*segment, Which::Both, change);
                let segment = self.segment(*segment);
                for record in layout::records(&self.image, &segment) {
                    self.seal(&segment, &record);
                }
            }
            Edit::RecordHeader {
                segment,
                record,
                change,
            } => self.change_record(*segment, *record, |image, record| {
                change.apply(image, record.start, RECORD_HEADER);
            }),
            Edit::Payload {
                segment,
                record,
                change,
            } => self.change_record(*segment, *record, |image, record| {
                let payload = record.start + RECORD_HEADER;
                change.apply(image, payload, record.end - payload);
            }),
            Edit::Appended {
                segment,
                like,
                kind,
                payload,
            } => {
                let segment = self.segment(*segment);
                let records = layout::records(&self.image, &segment);
                let mut header = [0; RECORD_HEADER];
                if let Some(like) = records.get(usize::from(*like) % records.len().max(1)) {
                    layout::put(
                        &mut header,
                        0,
                        &self.image[like.start..like.start + RECORD_HEADER],
                    );
                }
                header[4] = kind % 6;
                header[6] = kind / 6 % 4;
                layout::append_record(&mut self.image, &segment, &header, payload);
            }
            Edit::Schema { segment, encoded } => {
                let segment = self.segment(*segment);
                let mut header = [0; RECORD_HEADER];
                header[4] = 3;
                header[12..16].copy_from_slice(&crc32fast::hash(encoded).to_le_bytes());
                let length = u32::try_from(encoded.len()).unwrap_or(0);
                let payload = [&length.to_le_bytes()[..], encoded].concat();
                layout::append_record(&mut self.image, &segment, &header, &payload);
            }
            _ => {}
        }
    }

    fn segment(&self, number: u8) -> std::ops::Range<usize> {
        self.layout.segment_at(usize::from(number))
    }

    fn copy(&self, range: &std::ops::Range<usize>) -> Vec<u8> {
        let end = range.end.min(self.image.len());
        self.image[range.start.min(end)..end].to_vec()
    }

    fn seal(&mut self, segment: &std::ops::Range<usize>, record: &std::ops::Range<usize>) {
        let seed = layout::seed(&self.image, segment.start);
        layout::seal_record(&mut self.image, seed, record);
    }

    fn change_headers(&mut self, segment: u8, which: Which, change: &Change) {
        let segment = self.segment(segment);
        let both = [segment.start, segment.end - SEGMENT_HEADER];
        let headers = match which {
            Which::First => &both[..1],
            Which::Second => &both[1..],
            Which::Both => &both[..],
        };
        for at in headers {
            change.apply(&mut self.image, *at, SEGMENT_HEADER);
            layout::seal_segment_header(&mut self.image, *at);
        }
    }

    fn change_record(
        &mut self,
        segment: u8,
        record: u8,
        change: impl FnOnce(&mut [u8], &std::ops::Range<usize>),
    ) {
        let segment = self.segment(segment);
        let records = layout::records(&self.image, &segment);
        if let Some(record) = records.get(usize::from(record) % records.len().max(1)) {
            change(&mut self.image, record);
            self.seal(&segment, record);
        }
    }
}

/// The oracle.
///
/// # Errors
///
/// The broken promise.
pub fn check(data: &[u8]) -> Verdict {
    over(data, &|_| (), Checksums::Checked)
}

/// For a fuzzer.
///
/// # Panics
///
/// Where a promise is broken.
pub fn run(data: &[u8]) {
    insist(check(data));
}

fn over(data: &[u8], tamper: &Tamper, checksums: Checksums) -> Verdict {
    let mut u = Unstructured::new(data);
    let Ok((history, mut patient, edits)) = prepare(&mut u)? else {
        return Ok(());
    };
    let before = found(&patient.image, &|_| ())?.map_or_else(Vec::new, |(items, _)| items);
    for edit in &edits {
        patient.edit(edit);
    }
    if checksums == Checksums::Ignored {
        reseal_everything(&mut patient);
    }
    read_every_way(&patient.image, tamper)?;
    if edits.iter().any(Edit::forges) {
        return Ok(());
    }
    let written: BTreeMap<u64, &Item> = history.items.iter().map(|item| (item.seq, item)).collect();
    let salvaged = Recording::salvage_over(patient.image.clone());
    if let Ok(salvaged) = salvaged {
        are_authentic(&whole(&salvaged, tamper)?, &written)?;
    }
    let Some((after, mut is_damaged)) = found(&patient.image, tamper)? else {
        return Ok(());
    };
    are_authentic(&after, &written)?;
    is_damaged &= checksums != Checksums::Silent;
    // Where whole segments may be gone, nothing tells how far the newest of them reached.
    let newest = after.last().map_or(0, |item| item.seq);
    let most = if edits.iter().any(Edit::takes_segments) {
        newest
    } else {
        u64::MAX
    };
    let lost = before
        .iter()
        .find(|item| item.seq <= most && !after.contains(item));
    match lost {
        Some(lost) if !is_damaged && !edits.iter().any(Edit::deceives) => {
            Err(format!("number {} is lost in silence", lost.seq))
        }
        _ => Ok(()),
    }
}

type Prepared = arbitrary::Result<(History, Patient, Vec<Edit>)>;

fn prepare(u: &mut Unstructured<'_>) -> Result<Prepared, String> {
    let recipe = |u: &mut Unstructured<'_>| -> arbitrary::Result<_> {
        let edits = (0..u.int_in_range(1..=MOST_EDITS)?).map(|_| Edit::arbitrary(u));
        let edits = edits.collect::<arbitrary::Result<Vec<_>>>()?;
        let stale_at: u8 = u.arbitrary()?;
        Ok((edits, stale_at, History::new(u)?))
    };
    let (edits, stale_at, mut history) = match recipe(u) {
        Ok(recipe) => recipe,
        Err(short) => return Ok(Err(short)),
    };
    let mut earlier = history.bytes();
    for number in 0..MOST_STEPS {
        let Ok(step) = Step::arbitrary(u) else { break };
        if u.is_empty() {
            break;
        }
        history.take(step)?;
        history.take(Step::Maintain)?;
        if number == usize::from(stale_at) % MOST_STEPS {
            earlier = history.bytes();
        }
    }
    let geometry = history.geometry();
    let patient = Patient {
        image: history.bytes(),
        earlier,
        layout: Layout {
            segment: geometry.segment_size as usize,
            segments: (geometry.hot_count + geometry.cold_count) as usize,
        },
    };
    Ok(Ok((history, patient, edits)))
}

/// What is found in a file, and whether damage is told; `None` where it is refused.
fn found(image: &[u8], tamper: &Tamper) -> Result<Option<(Vec<Item>, bool)>, String> {
    let snapshot = Recording::over(image.to_vec()).and_then(|recording| recording.snapshot());
    let Ok(snapshot) = snapshot else {
        return Ok(None);
    };
    let items = whole(&snapshot, tamper)?;
    let verification = snapshot
        .verify()
        .map_err(|error| format!("verifying failed: {error}"))?;
    Ok(Some((items, !verification.is_sound())))
}

fn are_authentic(items: &[Item], written: &BTreeMap<u64, &Item>) -> Verdict {
    items.iter().try_for_each(|item| {
        let original = written.get(&item.seq);
        ensure(original.is_some_and(|original| *original == item), || {
            format!("number {} was {original:?} and is {item:?}", item.seq)
        })
    })
}

/// What a reader that looks at no checksum would see.
fn reseal_everything(patient: &mut Patient) {
    for number in 0..patient.layout.segments {
        let segment = patient.layout.segment_at(number);
        for record in layout::records(&patient.image, &segment) {
            patient.seal(&segment, &record);
        }
    }
}
