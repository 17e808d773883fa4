//! A workload that does known work step by step, and readings of the module that watches it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ktm::{Context, Module, Target};
use ktm_format::Values;

/// Pages of the workload's file.
pub(crate) const PAGES: u64 = 512;
pub(crate) const PAGE: usize = 4096;

const STEPS: &str = "KTM_TEST_STEPS";
const FILE: &str = "KTM_TEST_FILE";

/// A child process that runs this test binary's test `workload` and stops itself before each step,
/// so that nothing but the step's own work is between two readings.
pub(crate) struct Workload {
    child: Child,
    pub(crate) file: PathBuf,
}

impl Workload {
    /// Starts a workload that is to run these steps, and waits until it is about to run the first.
    pub(crate) fn start(folder: &Path, name: &str, steps: &[&str]) -> Workload {
        let file = folder.join(name);
        std::fs::write(&file, vec![7_u8; PAGES as usize * PAGE]).expect("a file to work with");
        std::fs::File::open(&file)
            .expect("opens")
            .sync_all()
            .expect("clean pages");
        let child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "workload", "--nocapture"])
            .env(STEPS, steps.join(","))
            .env(FILE, &file)
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary starts again");
        let workload = Workload { child, file };
        workload.wait_until_stopped();
        workload
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run one step and waits for its end.
    pub(crate) fn step(&self) {
        self.resume();
        self.wait_until_stopped();
    }

    /// Lets it run on without waiting.
    pub(crate) fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a child that was not waited for still has its pid.
        assert_eq!(unsafe { libc::kill(self.pid().cast_signed(), signal) }, 0);
    }

    pub(crate) fn wait_until_stopped(&self) {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid =
            unsafe { libc::waitpid(self.pid().cast_signed(), &raw mut status, libc::WUNTRACED) };
        assert_eq!(pid, self.pid().cast_signed(), "waited for the workload");
        assert!(
            libc::WIFSTOPPED(status),
            "the workload ended early: status {status:#x}"
        );
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the test `workload`: nothing, unless a test started it as its child.
pub(crate) fn run_as_workload() {
    let Ok(steps) = std::env::var(STEPS) else {
        return;
    };
    let path = CString::new(std::env::var(FILE).expect("a file")).expect("no zero in a path");
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
    assert!(fd >= 0);
    stop();
    for step in steps.split(',') {
        run(step, fd);
        stop();
    }
}

fn stop() {
    // SAFETY: raising a signal takes no pointer.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// One step. What it does is what the tests expect to be counted, no more and no less.
fn run(step: &str, fd: RawFd) {
    match step {
        "fadvise" => {
            for advice in 0..=5 {
                for _ in 0..=advice {
                    assert_eq!(fadvise(fd, advice), 0);
                }
            }
            for _ in 0..3 {
                assert_eq!(fadvise(-1, libc::POSIX_FADV_DONTNEED), libc::EBADF);
            }
            for _ in 0..2 {
                assert_eq!(fadvise(fd, 77), libc::EINVAL);
            }
        }
        "pread" => {
            for size in [1, 100, 4096, 10_000] {
                assert_eq!(pread(fd, size, 0), size as isize);
            }
            assert_eq!(
                pread(fd, 10, PAGES as usize * PAGE),
                0,
                "at the end of the file"
            );
            for _ in 0..5 {
                assert_eq!(pread(-1, 10, 0), -1);
            }
        }
        "read" => {
            for size in [5, 50, 500] {
                assert_eq!(read_from(fd, size), size as isize);
            }
            assert_eq!(read_from(-1, 1), -1);
        }
        "write" => {
            assert_eq!(write_to(fd, 777), 777);
            assert_eq!(pwrite(fd, 333, 0), 333);
            assert_eq!(pwrite(fd, 33, PAGE), 33);
            assert_eq!(write_to(-1, 777), -1);
        }
        "fsync" => {
            for _ in 0..3 {
                assert_eq!(fsync(fd), 0);
            }
            // SAFETY: takes no pointer.
            let synced = unsafe { libc::fdatasync(fd) };
            assert_eq!(synced, 0);
            assert_eq!(fsync(-1), -1);
        }
        "again" => again(),
        "slow" => slow(),
        "drop" => assert_eq!(fadvise(fd, libc::POSIX_FADV_DONTNEED), 0),
        "random" => assert_eq!(fadvise(fd, libc::POSIX_FADV_RANDOM), 0),
        "cold" => {
            for page in 0..PAGES as usize {
                assert_eq!(pread(fd, PAGE, page * PAGE), PAGE as isize);
            }
        }
        "stride" => {
            for page in (0..PAGES as usize).step_by(8) {
                assert_eq!(pread(fd, PAGE, page * PAGE), PAGE as isize);
            }
        }
        "threads" => {
            for _ in 0..12_000 {
                let thread = std::thread::spawn(move || assert_eq!(pread(fd, 1, 0), 1));
                thread.join().expect("a thread");
            }
        }
        "nothing" => {}
        other => panic!("no step {other}"),
    }
}

/// Reads of an empty pipe that would block.
fn again() {
    let [read_end, _] = pipe(libc::O_NONBLOCK);
    for _ in 0..4 {
        assert_eq!(read_from(read_end, 1), -1);
    }
}

/// One read of a pipe that another thread feeds after 30 ms.
fn slow() {
    let [read_end, write_end] = pipe(0);
    let feeder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(write_to(write_end, 1), 1);
    });
    assert_eq!(read_from(read_end, 1), 1);
    feeder.join().expect("the feeder");
}

