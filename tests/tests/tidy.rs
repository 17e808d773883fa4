//! The tree itself: what a reader of it may rely on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ktm_tests::environment::skip;

const LONGEST_LINE: usize = 100;
const MOST_LINES: usize = 900;

/// A file of the tree.
struct File {
    /// Its name from the workspace on.
    name: String,
    /// Its path on this machine.
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn is(&self, extension: &str) -> bool {
        self.path
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// True for what people write, false for what programs write.
    fn is_written(&self) -> bool {
        let kinds = ["rs", "toml", "md", "yaml", "yml"];
        kinds.iter().any(|kind| self.is(kind)) || self.name == ".ci/run"
    }
}

fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package is a folder of the workspace")
        .to_owned()
}

/// The files that are or would be committed. Without git, nobody can tell.
fn tree() -> Option<Vec<File>> {
    let workspace = workspace();
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&workspace)
        .output();
    let Ok(output) = output.map(|output| output.stdout) else {
        skip("reading the tree", "git is not installed");
        return None;
    };
    let names = String::from_utf8(output).expect("names in UTF-8");
    let file = |name: &str| {
        let path = workspace.join(name);
        let bytes = fs::read(&path).ok()?;
        Some(File {
            name: name.to_owned(),
            path,
            bytes,
        })
    };
    let files: Vec<File> = names.split('\0').filter_map(file).collect();
    if files.is_empty() {
        skip("reading the tree", "this is no clone of the repository");
        return None;
    }
    Some(files)
}

/// Runs a check over every file and lists what it finds, with its place.
fn assert_none_found(check: impl Fn(&File) -> Vec<String>) {
    let Some(files) = tree() else { return };
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            check(file)
                .into_iter()
                .map(|what| format!("{}: {what}", file.name))
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn not_ascii(text: &str) -> Vec<String> {
    lines_where(text, |line| !line.is_ascii())
}

fn too_long(text: &str) -> Vec<String> {
    lines_where(text, |line| line.chars().count() > LONGEST_LINE)
}

/// Words that mean "not finished". Written so that this file does not contain them.
fn left_over(text: &str) -> Vec<String> {
    let words: [&str; 6] = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("dbg", "!("),
        concat!("to", "do!("),
        concat!("unimplemen", "ted!("),
    ];
    lines_where(text, |line| words.iter().any(|word| line.contains(word)))
}

/// Tests that do not run, without a reason.
fn ignored(text: &str) -> Vec<String> {
    lines_where(text, |line| line.trim() == concat!("#[ig", "nore]"))
}

fn lines_where(text: &str, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| is_bad(line));
    lines
        .map(|(index, line)| format!("line {}: {line}", index + 1))
        .collect()
}

/// Folders of somebody's machine: homes, and the one this tree is in.
fn places_of_one_machine(bytes: &[u8], workspace: &Path) -> Vec<String> {
    let mut places = vec![
        concat!("/ro", "ot/").to_owned(),
        concat!("/ho", "me/").to_owned(),
    ];
    places.extend(std::env::var("HOME").ok().map(|home| format!("{home}/")));
    places.push(format!("{}/", workspace.display()));
    // The folder above as well, unless it is a short and common one.
    let above = workspace
        .parent()
        .filter(|above| above.components().count() > 1);
    places.extend(above.map(|above| format!("{}/", above.display())));
    let is_in = |place: &String| {
        place.len() > 2
            && bytes
                .windows(place.len())
                .any(|window| window == place.as_bytes())
    };
    places
        .into_iter()
        .filter(is_in)
        .map(|place| format!("names {place}"))
        .collect()
}

/// In the manifest of a member, versions that belong into the workspace's.
fn own_versions(manifest: &str) -> Vec<String> {
    let mut in_dependencies = false;
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace") {
            found.push(format!("line {}: {line}", index + 1));
        }
    }
    found
}

#[test]
fn sources_are_ascii() {
    assert_none_found(|file| match file.is_written() {
        true if std::str::from_utf8(&file.bytes).is_err() => vec!["not even UTF-8".to_owned()],
        true => not_ascii(file.text()),
        false => Vec::new(),
    });
}

