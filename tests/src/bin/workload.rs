//! Does known work on command and reports what it counted itself.
//!
//! Usage: `ktm-workload FOLDER`, with one socket as both standard input and standard output. A line
//! of JSON in is a [`Request`], a line of JSON out are the [`Counts`] of that work.
//!
//! The process is to make no system call of the recorded kinds but those it counts. So it talks by
//! `recv` and `send`, and starts by a copy of this binary named as the test wants it to be named.

use std::error::Error;
use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ktm_tests::work::{
    ADVICE, Burst, COLD_FILE, CallCounts, Counts, EMPTY_FILE, INVALID_ADVICE, PAGE, Plan, Request,
    WARM_FILE,
};
use rustix::net::{RecvFlags, SendFlags, recv, send};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RANDOM: usize = 1;
const DONTNEED: usize = 4;

fn main() -> Outcome<()> {
    let folder = std::env::args_os()
        .nth(1)
        .ok_or("usage: ktm-workload FOLDER")?;
    let worker = Worker {
        folder: folder.into(),
    };
    let mut control = Control { buffer: Vec::new() };
    while let Some(line) = control.line()? {
        match serde_json::from_slice(&line)? {
            Request::Work(plan) => control.reply(&worker.work(&plan)?)?,
            Request::Exit(status) => std::process::exit(status),
        }
    }
    Ok(())
}

/// The conversation with the test.
struct Control {
    buffer: Vec<u8>,
}

impl Control {
    /// The next line, `None` when the test has closed its end.
    fn line(&mut self) -> Outcome<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            let mut chunk = [0_u8; 4096];
            let (received, _) = recv(io::stdin(), &mut chunk, RecvFlags::empty())?;
            if received == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&chunk[..received]);
        }
    }

    fn reply(&self, counts: &Counts) -> Outcome<()> {
        let mut line = serde_json::to_vec(counts)?;
        line.push(b'\n');
        let mut rest = &line[..];
        while !rest.is_empty() {
            let sent = send(io::stdout(), rest, SendFlags::empty())?;
            rest = &rest[sent..];
        }
        Ok(())
    }
}

struct Worker {
    folder: PathBuf,
}

impl Worker {
    fn work(&self, plan: &Plan) -> Outcome<Counts> {
        let mut counts = Counts::default();
        self.advise(plan, &mut counts)?;
        self.move_bytes(plan, &mut counts)?;
        self.fail(plan, &mut counts)?;
        for _ in 0..plan.cold_passes {
            self.read_cold(&mut counts)?;
        }
        if plan.random_pages > 0 {
            self.read_at_random(plan.random_pages, &mut counts)?;
        }
        Ok(counts)
    }

