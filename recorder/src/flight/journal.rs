//! A writer with its background thread: appends, seals and syncs over any region.

use std::time::{Duration, Instant};

use ktm_format::{
    Error, Event, Region, Result, Schema, SchemaHandle, SealedThrough, Stamp, Values, Writer,
};

use super::background::{Background, SyncStats, Ticket};
use super::policy::SyncPolicy;

pub(super) struct Journal<R: Region> {
    writer: Writer<R>,
    background: Background,
    policy: SyncPolicy,
    /// How long an append waits for room. Only a program that writes at full speed ever does; the
    /// sampling loop takes hours to fill the hot ring.
    patience: Duration,
    seal: Seal,
    dirty: bool,
}

/// How far the seal under way has come.
enum Seal {
    Idle,
    Encoding,
    Syncing(SealedThrough, Ticket),
}

impl<R: Region> Journal<R> {
    pub(super) fn new(
        writer: Writer<R>,
        policy: SyncPolicy,
        patience: Duration,
    ) -> Result<Journal<R>> {
        let background = Background::start(writer.syncer()?)?;
        Ok(Journal {
            writer,
            background,
            policy,
            patience,
            seal: Seal::Idle,
            dirty: false,
        })
    }

    pub(super) fn writer(&self) -> &Writer<R> {
        &self.writer
    }

    pub(super) fn define(&mut self, schema: &Schema) -> Result<SchemaHandle> {
        self.writer.define(schema)
    }

    pub(super) fn begin_epoch(&mut self) -> u32 {
        self.writer.begin_epoch()
    }

    pub(super) fn append(
        &mut self,
        schema: SchemaHandle,
        stamp: Stamp,
        values: &Values,
    ) -> Result<u64> {
        self.put(|writer| writer.append(schema, stamp, values))
    }

    pub(super) fn event(&mut self, stamp: Stamp, event: &Event) -> Result<u64> {
        self.put(|writer| writer.event(stamp, event))
    }

    fn put(&mut self, mut write: impl FnMut(&mut Writer<R>) -> Result<u64>) -> Result<u64> {
        self.dirty = true;
        match write(&mut self.writer) {
            Err(Error::HotRingFull) => {
                self.wait_for_room()?;
                write(&mut self.writer)
            }
            outcome => outcome,
        }
    }

    /// Ends a group of appends: wishes for the sync that the policy asks for, and moves a seal on.
    /// Never waits for the disk's durability.
    pub(super) fn settle(&mut self) -> Result<()> {
        if let Some(why) = self.background.failure() {
            self.writer.poison(why.clone());
            return Err(Error::Poisoned(why));
        }
        if std::mem::take(&mut self.dirty) {
            match self.policy {
                SyncPolicy::EveryRow => {
                    self.background.sync();
                }
                SyncPolicy::Every(period) => self.background.sync_within(period),
                SyncPolicy::OnSeal | SyncPolicy::Never => {}
            }
        }
        self.move_seal()
    }

    /// Takes the seal under way as far as it goes without waiting.
    fn move_seal(&mut self) -> Result<()> {
        self.seal = match std::mem::replace(&mut self.seal, Seal::Idle) {
            Seal::Idle => match self.writer.begin_seal() {
                Some(job) => {
                    self.background.encode(job);
                    Seal::Encoding
                }
                None => Seal::Idle,
            },
            Seal::Encoding => match self.background.take_sealed() {
                Some(sealed) => {
                    let through = self.writer.commit_seal(sealed)?;
                    if self.policy == SyncPolicy::Never {
                        self.writer.seal_durable(through);
                        Seal::Idle
                    } else {
                        Seal::Syncing(through, self.background.sync())
                    }
                }
                None => Seal::Encoding,
            },
            Seal::Syncing(through, ticket) if self.background.is_synced(ticket) => {
                self.writer.seal_durable(through);
                Seal::Idle
            }
            waiting @ Seal::Syncing(..) => waiting,
        };
        Ok(())
    }

