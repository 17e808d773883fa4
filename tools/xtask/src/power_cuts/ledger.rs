//! What the guest acknowledged, held against what it finds after the next boot.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};

use super::inside::{BOX, INTERVAL_MILLIS, KEPT, SYNCED, UNSYNCED};

/// A broken promise, in words.
pub(crate) type Broken = String;

/// Everything that was said to be safe, over all lives of one disk.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    synced: BTreeMap<String, BTreeSet<u64>>,
    /// Sampling instants seen since the last boot that told what it found.
    seen: BTreeSet<i64>,
    /// When the guest last said anything.
    alive: i64,
    /// Those that a boot has found: they were on the disk.
    confirmed: BTreeSet<i64>,
    /// Said by the guest that is booting.
    found: BTreeMap<String, Found>,
    names: Vec<String>,
    damage: Vec<String>,
    broken: Vec<Broken>,
    is_ready: bool,
}

/// A file after a boot.
#[derive(Debug, Default)]
struct Found {
    code: i32,
    spans: Vec<(u64, u64)>,
    samples: BTreeSet<i64>,
}

/// What a boot found of the life before.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Rows acknowledged so far by the writer that syncs.
    pub(crate) synced: u64,
    /// Acknowledged rows of it that are missing.
    pub(crate) rows_missing: u64,
    /// The same of the known-bad writer.
    pub(crate) twin_missing: u64,
    /// Samples that were in the recorder's file and are no more.
    pub(crate) samples_missing: u64,
    pub(crate) samples_seen: u64,
    /// Samples that were due between the newest there is and the cut, by the clock.
    pub(crate) samples_due: u64,
    /// Exit codes of `ktm-dump verify`, by file.
    pub(crate) codes: Vec<(String, i32)>,
    /// What it printed where it was not 0.
    pub(crate) damage: Vec<String>,
    pub(crate) broken: Vec<Broken>,
}

impl Ledger {
    /// A new guest boots on the disk.
    pub(crate) fn boot(&mut self) {
        self.found.clear();
        self.names.clear();
        self.damage.clear();
        self.is_ready = false;
    }

    /// Takes a line of the guest's. Returns the verdict when it has told all that it found.
    pub(crate) fn hear(&mut self, line: &str) -> Result<Option<Verdict>> {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let mut word = || words.next().with_context(|| format!("half a line: {line}"));
        match first {
            "names" => self.names = words.map(str::to_owned).collect(),
            "held" => {
                let found = self.found.entry(word()?.to_owned()).or_default();
                found.code = word()?.parse()?;
                found.spans = spans(word().unwrap_or_default())?;
            }
            "damage" => self.damage.push(line.to_owned()),
            "wrong" => self
                .broken
                .push(format!("a row is there that nobody wrote: {line}")),
            "samples" => {
                let found = self.found.entry(BOX.to_owned()).or_default();
                found.samples = words.map(str::parse).collect::<Result<_, _>>()?;
            }
            "ready" => {
                self.is_ready = true;
                return Ok(Some(self.judge()));
            }
            "synced" => {
                let name = word()?.to_owned();
                let seq = word()?.parse()?;
                self.synced.entry(name).or_default().insert(seq);
            }
            "seen" => {
                self.seen.insert(word()?.parse()?);
            }
            "alive" => self.alive = word()?.parse()?,
            "failed" => self.broken.push(format!("in the guest: {line}")),
            _ => bail!("the guest said: {line}"),
        }
        Ok(None)
    }

    /// True once the guest of this boot has told what it found.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// What has been noticed since the last verdict.
    pub(crate) fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    fn judge(&mut self) -> Verdict {
        let mut verdict = Verdict {
            synced: self.synced.get(SYNCED).map_or(0, |all| all.len() as u64),
            rows_missing: self.missing(SYNCED).len() as u64,
            twin_missing: self.missing(UNSYNCED).len() as u64,
            samples_seen: self.seen.len() as u64,
            damage: std::mem::take(&mut self.damage),
            broken: self.take_broken(),
            ..Verdict::default()
        };
        if let Some(seq) = self.missing(SYNCED).first() {
            let why = format!("row {seq} was synced and is gone");
            verdict.broken.push(why);
        }
        for (name, found) in &self.found {
            verdict.codes.push((name.clone(), found.code));
            // A torn tail is damage that is reported; whether it matters is told by the rows.
            if name != UNSYNCED && !matches!(found.code, 0 | 4) {
                let code = found.code;
                verdict
                    .broken
                    .push(format!("verify of {name} gives {code}"));
            }
        }
        if let Some(name) = self.names.iter().find(|name| name.contains("set-aside")) {
            verdict.broken.push(format!("a file was set aside: {name}"));
        }
        self.judge_samples(&mut verdict);
        // The known-bad writer's number may be given again: it is judged by its last life alone.
        self.synced.remove(UNSYNCED);
        verdict
    }