    /// Opens without touching the time of access: that would dirty the inode, and with it pages
    /// of the device itself.
    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.folder.join(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOATIME)
            .open(path)
    }

    fn advise(&self, plan: &Plan, counts: &mut Counts) -> Outcome<()> {
        let empty = self.open(EMPTY_FILE)?;
        let closed = closed_descriptor(&self.folder)?;
        for (advice, calls) in plan.advised.iter().enumerate() {
            for _ in 0..*calls {
                advise(empty.as_raw_fd(), advice, counts);
            }
        }
        for (advice, calls) in plan.advised_closed.iter().enumerate() {
            for _ in 0..*calls {
                advise(closed, advice, counts);
            }
        }
        for _ in 0..plan.advised_invalid {
            advise(empty.as_raw_fd(), ADVICE.len() - 1, counts);
        }
        Ok(())
    }

    /// Reads, writes and syncs of pages that are cached already.
    fn move_bytes(&self, plan: &Plan, counts: &mut Counts) -> Outcome<()> {
        let file = self.open(WARM_FILE)?;
        let before = resident(&file)?;
        each(&plan.reads, &mut counts.read, |buffer| {
            rewind(&file)?;
            timed(|| read(file.as_raw_fd(), buffer))
        })?;
        for of_thread in pread_by_threads(&file, &plan.preads)? {
            counts.pread += of_thread;
        }
        each(&plan.writes, &mut counts.write, |buffer| {
            rewind(&file)?;
            timed(|| write(file.as_raw_fd(), buffer))
        })?;
        each(&plan.pwrites, &mut counts.pwrite, |buffer| {
            timed(|| pwrite(file.as_raw_fd(), buffer, 0))
        })?;
        let sync = [Burst {
            calls: plan.fsyncs,
            size: 0,
        }];
        each(&sync, &mut counts.fsync, |_| {
            timed(|| fsync(file.as_raw_fd()))
        })?;
        let sync = [Burst {
            calls: plan.fdatasyncs,
            size: 0,
        }];
        each(&sync, &mut counts.fsync, |_| {
            timed(|| fdatasync(file.as_raw_fd()))
        })?;
        // None, unless the machine ran short of memory meanwhile.
        counts.filled += resident(&file)?.saturating_sub(before);
        Ok(())
    }

    fn fail(&self, plan: &Plan, counts: &mut Counts) -> Outcome<()> {
        let closed = closed_descriptor(&self.folder)?;
        let mut buffer = [0; 16];
        for _ in 0..plan.failing {
            note(&mut counts.read, timed(|| read(closed, &mut buffer))?);
            note(&mut counts.pread, timed(|| pread(closed, &mut buffer, 0))?);
            note(&mut counts.write, timed(|| write(closed, &buffer))?);
            note(&mut counts.pwrite, timed(|| pwrite(closed, &buffer, 0))?);
            note(&mut counts.fsync, timed(|| fsync(closed))?);
            note(&mut counts.fsync, timed(|| fdatasync(closed))?);
        }
        let (empty, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK)?;
        for _ in 0..plan.again {
            note(
                &mut counts.read,
                timed(|| read(empty.as_raw_fd(), &mut buffer))?,
            );
        }
        Ok(())
    }

    /// Drops the cold file from the page cache and reads it from end to end.
    fn read_cold(&self, counts: &mut Counts) -> Outcome<()> {
        let file = self.open(COLD_FILE)?;
        let pages = file.metadata()?.len() / PAGE;
        let before = drop_pages(&file, counts)?;
        let mut buffer = vec![0; usize::try_from(PAGE)?];
        for _ in 0..pages {
            note(
                &mut counts.read,
                timed(|| read(file.as_raw_fd(), &mut buffer))?,
            );
        }
        counts.filled += resident(&file)? - before;
        counts.misses_min += 1;
        counts.misses_max += pages;
        Ok(())
    }

    /// Drops the cold file, switches readahead off, and reads distinct pages in no order: each is
    /// a miss.
    fn read_at_random(&self, wanted: u32, counts: &mut Counts) -> Outcome<()> {
        let file = self.open(COLD_FILE)?;
        let pages = file.metadata()?.len() / PAGE;
        let before = drop_pages(&file, counts)?;
        advise(file.as_raw_fd(), RANDOM, counts);
        let mut buffer = vec![0; usize::try_from(PAGE)?];
        // An odd stride visits every page of a power of two once.
        let stride = pages / 2 + 17;
        assert!(pages.is_power_of_two() && stride % 2 == 1 && u64::from(wanted) <= pages);
        for index in 0..u64::from(wanted) {
            let offset = i64::try_from(index * stride % pages * PAGE)?;
            note(
                &mut counts.pread,
                timed(|| pread(file.as_raw_fd(), &mut buffer, offset))?,
            );
        }
        counts.filled += resident(&file)? - before;
        counts.misses_min += u64::from(wanted);
        // A page can be taken away again between arriving and being copied.
        counts.misses_max += u64::from(wanted + wanted / 16);
        Ok(())
    }
}

/// Drops a file from the page cache. Returns how many of its pages stayed.
fn drop_pages(file: &File, counts: &mut Counts) -> Outcome<u64> {
    let before = resident(file)?;
    advise(file.as_raw_fd(), DONTNEED, counts);
    let after = resident(file)?;
    counts.deleted += before - after;
    Ok(after)
}

