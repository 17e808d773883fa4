//! Recording begins at once, whether there is a target or not.

use ktm_tests::folder::Folder;
use ktm_tests::recorder::Recorder;
use ktm_tests::wait::until;
use ktm_tests::workload::Job;
use ktm_tests::{dump, environment};

/// The promise: recording begins within this of the process starting.
const PROMISE_NS: i128 = 1_000_000_000;

/// When a process started, by the wall clock.
fn started_at(pid: u32) -> i128 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The second field may contain anything; the 22nd is the 20th behind its closing parenthesis.
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = rest.split_whitespace().nth(19).expect("a start time");
    let ticks: i128 = ticks.parse().expect("a number");
    // SAFETY: takes no pointer.
    let per_second = i128::from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) });
    let boot = now(rustix::time::ClockId::Boottime);
    let wall = now(rustix::time::ClockId::Realtime);
    wall - boot + ticks * 1_000_000_000 / per_second
}

fn now(clock: rustix::time::ClockId) -> i128 {
    let now = rustix::time::clock_gettime(clock);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// Starts a recorder and returns how long after its start the first sample with this series was
/// taken, by the times it recorded.
fn delay_of(recorder: &Recorder, series: &str) -> i128 {
    let running = recorder.start();
    let started = started_at(running.pid());
    let first = until("a first sample", || {
        let said = dump::dump(running.file(), ["-o", "csv"]);
        let table = ktm_tests::table::Table::parse(&said.stdout)?;
        let mut with = table
            .instants
            .iter()
            .filter(|one| one.values.contains_key(series));
        with.next()
            .map(|one| one.unix_ns)
            .ok_or_else(|| format!("{said:?}; {}", running.said()))
    });
    first - started
}

#[test]
fn without_a_target_the_first_sample_is_taken_within_a_second() {
    let folder = Folder::new();
    let recorder = Recorder::new(&folder)
        .interval("10s")
        .arguments(["--target-comm", "no-such-process"]);
    let delay = delay_of(&recorder, "ktm_samples_total");
    assert!((0..PROMISE_NS).contains(&delay), "{delay} ns");
}

#[test]
fn with_a_target_running_its_counters_are_in_the_first_second() {
    if let Some(why) = environment::bpf_is_refused() {
        return environment::skip("counting from the first second", &why);
    }
    let folder = Folder::new();
    let job = Job::new(&folder, "ktm-first-sec");
    let target = job.start();
    let pid = target.pid().to_string();
    let recorder = Recorder::new(&folder)
        .interval("10s")
        .arguments(["--target-pid", pid.as_str()]);
    let delay = delay_of(&recorder, "ktm_fadvise_calls_total");
    assert!((0..PROMISE_NS).contains(&delay), "{delay} ns");
}

#[test]
fn an_existing_recording_is_taken_up_within_a_second() {
    let folder = Folder::new();
    let recorder = Recorder::new(&folder).arguments(["--target-comm", "no-such-process"]);
    let mut running = recorder.start_and_wait();
    running.sample_now();
    running.kill();
    let before = dump::table(&folder.join("box.ktm")).instants.len();

    let running = recorder.start();
    let started = started_at(running.pid());
    let first = until("a first sample of the second run", || {
        let table = dump::table(running.file());
        table
            .instants
            .get(before)
            .map(|one| one.unix_ns)
            .ok_or_else(|| running.said())
    });
    assert!(
        (0..PROMISE_NS).contains(&(first - started)),
        "{} ns",
        first - started
    );
}