const MOST: usize = 16_384;

fn pipe(flags: i32) -> [RawFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), flags) };
    assert_eq!(result, 0);
    ends
}

fn read_from(fd: RawFd, size: usize) -> isize {
    let mut buffer = [0_u8; MOST];
    // SAFETY: at most as many bytes as there is room for.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), size.min(MOST)) }
}

fn pread(fd: RawFd, size: usize, offset: usize) -> isize {
    let mut buffer = [0_u8; MOST];
    // SAFETY: at most as many bytes as there is room for.
    unsafe {
        libc::pread(
            fd,
            buffer.as_mut_ptr().cast(),
            size.min(MOST),
            offset as i64,
        )
    }
}

fn write_to(fd: RawFd, size: usize) -> isize {
    let buffer = [1_u8; MOST];
    // SAFETY: at most as many bytes as there are.
    unsafe { libc::write(fd, buffer.as_ptr().cast(), size.min(MOST)) }
}

fn pwrite(fd: RawFd, size: usize, offset: usize) -> isize {
    let buffer = [1_u8; MOST];
    // SAFETY: at most as many bytes as there are.
    unsafe { libc::pwrite(fd, buffer.as_ptr().cast(), size.min(MOST), offset as i64) }
}

fn fsync(fd: RawFd) -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::fsync(fd) }
}

fn fadvise(fd: RawFd, advice: i32) -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::posix_fadvise(fd, 0, 0, advice) }
}

/// tracefs for the calling thread.
pub(crate) fn context() -> Context {
    Context::new(ktm::tracefs::ensure())
}

/// The process as a target, found the way the recorder finds it.
pub(crate) fn target(workload: &Workload) -> Target {
    match ktm::Discovery::new(ktm::Matcher::Pid(workload.pid())).poll() {
        ktm::Observation::Found(target) => target,
        other => panic!("the workload was not found: {other:?}"),
    }
}

/// A row, by series name with labels.
pub(crate) type Reading = BTreeMap<String, u64>;

/// Samples the module.
pub(crate) fn read(module: &mut dyn Module) -> Reading {
    let mut values = Values::new();
    module.sample(&mut values).expect("a sample");
    let series = module.series();
    assert_eq!(values.len(), series.len());
    let named = series.iter().enumerate().map(|(index, series)| {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        (
            format!("{}{labels}", series.name),
            values.word(index).expect("no value is absent"),
        )
    });
    named.collect()
}

/// What was added between two readings, without what stayed as it was.
pub(crate) fn added(before: &Reading, after: &Reading) -> Reading {
    let difference = |(name, value): (&String, &u64)| {
        let added = value - before[name];
        (added != 0).then(|| (name.clone(), added))
    };
    after.iter().filter_map(difference).collect()
}

/// The same without the series of histograms, whose latencies nobody can foresee.
pub(crate) fn plain(mut reading: Reading) -> Reading {
    reading.retain(|name, _| !name.contains("_latency_seconds_") || name.ends_with("_count"));
    reading
}

/// A reading that is expected.
pub(crate) fn expected(pairs: &[(&str, u64)]) -> Reading {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

/// True, and said so, if one of these signals cannot be had on this kernel or with our permissions.
/// A program that the verifier refuses is no such reason but a mistake of ours.
pub(crate) fn skipped(module: &dyn Module, signals: &[&str]) -> bool {
    let absent: Vec<_> = module
        .probes()
        .iter()
        .filter(|probe| !probe.is_attached())
        .collect();
    for probe in &absent {
        for attempt in &probe.tried {
            let refused = ["os error 22", "os error 13", "os error 7"]
                .iter()
                .any(|code| attempt.error.starts_with("load: ") && attempt.error.contains(code));
            assert!(!refused, "the verifier refuses a program: {attempt}");
        }
    }
    let missing = absent.iter().find(|probe| signals.contains(&probe.signal));
    if let Some(probe) = missing {
        println!("SKIPPED: {probe}");
    }
    missing.is_some()
}

/// A folder on a file system with a page cache of its own kind; `None` on tmpfs, where the page
/// cache is the file.
pub(crate) fn folder_on_disk() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let kind = rustix::fs::statfs(folder.path()).expect("statfs").f_type;
    const TMPFS: i64 = 0x0102_1994;
    if kind == TMPFS {
        println!("SKIPPED: {} is on tmpfs", folder.path().display());
        return None;
    }
    Some(folder)
}
