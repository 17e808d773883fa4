//! A process is recorded through its own death and the recorder's, and played back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use ktm_tests::check::{
    Expected, all_kept, counters_never_fall, equal, expected_calls, expected_pages, times_increase,
};
use ktm_tests::folder::Folder;
use ktm_tests::recorder::{Recorder, Running};
use ktm_tests::table::{Instant, Table};
use ktm_tests::wait::until;
use ktm_tests::work::{Burst, Counts, Plan};
use ktm_tests::workload::{Job, Workload};
use ktm_tests::{dump, environment};
use serde_json::Value;

/// The name the recorder looks for by default.
const TARGET: &str = "banyand";
const FOREIGNER: &str = "bystander";

/// Every number in a plan differs from every other, so that no two counters can be mistaken.
fn first_work() -> Plan {
    Plan {
        advised: [11, 12, 13, 14, 15, 16],
        advised_closed: [1, 2, 3, 4, 5, 6],
        advised_invalid: 21,
        reads: vec![
            Burst { calls: 31, size: 1 },
            Burst {
                calls: 32,
                size: 70_000,
            },
        ],
        preads: vec![
            Burst {
                calls: 410,
                size: 4096,
            },
            Burst {
                calls: 420,
                size: 100,
            },
        ],
        writes: vec![
            Burst {
                calls: 51,
                size: 333,
            },
            Burst {
                calls: 52,
                size: 8192,
            },
        ],
        pwrites: vec![Burst {
            calls: 61,
            size: 4095,
        }],
        fsyncs: 7,
        fdatasyncs: 9,
        failing: 10,
        again: 17,
        cold_passes: 2,
        random_pages: 0,
    }
}

fn second_work() -> Plan {
    Plan {
        advised: [0, 0, 0, 0, 1003, 0],
        preads: vec![
            Burst {
                calls: 2011,
                size: 512,
            },
            Burst {
                calls: 2012,
                size: 1024,
            },
        ],
        random_pages: 65,
        ..Plan::default()
    }
}

fn work_while_nobody_records() -> Plan {
    Plan {
        reads: vec![Burst {
            calls: 501,
            size: 64,
        }],
        advised_invalid: 502,
        ..Plan::default()
    }
}

fn last_work() -> Plan {
    Plan {
        fsyncs: 3,
        cold_passes: 1,
        ..first_work()
    }
}

/// The story that is recorded.
struct Story {
    recorder: Recorder,
    target: Job,
    foreigner: Workload,
    /// All that the recorder ever told.
    seen: Table,
    /// Process ids of the target's two lives.
    pids: Vec<u32>,
    /// What each life did while the recorder was there.
    done: Vec<Counts>,
}

impl Story {
    /// The target and the foreigner do the same at the same time; what the target counted is
    /// returned when both are done.
    fn work(&mut self, target: &mut Workload, plan: &Plan) -> Counts {
        self.foreigner.begin(plan);
        target.begin(plan);
        self.foreigner.finish();
        target.finish()
    }

    fn start_target(&mut self, recorder: &mut Running) -> Workload {
        let target = self.target.start();
        self.pids.push(target.pid());
        wait_for_target(recorder, target.pid());
        target
    }

    /// Takes a sample and remembers everything told: all of it is acknowledged.
    fn sample(&mut self, recorder: &mut Running) {
        let told = recorder.sample_now();
        all_kept(&self.seen, &told).unwrap_or_else(|why| panic!("told before, not now: {why}"));
        self.seen = told;
    }

    fn tell(folder: &Folder) -> Story {
        let mut story = Story {
            recorder: Recorder::new(folder),
            target: Job::new(folder, TARGET),
            foreigner: Job::new(folder, FOREIGNER).start(),
            seen: Table::default(),
            pids: Vec::new(),
            done: Vec::new(),
        };
        story.run();
        story
    }

    /// First life, second life, the recorder's death, and the rest.
    fn run(&mut self) {
        let mut recorder = self.recorder.start_and_wait();
        recorder.wait_for_event("the wait for a target", |event| {
            event["kind"] == "target_wait"
        });

        let mut target = self.start_target(&mut recorder);
        let counts = self.work(&mut target, &first_work());
        self.done.push(counts);
        self.sample(&mut recorder);
        target.kill();
        wait_for_end(&mut recorder, self.pids[0]);

        let mut target = self.start_target(&mut recorder);
        let counts = self.work(&mut target, &second_work());
        self.done.push(counts);
        self.sample(&mut recorder);
        recorder.kill();

        self.work(&mut target, &work_while_nobody_records());
        let mut recorder = self.recorder.start_and_wait();
        wait_for_target(&mut recorder, target.pid());
        let counts = self.work(&mut target, &last_work());
        self.done.push(counts);
        self.sample(&mut recorder);
        target.kill();
        wait_for_end(&mut recorder, self.pids[1]);
        let status = recorder.terminate();
        assert!(status.success(), "{status}");
    }
}

