//! Finding, losing and replacing a target among real processes.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ktm::{Discovery, Exit, Matcher, Observation};

/// A copy of `sleep` under a name of its own, so that no other process of the machine matches.
fn named_sleep(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let copy = folder.join(name);
    std::fs::copy("/bin/sleep", &copy).expect("sleep can be copied");
    copy
}

fn start(program: &std::path::Path) -> Child {
    spawn(Command::new(program).arg("60"))
}

/// Starts a program that was just written. While another test's child has not yet become its own
/// program it still holds the file open for writing.
fn spawn(command: &mut Command) -> Child {
    loop {
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result.expect("it starts"),
        }
    }
}

/// Polls until something has happened. A process is not yet what it is to be right after its start.
fn poll_for_news(discovery: &mut Discovery) -> Observation {
    let start = Instant::now();
    loop {
        match discovery.poll() {
            Observation::Waiting | Observation::Same if start.elapsed().as_secs() < 10 => {
                std::thread::sleep(Duration::from_millis(5));
            }
            news => return news,
        }
    }
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: a child that was not waited for still has its pid.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

#[test]
fn a_target_is_found_followed_lost_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = named_sleep(folder.path(), "ktmtest-life");
    let mut discovery = Discovery::new(Matcher::Comm("ktmtest-life".into()));
    assert_eq!(discovery.poll(), Observation::Waiting);

    let mut child = start(&program);
    let Observation::Found(target) = poll_for_news(&mut discovery) else {
        panic!("not found")
    };
    assert_eq!(target.pid, child.id());
    assert_eq!(target.comm, "ktmtest-life");
    assert_eq!(target.exe.as_deref(), Some(program.as_path()));
    assert_eq!(target.matches, 1);
    assert_eq!(discovery.poll(), Observation::Same);
    assert_eq!(discovery.target(), Some(&target));

    kill(&child, libc::SIGKILL);
    let Observation::Lost { target: lost, exit } = poll_for_news(&mut discovery) else {
        panic!("not lost")
    };
    assert_eq!(lost, target);
    assert_eq!(
        exit,
        Exit::Signal {
            signal: libc::SIGKILL,
            core: false
        },
        "told by the zombie"
    );
    assert_eq!(discovery.target(), None);
    assert_eq!(
        discovery.poll(),
        Observation::Waiting,
        "a zombie is no target"
    );
    child.wait().expect("it was there");

    let mut again = start(&program);
    let Observation::Found(target) = poll_for_news(&mut discovery) else {
        panic!("not found")
    };
    assert_eq!(target.pid, again.id());
    again.kill().expect("it runs");
    again.wait().expect("it was there");
}

#[test]
fn a_target_that_was_waited_for_still_tells_how_it_ended() {
    let mut discovery = Discovery::new(Matcher::Comm("ktmtest-code".into()));
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("ktmtest-code");
    std::fs::copy("/bin/sh", &program).expect("sh can be copied");
    let mut child = spawn(
        Command::new(&program)
            .args(["-c", "read x; exit 3"])
            .stdin(std::process::Stdio::piped()),
    );
    assert!(matches!(
        poll_for_news(&mut discovery),
        Observation::Found(_)
    ));
    drop(child.stdin.take());
    let status = child.wait().expect("it was there");
    assert_eq!((status.code(), status.signal()), (Some(3), None));
    let Observation::Lost { exit, .. } = poll_for_news(&mut discovery) else {
        panic!("not lost")
    };
    match exit {
        Exit::Code(code) => assert_eq!(code, 3),
        Exit::Unknown(why) => println!("SKIPPED: this kernel forgets: {why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_running_match_is_chosen_and_the_next_follows_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = named_sleep(folder.path(), "ktmtest-two");
    let mut first = start(&program);
    // Start times have the resolution of a clock tick.
    std::thread::sleep(Duration::from_millis(50));
    let mut second = start(&program);
    std::thread::sleep(Duration::from_millis(50));

    let matcher = Matcher::comm_regex("^ktmtest-tw").expect("compiles");
    let mut discovery = Discovery::new(matcher);
    let Observation::Found(target) = poll_for_news(&mut discovery) else {
        panic!("not found")
    };
    assert_eq!((target.pid, target.matches), (first.id(), 2));

    first.kill().expect("it runs");
    first.wait().expect("it was there");
    let Observation::Replaced { old, new, .. } = poll_for_news(&mut discovery) else {
        panic!("not replaced")
    };
    assert_eq!(
        (old.pid, new.pid, new.matches),
        (target.pid, second.id(), 1)
    );
    second.kill().expect("it runs");
    second.wait().expect("it was there");
}

#[test]
fn we_are_never_our_own_target() {
    let mut by_pid = Discovery::new(Matcher::Pid(std::process::id()));
    assert_eq!(by_pid.poll(), Observation::Waiting);
}

#[test]
fn kernel_threads_are_no_targets() {
    let mut discovery = Discovery::new(Matcher::comm_regex("^kthreadd$").expect("compiles"));
    assert_eq!(discovery.poll(), Observation::Waiting);
}
