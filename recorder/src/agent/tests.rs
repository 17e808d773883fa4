//! The loop over real processes and a real file, with a module of our own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser as _;
use ktm::tracefs::TraceFs;
use ktm::{Module, ModuleError, ProbeReport, Registration, Target};
use ktm_format::{Recording, Select, Series, Snapshot, Values};

use super::*;

/// Counts its samples since the last change of target, as a kernel module's counters would.
struct Counting {
    since: u64,
}

/// The targets that the module was pointed at. One test uses it.
static FOLLOWED: Mutex<Vec<Option<u32>>> = Mutex::new(Vec::new());

impl Module for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn series(&self) -> Vec<Series> {
        vec![Series::counter("counting_total", "Samples of this target.")]
    }

    fn sample(&mut self, out: &mut Values) -> Result<(), ModuleError> {
        out.push_u64(self.since);
        self.since += 1;
        Ok(())
    }

    fn retarget(&mut self, target: Option<&Target>) -> Result<(), ModuleError> {
        FOLLOWED
            .lock()
            .expect("sound")
            .push(target.map(|target| target.pid));
        self.since = 0;
        Ok(())
    }

    fn needs_target(&self) -> bool {
        true
    }

    fn probes(&self) -> &[ProbeReport] {
        &[]
    }
}

const COUNTING: Registration = Registration {
    name: "counting",
    help: "",
    start: |_| Ok(Box::new(Counting { since: 0 })),
};

/// A process whose executable has a name that nothing else on the machine has.
struct Workload {
    folder: tempfile::TempDir,
    name: String,
}

impl Workload {
    fn new() -> Workload {
        let folder = tempfile::tempdir().expect("a directory");
        let name = format!("ktmtest{}", std::process::id());
        std::fs::copy("/bin/sleep", folder.path().join(&name)).expect("copied");
        Workload { folder, name }
    }

    fn start(&self) -> Child {
        Command::new(self.folder.path().join(&self.name))
            .arg("600")
            .spawn()
            .expect("spawned")
    }
}

struct Running {
    file: PathBuf,
    requests: Arc<Requests>,
    board: Arc<Board>,
    thread: std::thread::JoinHandle<&'static str>,
}

impl Running {
    fn start(file: &Path, name: &str, interval: &str) -> Running {
        let path = file.to_str().expect("text");
        let flags = Flags::parse_from([
            "ktm-recorder",
            "--file",
            path,
            "--size",
            "1MiB",
            "--target-comm",
            name,
            "--interval",
            interval,
        ]);
        let config = config::load(&flags, &["iomonitor"]).expect("sound").config;
        let (mut recorder, report) = open(&config).expect("opened");
        recorder
            .start(Reading::now().stamp, start_event(&config), &report)
            .expect("started");
        let (requests, board) = (
            Arc::new(Requests::new().expect("made")),
            Arc::new(Board::default()),
        );
        let start = Start {
            slots: vec![Slot::new(COUNTING)],
            discovery: Discovery::new(matcher(&config.target).expect("sound")),
            context: Context::new(TraceFs::Missing("a test".into())),
            config,
            recorder,
            requests: Arc::clone(&requests),
            board: Arc::clone(&board),
        };
        let thread = std::thread::spawn(move || {
            let mut sampler = Sampler::new(start).expect("made");
            sampler.first();
            let reason = sampler.run().expect("ran");
            sampler.stop(reason).expect("stopped");
            reason
        });
        Running {
            file: file.to_path_buf(),
            requests,
            board,
            thread,
        }
    }

    fn snapshot(&self) -> Snapshot {
        Recording::open(&self.file)
            .expect("ours")
            .snapshot()
            .expect("readable")
    }

    fn wait_for(&self, kind: &str, times: usize) {
        let begun = Instant::now();
        loop {
            let snapshot = self.snapshot();
            if snapshot
                .events()
                .iter()
                .filter(|event| event.event.kind == kind)
                .count()
                >= times
            {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no {kind}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_target_is_waited_for_followed_lost_and_followed_again() {
    let workload = Workload::new();
    let file = workload.folder.path().join("box.ktm");
    // An interval that does not pass: whatever happens, happens at once.
    let running = Running::start(&file, &workload.name, "1h");
    running.wait_for("target_wait", 1);
    let mut first = workload.start();
    running.wait_for("target_found", 1);
    running.requests.sample();
    running.wait_for("sample_now", 1);
    first.kill().and_then(|()| first.wait()).expect("killed");
    running.wait_for("target_lost", 1);
    let mut second = workload.start();
    running.wait_for("target_restarted", 1);
    assert!(running.board.look().sampled_boottime_ns > 0);
    running.requests.stop("SIGTERM");
    let snapshot_of = running.file.clone();
    assert_eq!(running.thread.join().expect("no panic"), "SIGTERM");
    second.kill().and_then(|()| second.wait()).expect("killed");

    let snapshot = Recording::open(snapshot_of)
        .expect("ours")
        .snapshot()
        .expect("readable");
    let kinds: Vec<(&str, u32)> = snapshot
        .events()
        .iter()
        .map(|event| (event.event.kind.as_str(), event.epoch))
        .collect();
    assert_eq!(
        kinds,
        [
            ("start", 1),
            ("target_wait", 1),
            ("target_found", 2),
            ("sample_now", 2),
            ("target_lost", 2),
            ("target_restarted", 3),
            ("stop", 3),
        ]
    );
    let lost = &snapshot.events()[4].event;
    assert_eq!(lost.field("pid"), Some(first.id().to_string().as_str()));
    assert_eq!(lost.field("comm"), Some(workload.name.as_str()));
    assert!(lost.field("exit").is_some());
    // Each life counts from its own zero, its last sample included, and no sample mixes two.
    let select = Select {
        modules: Some(vec!["counting".into()]),
        ..Select::all()
    };
    let rows: Vec<(u32, Option<u64>)> = snapshot
        .rows(&select)
        .map(|row| row.expect("sound"))
        .map(|row| (row.epoch, row.values().word(0)))
        .collect();
    let of = |epoch| {
        rows.iter()
            .filter(|row| row.0 == epoch)
            .map(|row| row.1)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(1), [], "no rows without a target");
    assert_eq!(of(2), [Some(0), Some(1), Some(2)], "found, asked for, lost");
    assert_eq!(of(3), [Some(0), Some(1)], "found, stopped");
    let followed = FOLLOWED.lock().expect("sound").clone();
    assert_eq!(followed, [Some(first.id()), None, Some(second.id())]);
}

#[test]
fn samples_keep_to_the_schedule_and_share_their_stamp() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("box.ktm");
    let running = Running::start(&file, "no-such-process-anywhere", "100ms");
    std::thread::sleep(Duration::from_millis(1050));
    running.requests.stop("SIGINT");
    running.thread.join().expect("no panic");
    let snapshot = Recording::open(&file)
        .expect("ours")
        .snapshot()
        .expect("readable");
    let stamps: Vec<u64> = snapshot
        .rows(&Select::all())
        .map(|row| row.expect("sound").stamp.boottime_ns)
        .collect();
    // Eleven on time and one at the end; under load the recorder may have said that it was held up.
    let is_held_up = snapshot
        .events()
        .iter()
        .any(|event| matches!(event.event.kind.as_str(), "gap" | "late"));
    assert!(stamps.len() == 12 || is_held_up, "{} samples", stamps.len());
    for pair in stamps.windows(2).take(10).filter(|_| !is_held_up) {
        let apart = (pair[1] - pair[0]) / 1_000_000;
        assert!((40..=160).contains(&apart), "{apart} ms apart");
    }
}
