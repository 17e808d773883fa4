//! Starting workloads and telling them what to do.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use crate::folder::Folder;
use crate::programs;
use crate::wait::until;
use crate::work::{COLD_FILE, Counts, EMPTY_FILE, PAGE, Plan, Request, WARM_FILE};

/// Pages of the file that is read cold.
pub const COLD_PAGES: u64 = 512;
const WARM_PAGES: u64 = 64;

/// A copy of the workload under a name of its own, with files of its own.
#[derive(Debug)]
pub struct Job {
    program: PathBuf,
    folder: PathBuf,
}

impl Job {
    /// Prepares everything that would leave traces of its own, so that the process does but its
    /// work: files are written and on the disk, names and inodes are cached.
    ///
    /// # Panics
    ///
    /// When the disk does not let us.
    pub fn new(folder: &Folder, name: &str) -> Job {
        let files = folder.join(format!("files-of-{name}"));
        std::fs::create_dir(&files).expect("a folder in the temporary folder");
        write_pages(&files.join(COLD_FILE), COLD_PAGES);
        write_pages(&files.join(WARM_FILE), WARM_PAGES);
        write_pages(&files.join(EMPTY_FILE), 0);
        // The comm of a process is the name of the file that was executed.
        let program = files.join(name);
        std::fs::copy(programs::workload(), &program).expect("a copy of the workload");
        Job {
            program,
            folder: files,
        }
    }

    /// Starts a process.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self) -> Workload {
        // Another test's thread may have forked while the copy was written; until its child runs
        // another program, somebody has this one open for writing.
        until("the workload to start", || {
            self.try_start().map_err(|error| error.to_string())
        })
    }

    fn try_start(&self) -> std::io::Result<Workload> {
        let (ours, theirs) = UnixStream::pair()?;
        let stdin: OwnedFd = theirs.try_clone()?.into();
        let stdout: OwnedFd = theirs.into();
        let mut command = Command::new(&self.program);
        command.arg(&self.folder).stdin(stdin).stdout(stdout);
        let child = command.spawn()?;
        Ok(Workload {
            child,
            replies: BufReader::new(ours),
        })
    }
}

fn write_pages(path: &Path, pages: u64) {
    let mut file = File::create_new(path).expect("a new file");
    let page = vec![0xa5; usize::try_from(PAGE).expect("a small number")];
    for _ in 0..pages {
        file.write_all(&page).expect("room on the disk");
    }
    file.sync_all().expect("a file that can be synced");
}

/// A workload that runs. Killed when dropped.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    replies: BufReader<UnixStream>,
}

impl Workload {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it what to do, without waiting for it.
    ///
    /// # Panics
    ///
    /// When it does not listen any more.
    pub fn begin(&mut self, plan: &Plan) {
        self.tell(&Request::Work(plan.clone()));
    }

    /// Waits for the work begun, and returns what was counted.
    ///
    /// # Panics
    ///
    /// When it ended instead of answering.
    pub fn finish(&mut self) -> Counts {
        let mut line = String::new();
        self.replies.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in answer {line:?}"))
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

    /// Has it exit with this status.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn exit(mut self, status: i32) -> ExitStatus {
        self.tell(&Request::Exit(status));
        self.child.wait().expect("a child can be waited for")
    }

    fn tell(&mut self, request: &Request) {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        self.replies
            .get_mut()
            .write_all(&line)
            .expect("the workload listens");
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
