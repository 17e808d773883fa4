//! Every row of the table "What it finds" in docs/operations.md, held against the recorder.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ktm_tests::environment;
use ktm_tests::folder::Folder;
use ktm_tests::outcome::outcome;
use ktm_tests::recorder::{Recorder, Running};
use rustix::fs::{CWD, FileType, Mode, mkfifoat, mknodat};

const SIZE: u64 = 1 << 20;
const SUPERBLOCKS: [u64; 2] = [0, 32_768];

/// What a recorder is started on.
struct Scene {
    folder: Folder,
    /// What it is told.
    file: PathBuf,
    /// Where that leads.
    place: PathBuf,
    recorder: Recorder,
    /// Another recorder, or a lock.
    other: Option<Running>,
    lock: Option<File>,
    /// Why this cannot be made here.
    impossible: Option<String>,
}

impl Scene {
    fn new() -> Scene {
        let folder = Folder::new();
        fs::create_dir(folder.join("box")).expect("a folder");
        let file = folder.join("box/box.ktm");
        Scene {
            recorder: recorder(&folder).file(&file),
            place: file.clone(),
            file,
            folder,
            other: None,
            lock: None,
            impossible: None,
        }
    }

    /// Told another name, which leads to the same place.
    fn told(&mut self, name: &str) {
        self.file = self.folder.join(name);
        self.recorder = recorder(&self.folder).file(&self.file);
    }

    fn write(&self, bytes: impl AsRef<[u8]>) {
        fs::write(&self.place, bytes).expect("written");
    }

    /// A sound recording, changed.
    fn spoil(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = sound().to_vec();
        change(&mut bytes);
        self.write(bytes);
    }

    fn wrap(&mut self, words: &[&str]) {
        if environment::find(words[0]).is_none() {
            self.impossible = Some(format!("{} is not installed", words[0]));
        }
        self.recorder = self.recorder.clone().wrapped(words);
    }

    /// Without what lets root write what it may not.
    fn without_privilege(&mut self) {
        if rustix::process::geteuid().is_root() {
            let capability = "-dac_override";
            let inherited = format!("--inh-caps={capability}");
            self.wrap(&[
                "setpriv",
                &inherited,
                &format!("--bounding-set={capability}"),
            ]);
        }
    }
}

fn recorder(folder: &Folder) -> Recorder {
    Recorder::new(folder)
        .address("none")
        .size(SIZE.to_string())
        .arguments(["--target-comm", "no-such-process"])
}

/// A recording of a few samples, of a run that ended.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = Folder::new();
        let mut running = recorder(&folder).start();
        let file = folder.join("box.ktm");
        running.wait_for_samples(2);
        assert!(running.terminate().success());
        fs::read(file).expect("recorded")
    })
}

/// A row of the table, and how to make what it speaks of.
type Row = (&'static str, fn(&mut Scene));

const FOUND: [Row; 28] = [
    ("nothing", |_| {}),
    ("nothing, not even the folder", |scene| {
        fs::remove_dir(scene.folder.join("box")).expect("removed");
    }),
    ("a link to where nothing is", |scene| {
        scene.told("link");
        symlink("box/box.ktm", &scene.file).expect("linked");
    }),
    ("nothing, beside it what a killed creation left", |scene| {
        let left = scene.folder.join("box/box.ktm.creating-1");
        fs::write(left, [0; 4096]).expect("written");
    }),
    ("a recording", |scene| scene.write(sound())),
    ("a recording of another size than asked for", |scene| {
        scene.write(sound());
        scene.recorder = scene.recorder.clone().size("2MiB");
    }),
    ("a link to a recording", |scene| {
        scene.write(sound());
        scene.told("link");
        symlink(&scene.place, &scene.file).expect("linked");
    }),
    ("a recording with one superblock damaged", |scene| {
        scene.spoil(|bytes| bytes[40] ^= 1);
    }),
    ("a recording with segments damaged", |scene| {
        // A hot one that is in use, in the middle of its records, and a cold one.
        scene.spoil(|bytes| {
            bytes[65_536 + 1000..65_536 + 1100].fill(0xee);
            bytes[65_536 * 6..65_536 * 7].fill(0xee);
        });
    }),
    ("a recording with bytes behind its end", |scene| {
        scene.spoil(|bytes| bytes.extend([7; 5000]));
    }),
    ("a recording with holes", write_with_holes),
    ("an empty file", |scene| scene.write("")),
    ("a file of zeros", |scene| {
        scene.spoil(|bytes| bytes.fill(0));
    }),
    ("another kind of file", |scene| {
        scene.write("dear diary\n".repeat(20_000));
    }),
    ("a link to another kind of file", |scene| {
        scene.write("dear diary\n");
        scene.told("link");
        symlink(&scene.place, &scene.file).expect("linked");
    }),
    ("a recording of a later version", |scene| {
        scene.spoil(|bytes| later_version(bytes));
    }),
    ("a recording with both superblocks damaged", |scene| {
        scene.spoil(|bytes| {
            SUPERBLOCKS
                .iter()
                .for_each(|at| bytes[*at as usize + 40] ^= 1)
        });
    }),
    ("a recording that was cut short", |scene| {
        scene.spoil(|bytes| bytes.truncate(SIZE as usize - 1));
    }),
    ("a file that the disk does not give back", unreadable),
    ("a recording that another recorder writes", |scene| {
        let mut other = scene.recorder.start();
        other.wait_for_samples(1);
        scene.other = Some(other);
        scene.recorder = scene.recorder.clone().interval("10m");
    }),
    ("another kind of file that somebody has locked", |scene| {
        scene.write("dear diary\n");
        let file = File::open(&scene.place).expect("there");
        file.lock().expect("locked");
        scene.lock = Some(file);
    }),
    ("a recording that it may not write", |scene| {
        scene.write(sound());
        fs::set_permissions(&scene.place, Permissions::from_mode(0o444)).expect("ours");
        scene.without_privilege();
    }),
    ("nothing, in a folder that it may not write", |scene| {
        let folder = scene.folder.join("box");
        fs::set_permissions(folder, Permissions::from_mode(0o555)).expect("ours");
        scene.without_privilege();
    }),
    ("nothing, on a disk without room for all of it", |scene| {
        scene.recorder = scene.recorder.clone().size("1TiB");
        let disk = rustix::fs::statvfs(scene.folder.path()).expect("a file system");
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= 1 << 40 {
            let limited = "trap '' XFSZ; ulimit -f 10000; exec \"$@\"";
            scene.wrap(&["sh", "-c", limited, "sh"]);
        }
    }),
    ("a directory", |scene| {
        fs::create_dir(&scene.place).expect("made");
    }),
    ("a named pipe", |scene| {
        mkfifoat(CWD, &scene.place, Mode::RUSR | Mode::WUSR).expect("made");
    }),
    ("a device", |scene| {
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::RUSR | Mode::WUSR;
        // Where nobody may make one, nobody may harm one either.
        if mknodat(CWD, &scene.place, FileType::CharacterDevice, mode, device).is_err() {
            symlink("/dev/null", &scene.place).expect("linked");
        }
    }),
    ("a link to itself", |scene| {
        symlink(&scene.place, &scene.place).expect("linked");
    }),
];

fn write_with_holes(scene: &mut Scene) {
    let file = File::create(&scene.place).expect("created");
    file.set_len(SIZE).expect("one hole");
    for (index, page) in sound().chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, index as u64 * 4096)
                .expect("written");
        }
    }
}