fn wait_for_target(recorder: &mut Running, pid: u32) {
    let is_found = |event: &Value| {
        matches!(
            event["kind"].as_str(),
            Some("target_found" | "target_restarted")
        ) && field(event, "pid") == pid.to_string()
    };
    recorder.wait_for_event("the target to be found", is_found);
}

fn wait_for_end(recorder: &mut Running, pid: u32) {
    let is_lost =
        |event: &Value| event["kind"] == "target_lost" && field(event, "pid") == pid.to_string();
    let event = recorder.wait_for_event("the target's end to be noticed", is_lost);
    let exit = field(&event, "exit");
    assert!(
        exit == "killed by SIGKILL" || exit.starts_with("unknown: "),
        "{event}"
    );
}

fn field<'a>(event: &'a Value, name: &str) -> &'a str {
    event["fields"][name].as_str().unwrap_or_default()
}

/// Only one test at a time may have a process of the name that recorders look for, and nobody else.
fn alone_with_the_name() -> File {
    let path = std::env::temp_dir().join("ktm-tests-banyand.lock");
    let lock = File::create(path).expect("a lock file");
    lock.lock().expect("a lock");
    until(
        "other processes of that name to end",
        || match others_named(TARGET) {
            others if others.is_empty() => Ok(()),
            others => Err(format!("{others:?}")),
        },
    );
    lock
}

/// The processes whose comm or executable has this in its name.
fn others_named(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names = Vec::new();
    for folder in folders {
        let comm = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let exe = std::fs::read_link(folder.join("exe")).unwrap_or_default();
        let exe = exe
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if comm.contains(name) || exe.is_some_and(|exe| exe.contains(name)) {
            names.push(format!("{} {}", folder.display(), comm.trim()));
        }
    }
    names
}

#[test]
fn deaths_of_target_and_recorder_lose_no_sample_and_no_count() {
    if let Some(why) = environment::bpf_is_refused() {
        return environment::skip("recording a real process", &why);
    }
    let _alone = alone_with_the_name();
    let mut last = String::new();
    for attempt in 1..=5 {
        let folder = Folder::new();
        if environment::is_in_memory(folder.path()) {
            return environment::skip("recording a real process", "the build folder is in memory");
        }
        let reclaimed = environment::reclaim_by_others();
        let story = Story::tell(&folder);
        match check(&story, &folder.join("box.ktm")) {
            Verdict::Sound => return,
            // No count of pages is exact where somebody else takes pages away.
            Verdict::PagesDiffer(why) if environment::is_reclaimed_since(&reclaimed) => {
                last = format!("attempt {attempt}, pages were reclaimed meanwhile: {why}");
            }
            Verdict::PagesDiffer(why) => panic!("{why}"),
            Verdict::Stranger => last = format!("attempt {attempt}: another {TARGET} was found"),
        }
        note(&last);
    }
    panic!("{last}");
}

/// Says something that the test runner does not swallow.
fn note(what: &str) {
    let _ = writeln!(std::io::stderr(), "NOTE: {what}");
}

enum Verdict {
    Sound,
    /// All is as it must be, but for the number of pages.
    PagesDiffer(String),
    /// The recorder followed a process that is not ours, as it should: it has the name.
    Stranger,
}

fn check(story: &Story, file: &Path) -> Verdict {
    let events = dump::events(file).expect("events");
    if has_stranger(&events, &story.pids) {
        return Verdict::Stranger;
    }
    let table = dump::table(file);
    let judged = judge(story, &table);
    judged.unwrap_or_else(|why| panic!("{why}\n{}", dump::dump(file, ["events"]).stdout));
    check_runs(&dump::runs(file).expect("runs"), &story.pids);
    check_events(&events, &story.pids);
    check_that_lies_are_noticed(story, &table);
    match compare(&table, &story.done, expected_pages) {
        Ok(()) => Verdict::Sound,
        Err(why) => Verdict::PagesDiffer(why),
    }
}

fn has_stranger(events: &[Value], pids: &[u32]) -> bool {
    let is_ours = |event: &Value| {
        pids.iter()
            .any(|pid| field(event, "pid") == pid.to_string())
    };
    let found = |event: &&Value| {
        matches!(
            event["kind"].as_str(),
            Some("target_found" | "target_restarted")
        )
    };
    !events.iter().filter(found).all(is_ours)
}

