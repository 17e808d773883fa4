//! A disk with a volatile write cache, served to qemu over the NBD protocol.
//!
//! What is written is in the cache until a flush, and nothing else makes it durable. When the power
//! goes, every sector in the cache ends as one of its versions since the last flush or the one
//! before, or torn between two of them. The power goes at a given request: that is when the disk
//! calls `power_fails`, and it answers nothing more.

#![allow(
    clippy::big_endian_bytes,
    reason = "the NBD protocol is in network byte order"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};

use ktm_simulation::Random;

pub(crate) const SECTOR: usize = 512;
/// Sectors to a block of the file system.
const BLOCK: usize = 8;
/// How every block of ext4's journal begins that is not a copy of another.
const JOURNAL_MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

type Sector = [u8; SECTOR];

/// What is on the platters, and what is only in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    durable: Vec<u8>,
    /// Every version of a sector since the last flush, oldest first.
    cache: BTreeMap<usize, Vec<Sector>>,
    /// A disk that lies: it acknowledges flushes and keeps everything in its cache.
    ignores_flush: bool,
}

impl Medium {
    pub(crate) fn new(mut image: Vec<u8>, ignores_flush: bool) -> Medium {
        image.resize(image.len().next_multiple_of(SECTOR), 0);
        Medium {
            durable: image,
            cache: BTreeMap::new(),
            ignores_flush,
        }
    }

    fn read(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        let mut bytes = self
            .durable
            .get(offset..offset.checked_add(length)?)?
            .to_vec();
        let sectors = offset / SECTOR..(offset + length).div_ceil(SECTOR);
        for (number, versions) in self.cache.range(sectors) {
            let newest = versions.last()?;
            for (index, byte) in newest.iter().enumerate() {
                let at = (number * SECTOR + index).checked_sub(offset);
                if let Some(place) = at.and_then(|at| bytes.get_mut(at)) {
                    *place = *byte;
                }
            }
        }
        Some(bytes)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        if !offset.is_multiple_of(SECTOR)
            || !bytes.len().is_multiple_of(SECTOR)
            || offset.checked_add(bytes.len())? > self.durable.len()
        {
            return None;
        }
        for (index, sector) in bytes.chunks_exact(SECTOR).enumerate() {
            let versions = self.cache.entry(offset / SECTOR + index).or_default();
            versions.push(sector.try_into().ok()?);
        }
        Some(())
    }

    fn flush(&mut self) {
        if !self.ignores_flush {
            for (number, versions) in std::mem::take(&mut self.cache) {
                if let Some(newest) = versions.last() {
                    self.put(number, newest);
                }
            }
        }
    }

    fn put(&mut self, number: usize, sector: &Sector) {
        let start = number * SECTOR;
        if let Some(place) = self.durable.get_mut(start..start + SECTOR) {
            place.copy_from_slice(sector);
        }
    }

    /// The power goes: what is left is what some order of writing back could have left.
    /// Returns how many sectors were in the cache and how many of them are not in their last state.
    pub(crate) fn lose_power(&mut self, random: &mut Random) -> (usize, usize) {
        let cache = std::mem::take(&mut self.cache);
        let cached = cache.len();
        let mut lost = 0;
        // Anything from a cache that was nearly written back to one that was not at all.
        let per_mille = *[0, 50, 300, 700, 950]
            .get(random.below(5) as usize)
            .unwrap_or(&500);
        let (mut block, mut outcome) = (None, Whole::Undecided);
        for (number, versions) in &cache {
            if block.replace(number / BLOCK) != Some(number / BLOCK) {
                outcome = Whole::of(*number, versions, per_mille, random);
            }
            let sector = match outcome {
                Whole::Undecided => self.remains(*number, versions, per_mille, random),
                Whole::Kept => versions.last().copied().unwrap_or([0; SECTOR]),
                Whole::Lost => self.before(*number),
            };
            lost += usize::from(Some(&sector) != versions.last());
            self.put(*number, &sector);
        }
        (cached, lost)
    }