fn later_version(bytes: &mut [u8]) {
    for at in SUPERBLOCKS {
        let copy = &mut bytes[at as usize..at as usize + 256];
        copy[8] = 2;
        copy[12..16].fill(0);
        let crc = crc32fast::hash(copy);
        copy[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The first readings of it fail, which are those of the superblocks, for counting and for writing.
fn unreadable(scene: &mut Scene) {
    scene.write(sound());
    let place = scene.place.display().to_string();
    let inject = "inject=pread64:error=EIO:when=1..4";
    let quiet = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-P", &place];
    scene.wrap(&[&quiet[..], &["-e", "trace=pread64", "-e", inject]].concat());
}

/// The rows of the table in the manual.
fn documented() -> BTreeMap<String, String> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let manual = fs::read_to_string(manual).expect("the manual");
    let (_, rest) = manual
        .split_once("\n## What it finds\n")
        .expect("the table");
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].to_owned(), cells[2].to_owned())
    })
    .collect()
}

/// Each case by itself, a few at a time.
fn for_each_found(check: impl Fn(&str, &mut Scene) + Sync) {
    sound();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((name, make)) = FOUND.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut scene = Scene::new();
                    make(&mut scene);
                    match scene.impossible.take() {
                        None => check(name, &mut scene),
                        Some(why) => environment::skip(name, &why),
                    }
                }
            });
        }
    });
}

#[test]
fn the_recorder_does_what_the_table_says_and_the_table_says_everything() {
    let documented = documented();
    let names: Vec<&str> = FOUND.iter().map(|(name, _)| *name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(documented.keys().collect::<Vec<_>>(), sorted);
    for_each_found(|name, scene| {
        let found = outcome(&scene.recorder, &scene.place, scene.other.is_some())
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(found.what, documented[name], "{name}");
    });
}

/// The judgement itself notices a row that was lost and a file that was not kept as it was.
#[test]
fn a_loss_in_what_was_there_is_noticed() {
    for (name, spoiling) in [
        // The rows go while the recorder starts.
        ("a recording", "dd if=/dev/zero bs=4096 seek=16 count=64"),
        // What is to be set aside is changed.
        (
            "another kind of file",
            "dd if=/dev/zero bs=1 seek=10 count=1",
        ),
    ] {
        let (_, make) = FOUND
            .iter()
            .find(|(found, _)| *found == name)
            .expect("there");
        let mut scene = Scene::new();
        make(&mut scene);
        let place = scene.place.display();
        let command = format!("{spoiling} conv=notrunc 2>/dev/null of={place}; exec \"$@\"");
        scene.wrap(&["sh", "-c", &command, "sh"]);
        let found = outcome(&scene.recorder, &scene.place, false);
        assert!(found.is_err(), "{name}: {found:?}");
    }
}
