//! What may and must be left after a power cut.

use std::collections::{BTreeMap, BTreeSet};

use ktm_format::{DamageKind, Error, Host, Snapshot, Writer};

use crate::disk::{Disk, Platters};
use crate::random::Random;

/// What can be read from a disk, by number.
#[derive(Debug)]
pub struct Seen<T> {
    /// Rows, or rows and events.
    pub items: BTreeMap<u64, T>,
    /// As [`without_schema`] finds them.
    pub without_schema: BTreeSet<u64>,
}

/// Numbers of rows that are whole but for their schema, which a cut has taken. They are told as
/// damage, and can be read again once a later segment brings the schema.
///
/// # Errors
///
/// As [`Snapshot::verify`].
pub fn without_schema(snapshot: &Snapshot) -> Result<BTreeSet<u64>, Error> {
    let verification = snapshot.verify()?;
    let damage = verification.damage.iter();
    let whole = damage.filter(|loss| loss.damage.what == DamageKind::Contents);
    let numbers = whole.flat_map(|loss| &loss.numbers);
    Ok(numbers.flat_map(|hole| hole.first..=hole.last).collect())
}

/// Cuts the power, holds what is left against what may and must be left, and gives what is on the
/// disk now.
///
/// `appended` and `synced` are the numbers of the life that the cut has ended.
///
/// # Errors
///
/// The broken promise.
pub fn check_cut<T: PartialEq>(
    disk: &Disk,
    appended: &BTreeSet<u64>,
    synced: &BTreeSet<u64>,
    visible: impl Fn(Vec<u8>) -> Result<Seen<T>, String>,
) -> Result<Vec<u8>, String> {
    let durable = visible(disk.with(|platters| platters.durable.clone()))?;
    let live = visible(disk.with(|platters| platters.live.clone()))?;
    let image = disk.with(Platters::cut);
    let left = visible(image.clone())?;
    let was_durable = |seq: &u64| synced.contains(seq) || durable.items.contains_key(seq);
    for (seq, item) in &live.items {
        if was_durable(seq) && left.items.get(seq) != Some(item) {
            return Err(format!("synced number {seq} is lost"));
        }
    }
    for (seq, item) in &left.items {
        let known = durable.items.get(seq).or_else(|| live.items.get(seq));
        let may_be = was_durable(seq) || appended.contains(seq);
        if !may_be && !durable.without_schema.contains(seq) {
            return Err(format!("number {seq} has come back from the dead"));
        }
        if known.is_some_and(|known| known != item) {
            return Err(format!("number {seq} has come back changed"));
        }
    }
    Ok(image)
}

/// Takes what a cut has left up twice, as two restarts would, and sees the same each time.
///
/// # Errors
///
/// The broken promise.
pub fn recovers_the_same<T: PartialEq>(
    image: &[u8],
    visible: impl Fn(Vec<u8>) -> Result<Seen<T>, String>,
) -> Result<(), String> {
    let left = visible(image.to_vec())?.items;
    let disk = Disk::new(image.to_vec(), Random(1));
    let host = Host {
        boot_id: [1; 16],
        pid: 1,
    };
    for salt in 2..4 {
        Writer::open(disk.clone(), host.clone(), &mut Random(salt))
            .map_err(|error| format!("refused after the cut: {error}"))?;
        let again = visible(disk.with(|platters| platters.live.clone()))?.items;
        // Opening may seal, which may overwrite the oldest; it never adds or changes.
        let other = again
            .iter()
            .find(|(seq, item)| left.get(seq) != Some(*item));
        if let Some((seq, _)) = other {
            return Err(format!("number {seq} differs after a second recovery"));
        }
    }
    Ok(())
}