    fn before(&self, number: usize) -> Sector {
        let start = number * SECTOR;
        let sector = self.durable.get(start..start + SECTOR);
        sector
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; SECTOR])
    }

    fn remains(
        &self,
        number: usize,
        versions: &[Sector],
        per_mille: u64,
        random: &mut Random,
    ) -> Sector {
        let old = self.before(number);
        let pick = |random: &mut Random| {
            if random.below(1000) >= per_mille {
                return old;
            }
            let chosen = random.below(versions.len() as u64) as usize;
            versions.get(chosen).copied().unwrap_or(old)
        };
        let mut sector = pick(random);
        if random.below(16) == 0 {
            let other = pick(random);
            let torn_at = random.below(SECTOR as u64) as usize;
            for (place, byte) in sector.iter_mut().zip(other).skip(torn_at) {
                *place = byte;
            }
        }
        sector
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.durable
    }
}

/// What happens to a block as a whole. ext4 takes it for granted that its superblock and the blocks
/// that commit a transaction reach the disk whole or not at all: after a torn one it refuses to be
/// mounted, whatever lies on it. All other blocks are torn by sector.
#[derive(Clone, Copy)]
enum Whole {
    Undecided,
    Kept,
    Lost,
}

impl Whole {
    fn of(number: usize, versions: &[Sector], per_mille: u64, random: &mut Random) -> Whole {
        let is_commit = versions
            .iter()
            .any(|sector| sector.starts_with(&JOURNAL_MAGIC));
        match number < BLOCK || is_commit {
            false => Whole::Undecided,
            true if random.below(1000) < per_mille => Whole::Kept,
            true => Whole::Lost,
        }
    }
}

/// When the power goes.
struct Fuse {
    /// Requests that still change something; `None` while it is not lit.
    left: Option<u64>,
    power_fails: Box<dyn FnMut() + Send>,
}

struct Shared {
    medium: Mutex<Medium>,
    fuse: Mutex<Fuse>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk that is being served.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    socket: PathBuf,
}

impl Disk {
    /// Serves one connection on a socket of this path.
    pub(crate) fn serve(medium: Medium, socket: &Path) -> Result<Disk> {
        let listener = UnixListener::bind(socket).context("a socket for the disk")?;
        let shared = Arc::new(Shared {
            medium: Mutex::new(medium),
            fuse: Mutex::new(Fuse {
                left: None,
                power_fails: Box::new(|| ()),
            }),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            if let Err(error) = (Connection { stream }).run(&theirs)
                && error.downcast_ref::<std::io::Error>().is_none()
            {
                eprintln!("the disk: {error:#}");
            }
        });
        Ok(Disk {
            shared,
            socket: socket.to_owned(),
        })
    }

    /// Has the power go at the given request from now, counting those that write or flush.
    pub(crate) fn light_fuse(&self, requests: u64, power_fails: impl FnMut() + Send + 'static) {
        let mut fuse = locked(&self.shared.fuse);
        fuse.left = Some(requests);
        fuse.power_fails = Box::new(power_fails);
    }

    /// True once the power has gone.
    pub(crate) fn is_dead(&self) -> bool {
        locked(&self.shared.fuse).left == Some(0)
    }

    /// What is to be given to qemu.
    pub(crate) fn blockdev(&self) -> String {
        format!(
            "driver=nbd,node-name=disk,server.type=unix,server.path={}",
            self.socket.display()
        )
    }

    /// The medium as it is, cache included.
    pub(crate) fn medium(&self) -> Medium {
        locked(&self.shared.medium).clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A socket that cannot be removed goes with its folder.
        let _ = std::fs::remove_file(&self.socket);
    }
}

const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Flush is offered, nothing else.
const EXPORT_FLAGS: u16 = 0b0101;
const INVALID: u32 = 22;

struct Connection {
    stream: UnixStream,
}

