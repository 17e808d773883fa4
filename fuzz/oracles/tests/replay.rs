//! The corpus, past crashes and inputs made up on the spot, through every oracle; and every planted
//! bug, which has to be found.
//!
//! `SEED=n INPUTS=n cargo test -p ktm-fuzz` repeats a run, or makes it longer.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ktm_fuzz::{TARGETS, Target, Verdict};
use ktm_simulation::Random;

/// A planted bug has to be found within so many inputs.
const PATIENCE: u64 = 20_000;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a target says of an input, a panic included.
fn verdict(check: fn(&[u8]) -> Verdict, input: &[u8]) -> Verdict {
    let input = input.to_vec();
    catch_unwind(move || check(&input)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// An input made up of a seed: short ones mostly, and a first byte of every kind.
fn input(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let longest = [16, 64, 256, 1024][random.below(4) as usize];
    let length = random.below(longest) as usize + 1;
    random.bytes(length)
}

fn stored(folder: &str, target: &Target) -> Vec<PathBuf> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let folder = fuzz.expect("fuzz/").join(folder).join(target.name);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target");
    let mut stored = [stored("corpus", target), stored("regressions", target)].concat();
    assert!(!stored.is_empty(), "{name} has a corpus");
    for file in stored.drain(..) {
        let bytes = fs::read(&file).expect("readable");
        let said = verdict(target.check, &bytes);
        assert_eq!(said, Ok(()), "{}", file.display());
    }
    let first = setting("SEED", 1);
    for seed in first..first.saturating_add(setting("INPUTS", 200)) {
        let said = verdict(target.check, &input(seed));
        assert_eq!(said, Ok(()), "{name}: SEED={seed} INPUTS=1");
    }
    for twin in target.twins {
        let caught = (1..=PATIENCE).find_map(|seed| {
            let broken = verdict(twin.check, &input(seed)).err()?;
            Some((seed, broken))
        });
        let (inputs, broken) = caught.unwrap_or_else(|| panic!("{name}: not found: {}", twin.bug));
        let broken: String = broken.chars().take(100).collect();
        println!(
            "{name}: found after {inputs} inputs: {}: {broken}",
            twin.bug
        );
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name).as_slice(), replayed);
        }
    };
}

targets! {
    any_bytes
    file
    codec
    operations
    power_cut
    schema
    time_range
    csv_import
    http_query
}