#[test]
fn lines_of_rust_have_at_most_100_columns_and_files_fewer_than_900_lines() {
    assert_none_found(|file| {
        let mut found = if file.is("rs") {
            too_long(file.text())
        } else {
            Vec::new()
        };
        let lines = file.text().lines().count();
        if file.is("rs") && lines >= MOST_LINES {
            found.push(format!("{lines} lines"));
        }
        found
    });
}

#[test]
fn nothing_is_left_over() {
    assert_none_found(|file| {
        if file.is_written() {
            left_over(file.text())
        } else {
            Vec::new()
        }
    });
    assert_none_found(|file| {
        if file.is("rs") {
            ignored(file.text())
        } else {
            Vec::new()
        }
    });
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let workspace = workspace();
    assert_none_found(|file| places_of_one_machine(&file.bytes, &workspace));
}

#[test]
fn versions_of_dependencies_are_in_one_place() {
    assert_none_found(|file| match file.name.ends_with("/Cargo.toml") {
        // The fuzz targets are a workspace of their own: they need another compiler.
        true if file.name != "fuzz/Cargo.toml" => own_versions(file.text()),
        _ => Vec::new(),
    });
}

#[test]
fn the_change_log_has_its_shape() {
    let path = workspace().join("CHANGELOG.md");
    let text = fs::read_to_string(path).expect("a CHANGELOG.md");
    assert_eq!(misshapen(&text), Vec::<String>::new());
}

/// The shape: a title, then versions with their dates, newest first, the first one perhaps not yet
/// released; in them only the headings of keepachangelog.com.
fn misshapen(text: &str) -> Vec<String> {
    const HEADINGS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let mut wrong = Vec::new();
    if text.lines().next() != Some("# Changelog") {
        wrong.push("the first line is not `# Changelog`".to_owned());
    }
    let mut newest = None;
    let mut versions = 0;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            if !HEADINGS.contains(&heading) {
                wrong.push(format!("unknown heading {heading}"));
            }
        } else if let Some(version) = line.strip_prefix("## ") {
            versions += 1;
            match parse_version(version) {
                None if version.to_lowercase().contains("unreleased") && versions == 1 => {}
                None => wrong.push(format!("no version with its date: {version}")),
                Some(version) if newest.is_some_and(|newest| newest <= version) => {
                    wrong.push(format!("{version:?} is not older than the one above"));
                }
                Some(version) => newest = Some(version),
            }
        }
    }
    if versions == 0 {
        wrong.push("no version".to_owned());
    }
    wrong
}

/// `0.1.0 - 2026-11-20`
fn parse_version(heading: &str) -> Option<[u32; 3]> {
    let (version, date) = heading.split_once(" - ")?;
    date.parse::<jiff::civil::Date>().ok()?;
    let numbers: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[test]
fn links_in_documents_lead_somewhere() {
    assert_none_found(|file| {
        if file.is("md") {
            dead_links(file)
        } else {
            Vec::new()
        }
    });
}

/// Links of a document to files and headings that are not there. Addresses on the web are not
/// followed.
fn dead_links(file: &File) -> Vec<String> {
    let folder = file.path.parent().expect("a file is in a folder");
    let is_dead = |link: &String| {
        if link.contains("://") || link.starts_with("mailto:") {
            return false;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if path.is_empty() {
            file.path.clone()
        } else {
            folder.join(path)
        };
        if anchor.is_empty() {
            return !target.exists();
        }
        let text = fs::read_to_string(&target).unwrap_or_default();
        !anchors(&text).contains(anchor)
    };
    links(file.text())
        .into_iter()
        .filter(is_dead)
        .map(|link| format!("link to {link}"))
        .collect()
}

/// The targets of `[text](target)` outside code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((link, behind)) = after.split_once(')') else {
                break;
            };
            links.push(
                link.split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
            rest = behind;
        }
    }
    links
}

/// The anchors that a document's headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = |line: String| {
        let title = line
            .trim_start_matches('#')
            .strip_prefix(' ')?
            .to_lowercase();
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        };
        line.starts_with('#')
            .then(|| title.chars().filter_map(kept).collect())
    };
    // Not `prose`: what is code in a heading is part of its anchor.
    outside_fences(text)
        .map(str::to_owned)
        .filter_map(heading)
        .collect()
}

