//! Real power cuts: a guest records on ext4, its disk has a volatile cache, and at some request to
//! the disk the power goes: qemu is killed, the guest's memory is gone, and of the disk's cache
//! any part. The next guest boots on what is left, says what it finds, and goes on until its own
//! cut.
//!
//! Two known-bad twins must be caught in every run: a writer that acknowledges without a sync, and
//! a disk that acknowledges flushes and ignores them.

mod disk;
pub(crate) mod inside;
mod ledger;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use self::disk::{Disk, Medium};
use self::ledger::{Broken, Ledger, Verdict};
use crate::guest::init;
use crate::guest::initramfs::Initramfs;
use crate::guest::kernel::{DEFAULT_PACKAGE, DISK_MODULES, Kernel};
use crate::guest::machine::{self, Machine, Plan};
use ktm_simulation::Random;

/// Cuts the power of guests that record on ext4, and looks after each boot for what was lost.
#[derive(Debug, clap::Args)]
pub(crate) struct PowerCuts {
    /// How often the power goes
    #[arg(long, default_value_t = 50)]
    cuts: u64,
    /// Chooses the moments, and what is left of the disk's cache
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Debian's package of the kernel to boot
    #[arg(long, default_value = DEFAULT_PACKAGE)]
    kernel: String,
    /// Print what verify says of a file that is not sound after a cut
    #[arg(long)]
    verbose: bool,
    /// Keep the disk of a run that fails in this file
    #[arg(long)]
    keep: Option<PathBuf>,
}

const IMAGE_SIZE: u64 = 48 << 20;
/// A guest under emulation on a busy machine is slow, and that is no failure.
const PATIENCE_SECONDS: u64 = 600;
/// The known-bad disk has to show itself within so many cuts.
const TWIN_CUTS: u64 = 10;

impl PowerCuts {
    pub(crate) fn run(&self) -> Result<()> {
        ensure!(
            machine::is_available(),
            "qemu-system-x86_64 is not installed"
        );
        let bench = Bench::prepare(&self.kernel)?;
        println!(
            "Linux {}, ext4, {} cuts, seed {}",
            bench.kernel.release, self.cuts, self.seed
        );
        let begun = Instant::now();
        let mut random = Random(self.seed);
        let mut series = Series::new(bench.formatted()?, self.verbose);
        let totals = series.cut(&bench, self.cuts, &mut random, true)?;
        let seconds = begun.elapsed().as_secs_f64() / self.cuts.max(1) as f64;
        totals.print(self.cuts, seconds);
        if !totals.broken.is_empty() {
            if let Some(path) = &self.keep {
                std::fs::write(path, series.medium.bytes())?;
            }
            bail!("broken: {}", totals.broken.join("; "));
        }
        ensure!(
            totals.twin_cuts > 0,
            "the writer that does not sync was not caught: these cuts prove nothing"
        );
        bench.catch_lying_disk(&mut random)
    }
}

/// What all guests have in common.
struct Bench {
    folder: tempfile::TempDir,
    kernel: Kernel,
    initramfs: PathBuf,
}

