//! The mapping of the hot ring. With its guard, the only unsafe code of this crate.
//!
//! No reference to the mapped bytes is ever made. Stores go through `AtomicU64` places derived from
//! the raw pointer, so a reader in another process sees whole words, and loads are not needed at
//! all: everything is read back with `pread`.
#![allow(
    unsafe_code,
    reason = "a mapping needs raw stores; each one carries its proof"
)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::guard::Guard;

/// A shared, writable mapping of part of a file.
#[derive(Debug)]
pub(super) struct HotMap {
    /// Before the mapping, so that it is dropped first.
    guard: Guard,
    map: MmapRaw,
    start: u64,
    /// Where the last word was published: the next stores come behind it.
    tail: AtomicU64,
}

impl HotMap {
    /// Maps `length` bytes from `start`. Both are multiples of the page size in every geometry.
    ///
    /// Every page is made present now, without making it dirty, and kept: no later store waits for
    /// the disk to read.
    pub(super) fn new(file: &File, start: u64, length: u64) -> io::Result<HotMap> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let map = MmapOptions::new().offset(start).len(length).map_raw(file)?;
        let tail = AtomicU64::new(start);
        let guard = Guard::new(map.as_mut_ptr(), map.len());
        let hot = HotMap {
            guard,
            map,
            start,
            tail,
        };
        hot.keep_present();
        Ok(hot)
    }

    #[cfg(target_os = "linux")]
    fn keep_present(&self) {
        // Locking reads all pages in. It may be refused, and reading may be (before 5.14): then
        // they fault in one by one.
        if self.map.lock().is_err() {
            let _ = self.map.advise(memmap2::Advice::PopulateRead);
        }
    }

    /// True once stores go nowhere, because the file has failed under the mapping.
    pub(super) fn has_failed(&self) -> bool {
        self.guard.has_failed()
    }

    /// Stores words at a file offset inside the mapping, in any order.
    pub(super) fn store(&self, offset: u64, bytes: &[u8]) {
        let first = self.index(offset, bytes.len());
        for (position, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("chunks of eight"));
            self.word(first + position).store(word, Ordering::Relaxed);
        }
    }

    /// Stores one word after everything stored before, and before everything stored after.
    pub(super) fn publish(&self, offset: u64, word: [u8; 8]) {
        self.word(self.index(offset, 8))
            .store(u64::from_le_bytes(word), Ordering::Release);
        fence(Ordering::Release);
        self.tail.store(offset, Ordering::Relaxed);
    }

    /// Where the last word was published, in the file.
    pub(super) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    /// Makes the bytes from a place on writable again after a sync has cleaned their pages. A store
    /// into a clean page is a fault, and may find the file system busy.
    #[cfg(target_os = "linux")]
    pub(super) fn make_writable(&self, from: u64, length: usize) {
        let from = usize::try_from(from - self.start).unwrap_or(0);
        let length = length.min(self.map.len() - from);
        // As in `keep_present`.
        let _ = self
            .map
            .advise_range(memmap2::Advice::PopulateWrite, from, length);
    }

    /// The index of the first word, with every word of the access inside the mapping.
    fn index(&self, offset: u64, length: usize) -> usize {
        let at = offset
            .checked_sub(self.start)
            .and_then(|at| usize::try_from(at).ok());
        let at = at.expect("the writer stays in the hot ring");
        let end = at
            .checked_add(length)
            .expect("the writer stays in the hot ring");
        assert!(at.is_multiple_of(8) && length.is_multiple_of(8) && end <= self.map.len());
        at / 8
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.map.len() / 8, "inside the mapping");
        // SAFETY: the assertion keeps the offset inside the mapping, which is one allocation.
        let place = unsafe { self.map.as_mut_ptr().cast::<u64>().add(index) };
        // SAFETY: a mapping starts at a page boundary, so the place is aligned for u64; it lives as
        // long as `self.map`; this process reaches these bytes through atomics only. Another
        // process that truncates the file can make the access fault: the guard puts memory there.
        unsafe { AtomicU64::from_ptr(place) }
    }
}