/// The lines outside fenced blocks, without what stands between backticks.
fn prose(text: &str) -> impl Iterator<Item = String> {
    outside_fences(text).map(|line| line.split('`').step_by(2).collect())
}

fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut in_fence = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_fence ^= is_fence;
        !in_fence && !is_fence
    })
}

#[test]
fn the_commands_of_the_readme_are_the_ones_that_are_tested() {
    let workspace = workspace();
    let readme = fs::read_to_string(workspace.join("README.md")).expect("a README.md");
    let run = workspace.join(".ci/run");
    let script = fs::read_to_string(&run).expect("a .ci/run");
    let commands = [
        "cargo run --release -p ktm-recorder --bin ktm-recorder -- --file ./blackbox.ktm",
        "cargo run --release -p ktm-tools -- -F ./blackbox.ktm --since 1h",
        "cargo test --workspace",
    ];
    for command in commands {
        assert!(
            readme.contains(command),
            "README.md does not say: {command}"
        );
        assert!(script.contains(command), ".ci/run does not run: {command}");
    }
    let mode = fs::metadata(run).expect("a .ci/run").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, ".ci/run has no run bit");
}

/// Each check is shown something it must find, and the same without it.
#[test]
fn every_check_finds_what_it_looks_for() {
    assert_eq!(not_ascii("a\nb\u{e9}\n").len(), 1);
    assert_eq!(
        too_long(&format!("{}\n{}", "x".repeat(100), "x".repeat(101))).len(),
        1
    );
    let unfinished = format!("{}: later\ndone\n", concat!("TO", "DO"));
    assert_eq!(
        left_over(&unfinished),
        [format!("line 1: {}: later", concat!("TO", "DO"))]
    );
    assert_eq!(
        ignored(&format!("    {}\n", concat!("#[ig", "nore]"))).len(),
        1
    );
    assert_eq!(ignored("#[ignore = \"needs two machines\"]\n").len(), 0);

    let tree = Path::new("/somewhere/deep/tree");
    assert_eq!(
        places_of_one_machine(b"x/somewhere/deep/tree/y", tree).len(),
        2
    );
    assert_eq!(
        places_of_one_machine(concat!("/ho", "me/me").as_bytes(), tree).len(),
        1
    );
    assert_eq!(places_of_one_machine(b"/usr/lib/x", tree).len(), 0);

    assert_eq!(
        own_versions("[dependencies]\nx.workspace = true\n").len(),
        0
    );
    assert_eq!(
        own_versions("[dependencies]\nx = { workspace = true }\n").len(),
        0
    );
    assert_eq!(own_versions("[dev-dependencies]\nx = \"1\"\n").len(), 1);
    assert_eq!(own_versions("[features]\nx = [\"dep:x\"]\n").len(), 0);
}

#[test]
fn the_checks_of_documents_find_what_they_look_for() {
    let good = "# Changelog\n\n## Unreleased\n\n### Added\n\n## 0.2.0 - 2026-12-01\n\
                \n## 0.1.0 - 2026-11-20\n";
    assert_eq!(misshapen(good), Vec::<String>::new());
    for (part, instead) in [
        ("# Changelog", "# News"),
        ("### Added", "### Improved"),
        ("0.2.0 -", "0.1.0 -"),
        ("2026-12-01", "2026-13-01"),
        ("## Unreleased", "## Soon"),
    ] {
        assert_eq!(
            misshapen(&good.replacen(part, instead, 1)).len(),
            1,
            "{instead}"
        );
    }
    assert_eq!(misshapen("# Changelog\n").len(), 1);

    let text = "# Head `x` one\n[a](#head-x-one) [b](gone.md \"title\") `[c](code.md)`\n\
                ```\n[d](fenced.md)\n# no heading\n```\n[e](https://e.org/x)\n";
    assert_eq!(links(text), ["#head-x-one", "gone.md", "https://e.org/x"]);
    assert_eq!(anchors(text), ["head-x-one".to_owned()].into());
    let path = Path::new("/nowhere/at-all.md").to_owned();
    let file = File {
        name: "at-all.md".to_owned(),
        path,
        bytes: text.as_bytes().to_vec(),
    };
    // The file is not there, so its own headings cannot be read either.
    assert_eq!(
        dead_links(&file),
        ["link to #head-x-one", "link to gone.md"]
    );
}