/// Each burst by a thread of its own: a target is all of its threads.
fn pread_by_threads(file: &File, bursts: &[Burst]) -> Outcome<Vec<CallCounts>> {
    let one = |burst: Burst| -> Outcome<CallCounts> {
        let mut counts = CallCounts::default();
        each(&[burst], &mut counts, |buffer| {
            timed(|| pread(file.as_raw_fd(), buffer, 0))
        })?;
        Ok(counts)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = bursts
            .iter()
            .map(|burst| scope.spawn(move || one(*burst)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread that panicked"))
            .collect()
    })
}

/// What a call came to: its result, and the time it took.
struct Done {
    result: Result<u64, i32>,
    nanoseconds: u64,
}

fn timed(call: impl FnOnce() -> isize) -> Outcome<Done> {
    let begun = Instant::now();
    let result = call();
    let nanoseconds = u64::try_from(begun.elapsed().as_nanos())?;
    let result = u64::try_from(result).map_err(|_| {
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default()
    });
    Ok(Done {
        result,
        nanoseconds,
    })
}

fn note(counts: &mut CallCounts, done: Done) {
    match done.result {
        Ok(bytes) => {
            counts.calls += 1;
            counts.bytes += bytes;
            counts.nanoseconds += done.nanoseconds;
        }
        Err(libc::EAGAIN | libc::EINTR) => counts.again += 1,
        Err(_) => counts.errors += 1,
    }
}

fn each(
    bursts: &[Burst],
    counts: &mut CallCounts,
    mut call: impl FnMut(&mut [u8]) -> Outcome<Done>,
) -> Outcome<()> {
    for Burst { calls, size } in bursts {
        let mut buffer = vec![0x5a; usize::try_from(*size)?];
        for _ in 0..*calls {
            note(counts, call(&mut buffer)?);
        }
    }
    Ok(())
}

fn rewind(file: &File) -> io::Result<()> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    Ok(())
}

/// The number of a descriptor that was open and is not any more.
fn closed_descriptor(folder: &Path) -> io::Result<RawFd> {
    Ok(File::open(folder)?.as_raw_fd())
}

fn advise(fd: RawFd, advice: usize, counts: &mut Counts) {
    let number = match c_int::try_from(advice) {
        Ok(number) if advice < ADVICE.len() - 1 => number,
        _ => INVALID_ADVICE,
    };
    // SAFETY: takes no pointer; a bad descriptor or advice is an error the kernel returns.
    let result = unsafe { libc::posix_fadvise(fd, 0, 0, number) };
    counts.fadvise[advice][usize::from(result != 0)] += 1;
}

fn read(fd: RawFd, buffer: &mut [u8]) -> isize {
    // SAFETY: the kernel writes at most `len` bytes to the buffer.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn pread(fd: RawFd, buffer: &mut [u8], offset: i64) -> isize {
    // SAFETY: the kernel writes at most `len` bytes to the buffer.
    unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset) }
}

fn write(fd: RawFd, buffer: &[u8]) -> isize {
    // SAFETY: the kernel reads at most `len` bytes of the buffer.
    unsafe { libc::write(fd, buffer.as_ptr().cast(), buffer.len()) }
}

fn pwrite(fd: RawFd, buffer: &[u8], offset: i64) -> isize {
    // SAFETY: the kernel reads at most `len` bytes of the buffer.
    unsafe { libc::pwrite(fd, buffer.as_ptr().cast(), buffer.len(), offset) }
}

fn fsync(fd: RawFd) -> isize {
    // SAFETY: takes no pointer.
    (unsafe { libc::fsync(fd) }) as isize
}

fn fdatasync(fd: RawFd) -> isize {
    // SAFETY: takes no pointer.
    (unsafe { libc::fdatasync(fd) }) as isize
}

/// How many pages of a file are in the page cache.
fn resident(file: &File) -> Outcome<u64> {
    let length = usize::try_from(file.metadata()?.len())?;
    if length == 0 {
        return Ok(0);
    }
    let mapping = Mapping::of(file.as_fd(), length)?;
    let mut pages = vec![0_u8; length.div_ceil(usize::try_from(PAGE)?)];
    // SAFETY: the mapping covers `length` bytes, and the vector has a byte for each of its pages.
    let result = unsafe { libc::mincore(mapping.at, length, pages.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(pages.iter().filter(|page| **page & 1 == 1).count() as u64)
}

/// A mapping that is never touched, so that it brings in no page.
struct Mapping {
    at: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    fn of(file: BorrowedFd<'_>, length: usize) -> io::Result<Mapping> {
        let null = std::ptr::null_mut();
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping, at a place the kernel chooses.
        let at = unsafe { libc::mmap(null, length, protection, flags, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Mapping { at, length })
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `of`, unmapped once, and nothing points into it.
        unsafe { libc::munmap(self.at, self.length) };
    }
}