/// Each of these is a lie that the comparison must not believe.
fn check_that_lies_are_noticed(story: &Story, table: &Table) {
    let mut lie = table.clone();
    lie.instants.remove(story.seen.instants.len() - 1);
    judge(story, &lie).expect_err("an acknowledged sample is missing");
    for life in 0..story.done.len() {
        let mut done = story.done.clone();
        done[life].pread.calls += 1;
        compare(table, &done, expected_calls).expect_err("one call more than was recorded");
        let mut done = story.done.clone();
        done[life].fadvise[4][0] -= 1;
        compare(table, &done, expected_calls).expect_err("one call fewer than was recorded");
    }
}

/// Compares everything the reader gave with everything that is known, but for the pages.
fn judge(story: &Story, table: &Table) -> Result<(), String> {
    all_kept(&story.seen, table)?;
    times_increase(table)?;
    counters_never_fall(table)?;
    compare(table, &story.done, expected_calls)
}

/// Compares the last counters of every life with what was done in it.
fn compare(
    table: &Table,
    done: &[Counts],
    expected: fn(&Counts) -> BTreeMap<String, Expected>,
) -> Result<(), String> {
    let lives = last_of_each_life(table);
    if lives.len() != done.len() {
        return Err(format!("{} lives instead of {}", lives.len(), done.len()));
    }
    for (index, (last, counts)) in lives.iter().zip(done).enumerate() {
        let at = format!("life {index}, epoch {}", last.epoch);
        equal(last, expected(counts)).map_err(|why| format!("{at}:\n{why}"))?;
    }
    Ok(())
}

/// The last instant of every epoch in which the target was counted.
fn last_of_each_life(table: &Table) -> Vec<&Instant> {
    let mut lives: Vec<&Instant> = Vec::new();
    let counted = |instant: &&Instant| instant.values.contains_key("ktm_fadvise_calls_total");
    for instant in table.instants.iter().filter(counted) {
        match lives.last_mut() {
            Some(last) if last.epoch == instant.epoch => *last = instant,
            _ => lives.push(instant),
        }
    }
    lives
}

/// Two runs, the first killed with its target alive, the second ended cleanly.
fn check_runs(runs: &[Value], pids: &[u32]) {
    let ends: Vec<&str> = runs.iter().filter_map(|run| run["end"].as_str()).collect();
    assert_eq!(ends, ["unclean", "clean"], "{runs:#?}");
    let targets = |run: &Value| -> Vec<String> {
        let targets = run["targets"].as_array().expect("targets");
        targets
            .iter()
            .filter_map(|target| target["pid"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let [first, second] = [pids[0].to_string(), pids[1].to_string()];
    assert_eq!(targets(&runs[0]), [first, second.clone()], "{runs:#?}");
    assert_eq!(targets(&runs[1]), [second], "{runs:#?}");
}

/// The events in their order, without those that depend on the machine's speed.
fn check_events(events: &[Value], pids: &[u32]) {
    let told = |event: &Value| match event["kind"].as_str().expect("a kind") {
        kind @ ("start" | "stop" | "unclean_end" | "target_wait") => Some(kind.to_owned()),
        kind if kind.starts_with("target_") => Some(format!("{kind} {}", field(event, "pid"))),
        _ => None,
    };
    let told: Vec<String> = events.iter().filter_map(told).collect();
    let [first, second] = [pids[0], pids[1]];
    assert_eq!(
        told,
        [
            "start".to_owned(),
            "target_wait".to_owned(),
            format!("target_found {first}"),
            format!("target_lost {first}"),
            format!("target_restarted {second}"),
            "start".to_owned(),
            "unclean_end".to_owned(),
            format!("target_found {second}"),
            format!("target_lost {second}"),
            "stop".to_owned(),
        ],
        "{events:#?}"
    );
    let starts = events.iter().filter(|event| event["kind"] == "start");
    let previous: Vec<&str> = starts.map(|start| field(start, "previous")).collect();
    assert_eq!(previous, ["none", "unclean"], "the recorder's restart");
    let restarted = events
        .iter()
        .find(|event| event["kind"] == "target_restarted");
    let restarted = restarted.expect("checked above");
    assert_eq!(
        field(restarted, "old_pid"),
        first.to_string(),
        "the target's restart"
    );
    let gap = events
        .iter()
        .find(|event| event["kind"] == "gap")
        .expect("a gap");
    assert_eq!(field(gap, "reason"), "recorder was not running");
}