    fn judge_samples(&mut self, verdict: &mut Verdict) {
        let none = BTreeSet::new();
        let kept = self.found.get(BOX).map_or(&none, |found| &found.samples);
        verdict.samples_missing = self.seen.difference(kept).count() as u64;
        if let Some(newest) = kept.last().filter(|_| !self.seen.is_empty()) {
            let due = (self.alive - newest) / (INTERVAL_MILLIS * 1_000_000);
            verdict.samples_due = u64::try_from(due).unwrap_or_default();
        }
        if verdict.samples_missing > 1 {
            let missing: Vec<_> = self.seen.difference(kept).collect();
            let why = format!("more than one sample is missing: {missing:?}");
            verdict.broken.push(why);
        }
        if let Some(oldest) = kept.first()
            && let Some(gone) = self
                .confirmed
                .range(oldest..)
                .find(|time| !kept.contains(time))
        {
            let why = format!("a sample was found after one cut and is gone now: {gone}");
            verdict.broken.push(why);
        }
        self.confirmed = kept.clone();
        self.seen.clear();
    }

    /// The acknowledged rows that are not in the file, but for those old enough to be overwritten.
    fn missing(&self, name: &str) -> Vec<u64> {
        let Some(synced) = self.synced.get(name) else {
            return Vec::new();
        };
        let oldest = synced.last().map_or(0, |last| last.saturating_sub(KEPT));
        let spans = self
            .found
            .get(name)
            .map_or(&[][..], |found| found.spans.as_slice());
        let holds = |seq: u64| {
            spans
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&seq))
        };
        synced
            .range(oldest..)
            .copied()
            .filter(|seq| !holds(*seq))
            .collect()
    }
}

/// Numbers as the guest tells them: `1-5,7-9`.
fn spans(text: &str) -> Result<Vec<(u64, u64)>> {
    let span = |text: &str| {
        let (first, last) = text.split_once('-').context("no span")?;
        Ok((first.parse()?, last.parse()?))
    };
    text.split(',')
        .filter(|text| !text.is_empty())
        .map(span)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(before: &[&str], after: &[&str]) -> Verdict {
        let mut ledger = Ledger::default();
        ledger.boot();
        for line in before {
            ledger.hear(line).expect("understood");
        }
        ledger.boot();
        for line in after {
            ledger.hear(line).expect("understood");
        }
        ledger
            .hear("ready")
            .expect("understood")
            .expect("a verdict")
    }

    const LIFE: &[&str] = &[
        "ready",
        "synced rows 1",
        "synced rows 2",
        "seen 70",
        "seen 80",
    ];

    #[test]
    fn what_was_acknowledged_and_found_is_sound() {
        let sound = verdict(LIFE, &["held rows 0 1-3", "held box 0 1-9", "samples 70"]);
        assert_eq!(sound.broken, Vec::<Broken>::new());
        assert_eq!((sound.synced, sound.samples_missing), (2, 1));
    }

    #[test]
    fn every_broken_promise_is_noticed() {
        for (after, why) in [
            (&["held rows 0 1-1"][..], "synced and is gone"),
            (&[][..], "synced and is gone"),
            (
                &["held rows 0 1-2", "samples 60"][..],
                "more than one sample",
            ),
            (
                &["held rows 0 1-2", "samples 80", "held box 5 "][..],
                "gives 5",
            ),
            (&["held rows 4 1-2", "wrong rows 3"][..], "nobody wrote"),
            (
                &["names box.ktm.set-aside-x", "held rows 0 1-2"][..],
                "set aside",
            ),
        ] {
            let broken = verdict(LIFE, after).broken;
            assert!(broken.iter().any(|said| said.contains(why)), "{broken:?}");
        }
    }
}