    fn wait_for_room(&mut self) -> Result<()> {
        let end = Instant::now() + self.patience;
        loop {
            self.settle()?;
            let ticket = match &self.seal {
                // The last step is done: there is room.
                Seal::Idle => return Ok(()),
                Seal::Encoding => None,
                Seal::Syncing(_, ticket) => Some(*ticket),
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.background.wait_change(ticket, left) {
                return Err(Error::HotRingFull);
            }
        }
    }

    /// Waits until all that was appended is durable.
    pub(super) fn flush(&mut self, patience: Duration) -> Result<()> {
        self.settle()?;
        let ticket = self.background.sync();
        if self.background.wait_synced(ticket, patience) {
            return Ok(());
        }
        // A failure poisons the writer on the way.
        self.settle()?;
        Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    pub(super) fn sync_stats(&self) -> SyncStats {
        self.background.stats()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use ktm_format::{
        Geometry, HeapRegion, Host, ReadAt, Recording, Select, Series, Syncer, SystemEntropy,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A region whose sync can be held up, counted and made to fail.
    #[derive(Clone)]
    struct Probed {
        bytes: HeapRegion,
        syncs: Arc<AtomicU64>,
        held: Arc<AtomicBool>,
        broken: Arc<AtomicBool>,
    }

    impl ReadAt for Probed {
        fn len(&self) -> io::Result<u64> {
            self.bytes.len()
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            self.bytes.read_at(offset, buffer)
        }
    }

    impl Region for Probed {
        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.bytes.write(offset, bytes)
        }

        fn store(&self, offset: u64, bytes: &[u8]) {
            self.bytes.store(offset, bytes);
        }

        fn publish(&self, offset: u64, word: [u8; 8]) {
            self.bytes.publish(offset, word);
        }

        fn syncer(&self) -> io::Result<Syncer> {
            let Probed {
                syncs,
                held,
                broken,
                ..
            } = self.clone();
            Ok(Syncer::new(move || {
                while held.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                syncs.fetch_add(1, Ordering::SeqCst);
                if broken.load(Ordering::SeqCst) {
                    Err(io::Error::other("disk on fire"))
                } else {
                    Ok(())
                }
            }))
        }
    }

    fn journal(policy: SyncPolicy) -> (Probed, Journal<Probed>, SchemaHandle) {
        let geometry = Geometry::for_size(1 << 20).expect("large enough");
        let region = Probed {
            bytes: HeapRegion::new(geometry.file_size),
            syncs: Arc::default(),
            held: Arc::default(),
            broken: Arc::default(),
        };
        let host = Host {
            boot_id: [7; 16],
            pid: 1,
        };
        let writer = Writer::create(
            region.clone(),
            geometry,
            host,
            Stamp::default(),
            &mut SystemEntropy,
        );
        let mut journal = Journal::new(writer.expect("made"), policy, PATIENCE).expect("started");
        let series = vec![Series::counter("x_total", "X.")];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        let handle = journal.define(&schema).expect("small");
        region.syncs.store(0, Ordering::SeqCst);
        (region, journal, handle)
    }

    fn append(journal: &mut Journal<Probed>, handle: SchemaHandle, value: u64) -> Result<u64> {
        let mut values = Values::new();
        values.push_u64(value);
        let stamp = Stamp {
            realtime_ns: value as i64,
            boottime_ns: value,
        };
        let seq = journal.append(handle, stamp, &values)?;
        journal.settle()?;
        Ok(seq)
    }

    #[test]
    fn rows_that_come_while_a_sync_runs_share_the_next_one() {
        let (region, mut journal, handle) = journal(SyncPolicy::EveryRow);
        region.held.store(true, Ordering::SeqCst);
        for value in 0..100 {
            append(&mut journal, handle, value).expect("never waits for the disk");
        }
        region.held.store(false, Ordering::SeqCst);
        journal.flush(Duration::from_secs(10)).expect("synced");
        let syncs = region.syncs.load(Ordering::SeqCst);
        assert!(
            (1..=3).contains(&syncs),
            "one under way, one for all the rest: {syncs}"
        );
    }

    #[test]
    fn syncs_keep_apart_unless_somebody_waits() {
        let (region, mut journal, handle) = journal(SyncPolicy::EveryRow);
        let begun = Instant::now();
        for value in 0..100 {
            append(&mut journal, handle, value).expect("appended");
            std::thread::sleep(Duration::from_millis(1));
        }
        let most = begun.elapsed().as_millis() / 10 + 1;
        let syncs = region.syncs.load(Ordering::SeqCst);
        assert!(
            u128::from(syncs) <= most,
            "{syncs} where {most} keep 10 ms apart"
        );
        for value in 0..20 {
            append(&mut journal, handle, value).expect("appended");
            journal.flush(Duration::from_secs(10)).expect("synced");
        }
        let waited_for = region.syncs.load(Ordering::SeqCst) - syncs;
        assert!(waited_for >= 20, "each has a sync of its own: {waited_for}");
    }

    #[test]
    fn the_policy_decides_when_rows_are_synced() {
        for (policy, expected) in [
            (SyncPolicy::OnSeal, 0),
            (SyncPolicy::Never, 0),
            (SyncPolicy::Every(Duration::from_millis(20)), 1),
        ] {
            let (region, mut journal, handle) = journal(policy);
            for value in 0..5 {
                append(&mut journal, handle, value).expect("appended");
            }
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(region.syncs.load(Ordering::SeqCst), expected, "{policy}");
        }
    }

    #[test]
    fn rows_written_at_full_speed_are_sealed_and_none_is_missing() {
        let (region, mut journal, handle) = journal(SyncPolicy::OnSeal);
        // Some 80 bytes each: several times round a hot ring of 4 segments of 64 KiB.
        for value in 0..20_000 {
            append(&mut journal, handle, value).expect("sealing keeps up");
        }
        drop(journal);
        let snapshot = Recording::over(region)
            .expect("ours")
            .snapshot()
            .expect("readable");
        let rows: Vec<_> = snapshot
            .rows(&Select::all())
            .map(|row| row.expect("sound"))
            .collect();
        assert_eq!(rows.len(), 20_000);
        assert!(snapshot.damage().is_empty());
        assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }

    #[test]
    fn after_a_failed_sync_nothing_more_is_accepted() {
        let (region, mut journal, handle) = journal(SyncPolicy::EveryRow);
        region.broken.store(true, Ordering::SeqCst);
        append(&mut journal, handle, 1).expect("the failure is not known yet");
        assert!(matches!(
            journal.flush(Duration::from_secs(10)),
            Err(Error::Poisoned(_))
        ));
        let refused = append(&mut journal, handle, 2).expect_err("poisoned");
        assert!(refused.to_string().contains("disk on fire"), "{refused}");
        assert_eq!(journal.sync_stats().failures, 1);
    }

    #[test]
    fn a_disk_that_never_answers_does_not_stop_the_appends() {
        let (region, mut journal, handle) = journal(SyncPolicy::EveryRow);
        region.held.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        for value in 0..500 {
            append(&mut journal, handle, value).expect("appended");
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(
            journal.flush(Duration::from_millis(50)).is_err(),
            "and flush says so"
        );
        region.held.store(false, Ordering::SeqCst);
    }
}
