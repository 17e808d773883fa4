//! A simulated disk.
//!
//! It keeps what is durable apart from what is only written. Between two syncs it may have written
//! back any 512-byte sector at any moment, torn inside too. A cut keeps of each unsynced sector the
//! durable bytes, the newest, those of some moment between, or a splice of two of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use ktm_format::{ReadAt, Region, Syncer};

use crate::random::Random;

const SECTOR: usize = 512;

/// What is inside a [`Disk`].
#[derive(Debug)]
pub struct Platters {
    /// What a reader sees.
    pub live: Vec<u8>,
    /// What is left if nothing unsynced was written back.
    pub durable: Vec<u8>,
    /// Of every unsynced sector, what it held at some moments since the sync.
    moments: BTreeMap<usize, Vec<Vec<u8>>>,
    random: Random,
    /// A sync of this disk returns and does nothing.
    lies: bool,
}

impl Platters {
    fn sector(&self, sector: usize) -> Vec<u8> {
        self.live[sector * SECTOR..(sector + 1) * SECTOR].to_vec()
    }

    /// Writes in the order of the bytes, eight at a time; write-back may look at any time.
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).expect("small");
        for (index, word) in bytes.chunks(8).enumerate() {
            let at = start + index * 8;
            let sector = at / SECTOR;
            if self.random.one_in(40) {
                let moment = self.sector(sector);
                self.moments.entry(sector).or_default().push(moment);
            }
            self.moments.entry(sector).or_default();
            self.live[at..at + word.len()].copy_from_slice(word);
        }
    }

    /// Makes everything written durable.
    pub fn sync(&mut self) {
        if self.lies {
            return;
        }
        for sector in std::mem::take(&mut self.moments).into_keys() {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            self.durable[range.clone()].copy_from_slice(&self.live[range]);
        }
    }

    /// What is on the disk after the power went.
    pub fn cut(&mut self) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (sector, moments) in std::mem::take(&mut self.moments) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            let mut versions = moments;
            versions.push(image[range.clone()].to_vec());
            versions.push(self.live[range.clone()].to_vec());
            let pick = |random: &mut Random| random.below(versions.len() as u64) as usize;
            let mut chosen = versions[pick(&mut self.random)].clone();
            if self.random.one_in(8) {
                let split = 8 * self.random.below(64) as usize;
                let other = &versions[pick(&mut self.random)];
                chosen[split..].copy_from_slice(&other[split..]);
            }
            image[range].copy_from_slice(&chosen);
        }
        image
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Platters>>);

impl Disk {
    /// A disk on which this image is durable.
    pub fn new(image: Vec<u8>, random: Random) -> Disk {
        let durable = image.clone();
        let platters = Platters {
            live: image,
            durable,
            moments: BTreeMap::new(),
            random,
            lies: false,
        };
        Disk(Arc::new(Mutex::new(platters)))
    }

    /// From now on a sync returns and does nothing.
    pub fn lie(&self) {
        self.with(|platters| platters.lies = true);
    }

    /// Looks inside.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut Platters) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ReadAt for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(|platters| ReadAt::len(&platters.live))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|platters| platters.live.read_at(offset, buffer))
    }
}

impl Region for Disk {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|platters| platters.write(offset, bytes));
        Ok(())
    }

    fn store(&self, offset: u64, bytes: &[u8]) {
        self.with(|platters| platters.write(offset, bytes));
    }

    fn publish(&self, offset: u64, word: [u8; 8]) {
        self.with(|platters| platters.write(offset, &word));
    }

    fn syncer(&self) -> io::Result<Syncer> {
        let disk = self.clone();
        Ok(Syncer::new(move || {
            disk.with(Platters::sync);
            Ok(())
        }))
    }
}