impl Connection {
    fn run(mut self, shared: &Shared) -> Result<()> {
        self.negotiate(shared)?;
        loop {
            ensure!(self.u32()? == 0x2560_9513, "a request without its magic");
            self.u16()?;
            let kind = self.u16()?;
            let cookie = self.u64()?;
            let offset = usize::try_from(self.u64()?)?;
            let length = self.u32()? as usize;
            let answer = match kind {
                0 => locked(&shared.medium).read(offset, length),
                1 => {
                    let bytes = self.bytes(length)?;
                    let written = locked(&shared.medium).write(offset, &bytes);
                    if burn(shared) {
                        return Ok(());
                    }
                    written.map(|()| Vec::new())
                }
                2 => return Ok(()),
                3 => {
                    if burn(shared) {
                        return Ok(());
                    }
                    locked(&shared.medium).flush();
                    Some(Vec::new())
                }
                _ => None,
            };
            let error = if answer.is_some() { 0 } else { INVALID };
            let mut reply = 0x6744_6698_u32.to_be_bytes().to_vec();
            reply.extend(error.to_be_bytes());
            reply.extend(cookie.to_be_bytes());
            reply.extend(answer.unwrap_or_default());
            self.stream.write_all(&reply)?;
        }
    }

    /// The fixed new style handshake.
    fn negotiate(&mut self, shared: &Shared) -> Result<()> {
        let mut hello = b"NBDMAGIC".to_vec();
        hello.extend(OPTION_MAGIC.to_be_bytes());
        // Fixed new style, no padding of zeros.
        hello.extend(3_u16.to_be_bytes());
        self.stream.write_all(&hello)?;
        self.u32()?;
        loop {
            ensure!(self.u64()? == OPTION_MAGIC, "an option without its magic");
            let option = self.u32()?;
            let length = self.u32()? as usize;
            self.bytes(length)?;
            match option {
                2 => bail!("qemu does not want this disk"),
                // Info, go.
                6 | 7 => {
                    let size = locked(&shared.medium).durable.len() as u64;
                    let mut export = 0_u16.to_be_bytes().to_vec();
                    export.extend(size.to_be_bytes());
                    export.extend(EXPORT_FLAGS.to_be_bytes());
                    self.reply(option, 3, &export)?;
                    self.reply(option, 1, &[])?;
                    if option == 7 {
                        return Ok(());
                    }
                }
                _ => self.reply(option, 0x8000_0001, &[])?,
            }
        }
    }

    fn reply(&mut self, option: u32, kind: u32, payload: &[u8]) -> Result<()> {
        let mut bytes = REPLY_MAGIC.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend((payload.len() as u32).to_be_bytes());
        bytes.extend(payload);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        const LONGEST: usize = 64 << 20;
        ensure!(length <= LONGEST, "a request of {length} bytes");
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }
}

/// Counts a request; true when it is the one at which the power goes.
fn burn(shared: &Shared) -> bool {
    let mut fuse = locked(&shared.fuse);
    fuse.left = fuse.left.map(|left| left.saturating_sub(1));
    let has_failed = fuse.left == Some(0);
    if has_failed {
        (fuse.power_fails)();
    }
    has_failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flush_makes_a_write_durable() {
        let mut random = Random(1);
        let (mut kept, mut lost) = (0, 0);
        for _ in 0..200 {
            let mut medium = Medium::new(vec![0; 4 * SECTOR], false);
            medium.write(0, &[1; SECTOR]).expect("within");
            medium.flush();
            medium.write(SECTOR, &[2; 2 * SECTOR]).expect("within");
            assert_eq!(medium.read(SECTOR, SECTOR), Some(vec![2; SECTOR]));
            medium.lose_power(&mut random);
            assert_eq!(medium.bytes()[..SECTOR], [1; SECTOR], "it was flushed");
            match medium.bytes()[SECTOR] {
                2 => kept += 1,
                _ => lost += 1,
            }
        }
        assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
    }

    #[test]
    fn a_disk_that_lies_loses_what_it_flushed() {
        let mut random = Random(1);
        let lost = (0..200).any(|_| {
            let mut medium = Medium::new(vec![0; SECTOR], true);
            medium.write(0, &[1; SECTOR]).expect("within");
            medium.flush();
            medium.lose_power(&mut random);
            medium.bytes() != [1; SECTOR]
        });
        assert!(lost);
    }
}
