//! The thread beside the sampling thread: it waits for the disk and compresses.
//!
//! The two meet at a desk. The owner of the writer leaves wishes there and looks for results when
//! it comes by; it never waits, except in [`Background::wait_synced`] and
//! [`Background::wait_change`], which only a program that writes at full speed or is about to end
//! calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ktm_format::{SealJob, Sealed, Syncer};

/// From the beginning of one sync to that of the next at least, unless somebody waits for it. Rows
/// that come faster are covered together: a power cut costs no more samples than fall into this
/// time, which is one, and the disk is spared a storm of small writes.
const SPACING: Duration = Duration::from_millis(10);

/// A wish for a sync: fulfilled once a sync that began after the wish has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What the thread has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Syncs that returned.
    pub count: u64,
    /// Syncs that failed.
    pub failures: u64,
    /// How long the last one took.
    pub last: Option<Duration>,
}

#[derive(Default)]
struct Desk {
    /// Wishes so far. All that are made while one sync runs are fulfilled together by the next.
    wished: u64,
    fulfilled: u64,
    /// The last wish that somebody waits for.
    awaited: u64,
    /// When the last sync began.
    begun: Option<Instant>,
    /// A wish for later, by the duration policy.
    due: Option<Instant>,
    job: Option<SealJob>,
    sealed: Option<Sealed>,
    failure: Option<String>,
    stats: SyncStats,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    work: Condvar,
    change: Condvar,
}

impl Desk {
    /// When the next sync may begin, if one is wished for.
    fn next_sync(&self, now: Instant) -> Option<Instant> {
        if self.failure.is_some() {
            None
        } else if self.wished > self.fulfilled {
            let at_once = self.stop || self.awaited > self.fulfilled;
            let spaced = self.begun.filter(|_| !at_once).map(|begun| begun + SPACING);
            Some(spaced.unwrap_or(now))
        } else {
            self.due
        }
    }
}

impl Shared {
    /// Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle to the thread. Dropping it ends the thread after the syncs wished for.
pub(super) struct Background {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(super) fn start(syncer: Syncer) -> std::io::Result<Background> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ktm-disk".into())
            .stack_size(256 * 1024)
            .spawn(move || run(&theirs, &syncer))?;
        Ok(Background {
            shared,
            thread: Some(thread),
        })
    }

    /// Wishes for a sync now.
    pub(super) fn sync(&self) -> Ticket {
        let mut desk = self.shared.desk();
        desk.wished += 1;
        self.shared.work.notify_one();
        Ticket(desk.wished)
    }

    /// Wishes for a sync within this time, unless one is due sooner.
    pub(super) fn sync_within(&self, period: Duration) {
        let mut desk = self.shared.desk();
        if desk.due.is_none() {
            desk.due = Some(Instant::now() + period);
            self.shared.work.notify_one();
        }
    }

    pub(super) fn is_synced(&self, ticket: Ticket) -> bool {
        self.shared.desk().fulfilled >= ticket.0
    }

    /// Leaves rows to be compressed. One job at a time.
    pub(super) fn encode(&self, job: SealJob) {
        self.shared.desk().job = Some(job);
        self.shared.work.notify_one();
    }

    pub(super) fn take_sealed(&self) -> Option<Sealed> {
        self.shared.desk().sealed.take()
    }

    /// Why no sync can be trusted any more.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.desk().failure.clone()
    }

    pub(super) fn stats(&self) -> SyncStats {
        self.shared.desk().stats
    }

    /// Waits until the wish is fulfilled, a sync fails or the time is over. True if fulfilled.
    pub(super) fn wait_synced(&self, ticket: Ticket, patience: Duration) -> bool {
        let desk = self.hurry(ticket);
        let waiting = |desk: &mut Desk| desk.fulfilled < ticket.0 && desk.failure.is_none();
        let (desk, _) = self
            .shared
            .change
            .wait_timeout_while(desk, patience, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        desk.fulfilled >= ticket.0
    }

    /// Waits until the thread has something to show: compressed rows, the fulfilment of this wish,
    /// or a failure. False if the time is over first.
    pub(super) fn wait_change(&self, ticket: Option<Ticket>, patience: Duration) -> bool {
        let desk = self.hurry(ticket.unwrap_or(Ticket(0)));
        let waiting = |desk: &mut Desk| {
            let synced = ticket.is_some_and(|ticket| desk.fulfilled >= ticket.0);
            desk.sealed.is_none() && desk.failure.is_none() && !synced
        };
        let (desk, over) = self
            .shared
            .change
            .wait_timeout_while(desk, patience, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        drop(desk);
        !over.timed_out()
    }

    /// Somebody waits for this wish: it is seen to at once.
    fn hurry(&self, ticket: Ticket) -> MutexGuard<'_, Desk> {
        let mut desk = self.shared.desk();
        if ticket.0 > desk.awaited {
            desk.awaited = ticket.0;
            self.shared.work.notify_one();
        }
        desk
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.desk().stop = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

enum Work {
    Sync(u64),
    Encode(SealJob),
    Stop,
}

fn run(shared: &Shared, syncer: &Syncer) {
    loop {
        match next(shared) {
            Work::Sync(wished) => {
                let begun = Instant::now();
                let outcome = syncer.sync();
                let mut desk = shared.desk();
                desk.stats.last = Some(begun.elapsed());
                match outcome {
                    Ok(()) => {
                        desk.stats.count += 1;
                        desk.fulfilled = wished;
                    }
                    Err(error) => {
                        desk.stats.failures += 1;
                        desk.failure = Some(format!("sync failed: {error}"));
                    }
                }
            }
            Work::Encode(job) => {
                // A bug in the codec must not look like a disk that never answers.
                let encoded = catch_unwind(AssertUnwindSafe(|| job.encode()));
                let mut desk = shared.desk();
                match encoded {
                    Ok(sealed) => desk.sealed = Some(sealed),
                    Err(_) => desk.failure = Some("compressing rows panicked".to_owned()),
                }
            }
            Work::Stop => return,
        }
        shared.change.notify_all();
    }
}

/// Waits for something to do. A sync comes first: rows are waiting to be safe, a seal can wait.
fn next(shared: &Shared) -> Work {
    let mut desk = shared.desk();
    loop {
        let now = Instant::now();
        let next_sync = desk.next_sync(now);
        if next_sync.is_some_and(|at| at <= now) {
            if desk.due.take().is_some_and(|due| due <= now) {
                desk.wished += 1;
            }
            desk.begun = Some(now);
            return Work::Sync(desk.wished);
        }
        if desk.stop {
            return Work::Stop;
        }
        if let Some(job) = desk.job.take() {
            return Work::Encode(job);
        }
        desk = match next_sync {
            Some(at) => {
                let woken = shared.work.wait_timeout(desk, at - now);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared
                .work
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner),
        };
    }
}
