//! The bytes under a recording, behind one small trait.
//!
//! The writer stores rows through [`Region::store`] and [`Region::publish`], which on a file are
//! stores into the mapped hot ring, and writes everything else through [`Region::write`]. Tests
//! put a heap, or a simulated disk, in the file's place.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::source::ReadAt;

mod file;
mod guard;
mod map;

pub use file::FileRegion;

/// Random access to a fixed number of bytes.
pub trait Region: ReadAt + Send {
    /// Writes bytes anywhere but into the hot ring.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Stores bytes into the hot ring. Offset and length are multiples of eight.
    fn store(&self, offset: u64, bytes: &[u8]);

    /// Stores one word of the hot ring after everything stored before it, and before everything
    /// stored after it. A reader that sees this word sees those before it.
    fn publish(&self, offset: u64, word: [u8; 8]);

    /// Whether stores still reach the file: somebody may have cut it short.
    ///
    /// # Errors
    ///
    /// Why they do not.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// A handle that makes everything written so far durable, for use on another thread.
    ///
    /// # Errors
    ///
    /// When the file cannot be shared.
    fn syncer(&self) -> io::Result<Syncer>;
}

/// Makes a recording's bytes durable. See [`Region::syncer`].
#[derive(Clone)]
pub struct Syncer(Arc<dyn Fn() -> io::Result<()> + Send + Sync>);

impl Syncer {
    /// Wraps what makes bytes durable.
    pub fn new(sync: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Syncer {
        Syncer(Arc::new(sync))
    }

    /// Returns once everything written before the call is durable.
    ///
    /// # Errors
    ///
    /// What the disk says. The kernel reports a failed write once and then forgets it, so after an
    /// error the file must not be trusted with more: write on into a new one.
    pub fn sync(&self) -> io::Result<()> {
        (self.0)()
    }
}

impl std::fmt::Debug for Syncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Syncer")
    }
}

/// A region in memory. Clones share their bytes, so a test can read what a writer leaves behind.
#[derive(Clone, Debug)]
pub struct HeapRegion {
    words: Arc<[AtomicU64]>,
}

impl HeapRegion {
    /// A region of zeros, `size` rounded down to a multiple of eight.
    ///
    /// # Panics
    ///
    /// When the size does not fit the address space.
    pub fn new(size: u64) -> HeapRegion {
        let words = usize::try_from(size / 8).expect("a test region fits memory");
        HeapRegion {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn words_at(&self, offset: u64, length: usize) -> io::Result<&[AtomicU64]> {
        assert!(
            offset.is_multiple_of(8) && length.is_multiple_of(8),
            "word access is aligned"
        );
        let first = usize::try_from(offset / 8).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = first
            .checked_add(length / 8)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.words
            .get(first..end)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadAt for HeapRegion {
    fn len(&self) -> io::Result<u64> {
        Ok(self.words.len() as u64 * 8)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let words = self.words_at(offset, buffer.len())?;
        for (bytes, word) in buffer.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        Ok(())
    }
}

impl Region for HeapRegion {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.words_at(offset, bytes.len())?;
        self.store(offset, bytes);
        Ok(())
    }

    fn store(&self, offset: u64, bytes: &[u8]) {
        let words = self
            .words_at(offset, bytes.len())
            .expect("the writer stays in its segment");
        for (word, bytes) in words.iter().zip(bytes.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("chunks of eight");
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
    }

    fn publish(&self, offset: u64, word: [u8; 8]) {
        let words = self
            .words_at(offset, 8)
            .expect("the writer stays in its segment");
        for place in words {
            place.store(u64::from_le_bytes(word), Ordering::Release);
        }
        fence(Ordering::Release);
    }

    fn syncer(&self) -> io::Result<Syncer> {
        Ok(Syncer::new(|| Ok(())))
    }
}
