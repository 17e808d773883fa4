//! Starting `ktm-recorder`, asking it, ending it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::dump::{self, without_settings};
use crate::folder::Folder;
use crate::http;
use crate::programs;
use crate::table::Table;
use crate::wait::until;

/// How to start a recorder.
#[derive(Clone, Debug)]
pub struct Recorder {
    folder: PathBuf,
    file: PathBuf,
    address: String,
    interval: String,
    size: String,
    arguments: Vec<OsString>,
    wrapper: Vec<OsString>,
}

impl Recorder {
    /// One that records into `box.ktm` of the folder, every second, and answers on loopback.
    pub fn new(folder: &Folder) -> Recorder {
        Recorder {
            folder: folder.path().to_owned(),
            file: folder.join("box.ktm"),
            address: "127.0.0.1:0".to_owned(),
            interval: "1s".to_owned(),
            size: "16MiB".to_owned(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// With further arguments.
    pub fn arguments<I: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = I>) -> Recorder {
        self.arguments.extend(
            more.into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Started by another program, which gets the recorder's command line behind its own.
    pub fn wrapped<I: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = I>) -> Recorder {
        self.wrapper = wrapper
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Into another file.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Recorder {
        self.file = path.into();
        self
    }

    /// At another interval.
    pub fn interval(mut self, interval: impl Into<String>) -> Recorder {
        self.interval = interval.into();
        self
    }

    /// Into a file of another size.
    pub fn size(mut self, size: impl Into<String>) -> Recorder {
        self.size = size.into();
        self
    }

    /// On another address.
    pub fn address(mut self, address: impl Into<String>) -> Recorder {
        self.address = address.into();
        self
    }

    /// Runs one that is expected to end by itself.
    pub fn run(&self) -> dump::Said {
        dump::run(&mut self.command())
    }

    /// Starts one.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self) -> Running {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.join(format!("recorder-{number}.log"));
        let stderr = File::create_new(&log).expect("a new log");
        let stdout = stderr.try_clone().expect("a second descriptor");
        let mut command = self.command();
        without_settings(&mut command)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child = command.spawn().expect("the recorder starts");
        Running {
            child,
            log,
            file: self.file.clone(),
            address: self.address.clone(),
        }
    }

    /// Starts one and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not, with what it said.
    pub fn start_and_wait(&self) -> Running {
        let mut running = self.start();
        running.address = until("the recorder to say where it listens", || {
            running.assert_alive();
            let said = running.said();
            let address = said.lines().find_map(|line| line.split_once("http://"));
            address.map(|(_, address)| address.to_owned()).ok_or(said)
        });
        until("the recorder to be healthy", || {
            running.assert_alive();
            match http::get(&running.address, "/health") {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}; it said: {}", running.said())),
            }
        });
        running
    }

    fn command(&self) -> Command {
        let recorder = programs::recorder().into_os_string();
        let mut words = self.wrapper.iter().cloned().chain([recorder]);
        let mut command = Command::new(words.next().expect("at least the recorder itself"));
        command
            .args(words)
            .arg("--file")
            .arg(&self.file)
            .args(["--listen", &self.address]);
        command
            .args(["--interval", &self.interval, "--size", &self.size])
            .args(&self.arguments);
        command
    }
}

/// A recorder that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    file: PathBuf,
    address: String,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its recording.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where it listens: empty if it was not waited for.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has said so far.
    ///
    /// # Panics
    ///
    /// When its log is gone.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is there and UTF-8")
    }

    /// Has it take a sample, and waits until one taken since then is told by HTTP. Returns all
    /// that was told: all of it is acknowledged.
    ///
    /// # Panics
    ///
    /// When no sample comes.
    pub fn sample_now(&mut self) -> Table {
        let asked = Timestamp::now().as_nanosecond();
        self.signal(Signal::USR1);
        until("a sample", || {
            self.assert_alive();
            let table = self.replay()?;
            match table.instants.last() {
                Some(last) if last.unix_ns >= asked => Ok(table),
                last => Err(format!(
                    "the last is {:?}",
                    last.map(|last| &last.timestamp)
                )),
            }
        })
    }

    /// Waits until its file holds so many samples.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn wait_for_samples(&mut self, samples: usize) {
        until("samples", || {
            self.assert_alive();
            match dump::readable(&self.file).instants.len() {
                found if found >= samples => Ok(()),
                found => Err(format!("{found}; it said: {}", self.said())),
            }
        });
    }

    /// All samples, as the recorder replays them.
    ///
    /// # Errors
    ///
    /// What it answers instead.
    pub fn replay(&self) -> Result<Table, String> {
        let answer = http::get(&self.address, "/api/v1/replay?format=csv")?;
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        Table::parse(&answer.body)
    }

    /// The events recorded so far, as the recorder replays them.
    ///
    /// # Errors
    ///
    /// What it answers instead.
    pub fn events(&self) -> Result<Vec<Value>, String> {
        let answer = http::get(&self.address, "/api/v1/events")?;
        match serde_json::from_str(&answer.body) {
            Ok(Value::Array(events)) if answer.status == 200 => Ok(events),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Waits for an event and returns it.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn wait_for_event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            self.assert_alive();
            let events = self.events()?;
            let found = events.iter().rev().find(|event| wanted(event)).cloned();
            found.ok_or_else(|| format!("so far: {events:#?}; it said: {}", self.said()))
        })
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("the recorder can be signalled");
    }

    /// Ends it cleanly: SIGTERM.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn wait(mut self) -> ExitStatus {
        let log = self.log.clone();
        until("the recorder to end", || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            ended.ok_or_else(|| std::fs::read_to_string(&log).unwrap_or_default())
        })
    }

    /// Ends it as a crash would: SIGKILL.
    ///
    /// # Panics
    ///
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// True once it has ended, by itself or not.
    ///
    /// # Panics
    ///
    /// When nobody can tell.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait();
        ended.expect("a child can be asked").is_some()
    }

    /// It has not ended.
    ///
    /// # Panics
    ///
    /// When it has, with what it said.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(
            ended.is_none(),
            "the recorder ended, {ended:?}, and said:\n{}",
            self.said()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