impl Bench {
    fn prepare(package: &str) -> Result<Bench> {
        let target = target_folder()?;
        let kernel = Kernel::fetch(package, &target.join("kernels"))?;
        // The path of a socket is short; the build's folder may be anywhere.
        let folder = tempfile::tempdir()?;
        let initramfs = folder.path().join("initramfs");
        pack(&kernel, &target, &initramfs)?;
        Ok(Bench {
            folder,
            kernel,
            initramfs,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk with an empty ext4.
    fn formatted(&self) -> Result<Medium> {
        let image = self.path("image");
        std::fs::File::create(&image)?.set_len(IMAGE_SIZE)?;
        let status = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096"])
            // Nothing left for the guest to write of its own accord.
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&image)
            .status()
            .context("mkfs.ext4 cannot be run: it is in e2fsprogs")?;
        ensure!(status.success(), "mkfs.ext4: {status}");
        Ok(Medium::new(std::fs::read(&image)?, false))
    }

    /// The known-bad disk: if even that one passes, the disk's cache was never lost.
    fn catch_lying_disk(&self, random: &mut Random) -> Result<()> {
        let image = self.formatted()?;
        for cut in 1..=TWIN_CUTS {
            let mut series = Series::new(Medium::new(image.bytes().to_vec(), true), false);
            let totals = series.cut(self, 1, random, false)?;
            if let Some(why) = totals.broken.first() {
                // Of a guest's console, its last words.
                let why = why.lines().rfind(|line| !line.trim().is_empty());
                let why = why.unwrap_or_default();
                println!("twin: a disk that ignores flushes, caught at cut {cut}: {why}");
                return Ok(());
            }
        }
        bail!("a disk that ignores flushes was not caught in {TWIN_CUTS} cuts");
    }

    fn boot(&self, disk: &Disk, who: &str) -> Result<Machine> {
        Machine::boot(Plan {
            kernel: &self.kernel.image,
            initramfs: &self.initramfs,
            arguments: who,
            devices: vec![
                "-blockdev".into(),
                disk.blockdev().into(),
                "-device".into(),
                "virtio-blk-pci,drive=disk,write-cache=on".into(),
            ],
            log: self.path("console"),
        })
    }
}

/// One disk and its lives.
struct Series {
    medium: Medium,
    ledger: Ledger,
    is_verbose: bool,
}

/// What all boots of a series found.
#[derive(Debug, Default)]
struct Totals {
    synced: u64,
    rows_missing: u64,
    samples_seen: u64,
    samples_missing: u64,
    most_samples_missing: u64,
    /// By the clock: the recorder may have been late, or on time and cut off before anybody saw.
    cuts_with_one_due: u64,
    most_samples_due: u64,
    /// Cuts after which the twin that does not sync lacked what it had acknowledged.
    twin_cuts: u64,
    twin_missing: u64,
    with_damage: u64,
    broken: Vec<Broken>,
}

impl Series {
    fn new(medium: Medium, is_verbose: bool) -> Series {
        Series {
            medium,
            ledger: Ledger::default(),
            is_verbose,
        }
    }

    /// So many lives that end in a cut, and a last one that only looks. Stops at the first broken
    /// promise.
    fn cut(
        &mut self,
        bench: &Bench,
        cuts: u64,
        random: &mut Random,
        is_told: bool,
    ) -> Result<Totals> {
        let mut totals = Totals::default();
        // What is in the cache depends on the machine's speed; which moments are chosen shall not.
        let mut moments = random.clone();
        for cut in 1..=cuts + 1 {
            let begun = Instant::now();
            let when = (cut <= cuts).then(|| When::choose(cut, &mut moments));
            let life = self.live(bench, when, random)?;
            totals.add(&life);
            if self.is_verbose {
                for line in life.verdict.iter().flat_map(|verdict| &verdict.damage) {
                    println!("    {line}");
                }
            }
            if is_told && let Some(when) = when {
                let seconds = begun.elapsed().as_secs_f64();
                println!("cut {cut:3}, {seconds:4.1} s, {when}: {}", life.told());
            }
            if !totals.broken.is_empty() {
                break;
            }
        }
        Ok(totals)
    }

    fn live(&mut self, bench: &Bench, when: Option<When>, random: &mut Random) -> Result<Life> {
        let disk = Disk::serve(self.medium.clone(), &bench.path("disk"))?;
        let who = when.map_or(inside::NOBODY, |when| when.who);
        let mut machine = bench.boot(&disk, who)?;
        let pid = i32::try_from(machine.pid())?;
        let pid = Pid::from_raw(pid).context("a process id")?;
        // Killed by the disk's own thread: the guest must not live on without a disk.
        let power_fails = move || {
            let _ = kill_process(pid, Signal::KILL);
        };
        if let Some(When {
            from: From::Boot,
            requests,
            ..
        }) = when
        {
            disk.light_fuse(requests, power_fails);
        }
        self.ledger.boot();
        let mut life = Life::default();
        let end = machine::within(PATIENCE_SECONDS);
        while let Some(line) = machine.line(end)? {
            if let Some(verdict) = self.ledger.hear(&line)? {
                life.verdict = Some(verdict);
                match when {
                    Some(When {
                        from: From::Ready,
                        requests,
                        ..
                    }) => {
                        disk.light_fuse(requests, power_fails);
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        }
        life.broken = self.ledger.take_broken();
        if when.is_some() && !disk.is_dead() {
            let console = machine.console();
            life.broken
                .push(format!("the guest ended by itself:\n{console}"));
        }
        machine.kill()?;
        life.died_recording = self.ledger.is_ready();
        self.medium = disk.medium();
        (life.cached, life.lost) = self.medium.lose_power(random);
        Ok(life)
    }
}

/// The request to the disk, of those that write or flush, at which the power goes.
#[derive(Clone, Copy, Debug)]
struct When {
    requests: u64,
    from: From,
    /// Who records until then.
    who: &'static str,
}

/// Where the requests are counted from.
#[derive(Clone, Copy, Debug)]
enum From {
    /// Power on: the cut falls into the replay of the journal, or soon after.
    Boot,
    /// The moment at which recording begins.
    Ready,
}

impl When {
    fn choose(cut: u64, random: &mut Random) -> When {
        // One long life to begin with, in which the known-bad writer has time to be caught.
        if cut == 1 {
            return When {
                requests: 400 + random.below(400),
                from: From::Ready,
                who: inside::EVERYBODY,
            };
        }
        // The recorder by itself asks little of a disk, and the cut is to fall among its requests.
        let (who, most) = match random.below(2) {
            0 => (inside::RECORDER, 50),
            _ => (inside::EVERYBODY, 800),
        };
        let (from, most) = match random.below(5) {
            0 => (From::Boot, 40),
            1 => (From::Ready, 40),
            _ => (From::Ready, most),
        };
        When {
            requests: 1 + random.below(most),
            from,
            who,
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = match self.from {
            From::Boot => "power on",
            From::Ready => "recording",
        };
        write!(f, "{}, request {} from {from}", self.who, self.requests)
    }
}

/// From boot to cut.
#[derive(Debug, Default)]
struct Life {
    /// What it found of the lives before; `None` where it was cut off before it could tell.
    verdict: Option<Verdict>,
    died_recording: bool,
    /// Sectors in the disk's cache at its end, and those of them not in their last state after it.
    cached: usize,
    lost: usize,
    broken: Vec<Broken>,
}

impl Life {
    fn told(&self) -> String {
        let died = if self.died_recording {
            "died recording"
        } else {
            "died booting"
        };
        let disk = format!(
            "{died}, {} of {} cached sectors lost",
            self.lost, self.cached
        );
        let Some(verdict) = &self.verdict else {
            return disk;
        };
        let codes = verdict
            .codes
            .iter()
            .map(|(name, code)| format!("{name} {code}"));
        format!(
            "found {} of {} synced rows, {} of {} samples seen, {} more were due, without sync {} \
             lost; verify {}; {disk}",
            verdict.synced - verdict.rows_missing,
            verdict.synced,
            verdict.samples_seen - verdict.samples_missing,
            verdict.samples_seen,
            verdict.samples_due.saturating_sub(verdict.samples_missing),
            verdict.twin_missing,
            codes.collect::<Vec<_>>().join(", "),
        )
    }
}

impl Totals {
    fn add(&mut self, life: &Life) {
        self.broken.extend(life.broken.iter().cloned());
        let Some(verdict) = &life.verdict else {
            return;
        };
        self.synced = verdict.synced;
        self.rows_missing += verdict.rows_missing;
        self.samples_seen += verdict.samples_seen;
        self.samples_missing += verdict.samples_missing;
        self.most_samples_missing = self.most_samples_missing.max(verdict.samples_missing);
        self.cuts_with_one_due += u64::from(verdict.samples_due > 0);
        self.most_samples_due = self.most_samples_due.max(verdict.samples_due);
        self.twin_cuts += u64::from(verdict.twin_missing > 0);
        self.twin_missing += verdict.twin_missing;
        self.with_damage += u64::from(verdict.codes.iter().any(|(_, code)| *code == 4));
        self.broken.extend(verdict.broken.iter().cloned());
    }

    fn print(&self, cuts: u64, seconds: f64) {
        println!(
            "  * {cuts} power cuts, {seconds:.1} s each: {} rows synced, {} missing; {} samples \
             seen, {} missing",
            self.synced, self.rows_missing, self.samples_seen, self.samples_missing,
        );
        println!(
            "at most {} seen samples missing after a cut; by the clock at most {}, at least one \
             after {} cuts; {} boots met reported damage",
            self.most_samples_missing,
            self.most_samples_due,
            self.cuts_with_one_due,
            self.with_damage,
        );
        println!(
            "twin: without sync {} acknowledged rows lost, in {} of the cuts",
            self.twin_missing, self.twin_cuts
        );
    }
}

/// The build's folder: this program is in one of its profiles' folders.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).map(Path::to_owned);
    folder.context("a program that cargo built is in a folder of a profile")
}

/// The guest's file system: this program as process 1, the recorder, the reader, the modules.
fn pack(kernel: &Kernel, target: &Path, to: &Path) -> Result<()> {
    let mut archive = Initramfs::default();
    for folder in ["proc", "sys", "dev", "tmp", "disk", "run"] {
        archive.directory(folder);
    }
    let modules = kernel.modules(&DISK_MODULES)?;
    archive.directory(init::MODULES);
    for (number, (name, bytes)) in modules.iter().enumerate() {
        archive.file(
            &format!("{}/{number:02}-{name}.ko", init::MODULES),
            0o644,
            bytes,
        );
    }
    // Each by itself, as the README does: together they would be compiled with other features.
    for package in ["ktm-recorder", "ktm-tools"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--release", "-p", package])
            .current_dir(crate::workspace())
            .status()?;
        ensure!(status.success(), "{package} does not build");
    }
    archive.program("init", &std::env::current_exe()?)?;
    for program in ["ktm-recorder", "ktm-dump"] {
        archive.program(program, &target.join("release").join(program))?;
    }
    archive.write(to)
}
