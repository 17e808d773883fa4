//! What the layers make together.

use super::*;
use clap::Parser;

const MODULES: &[&str] = &["iomonitor", "procfs"];

fn load_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let flags = Flags::parse_from(["ktm-recorder"].iter().chain(arguments));
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    load_from(&flags, &variables, MODULES)
}

fn problems(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    load_with(arguments, variables)
        .expect_err("refused")
        .iter()
        .map(Problem::to_string)
        .collect()
}

fn yaml_file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("ktm.yaml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("text").to_owned();
    (directory, path)
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = load_with(&[], &[]).expect("sound").config;
    assert_eq!(config.interval, Duration::from_secs(10));
    assert_eq!(config.modules, ["iomonitor"]);
    assert_eq!(config.target, TargetMatch::CommRegex("banyand".into()));
    assert_eq!(config.file, Path::new("/var/lib/ktm/blackbox.ktm"));
    assert_eq!(config.size, 64 << 20);
    assert_eq!(config.sync, SyncPolicy::EveryRow);
    assert_eq!(config.listen.as_deref(), Some("127.0.0.1:17914"));
    assert!(config.enable_cgroup_filter && config.labels.is_empty());
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_the_default() {
    let (_directory, path) = yaml_file(
        "collector:\n  interval: 1s\nrecorder:\n  size: 1MiB\n  sync: never\n\
         labels:\n  a: file\n  b: file\n",
    );
    let environment = [
        ("KTM_INTERVAL", "2s"),
        ("KTM_SIZE", "2MiB"),
        ("KTM_LABELS", "b=env"),
    ];
    let loaded = load_with(&["--config", &path, "--interval", "3s"], &environment).expect("sound");
    assert_eq!(loaded.config.interval, Duration::from_secs(3), "flag");
    assert_eq!(loaded.config.size, 2 << 20, "environment");
    assert_eq!(loaded.config.sync, SyncPolicy::Never, "file");
    assert_eq!(loaded.config.modules, ["iomonitor"], "default");
    let labels = [
        ("a".to_owned(), "file".to_owned()),
        ("b".to_owned(), "env".to_owned()),
    ];
    assert_eq!(loaded.config.labels, labels, "labels merge one by one");
}

#[test]
fn the_environment_can_name_the_file_and_a_flag_another() {
    let (_one, first) = yaml_file("recorder:\n  size: 1MiB\n");
    let (_two, second) = yaml_file("recorder:\n  size: 2MiB\n");
    let environment = [("KTM_CONFIG", first.as_str())];
    assert_eq!(
        load_with(&[], &environment).expect("sound").config.size,
        1 << 20
    );
    assert_eq!(
        load_with(&["-c", &second], &environment)
            .expect("sound")
            .config
            .size,
        2 << 20
    );
}

#[test]
fn the_target_of_a_higher_layer_replaces_another_spelling_below_it() {
    let (_directory, path) = yaml_file("collector:\n  target_comm_regex: ^banyan\n");
    let target = |arguments: &[&str]| load_with(arguments, &[]).map(|loaded| loaded.config.target);
    assert_eq!(
        target(&["-c", &path]),
        Ok(TargetMatch::CommRegex("^banyan".into()))
    );
    assert_eq!(
        target(&["-c", &path, "--target-pid", "12"]),
        Ok(TargetMatch::Pid(12))
    );
}

#[test]
fn two_targets_in_one_layer_are_refused_with_both_places() {
    assert_eq!(
        problems(&["--target-pid", "1", "--target-comm", "x"], &[]),
        [
            "--target-comm: contradicts --target-pid; only one of target_pid, target_comm and \
          target_comm_regex can be set"
        ]
    );
}

#[test]
fn every_mistake_says_where_what_and_what_to_do() {
    for (arguments, variables, said) in [
        (
            &["--interval", "10ms"][..],
            &[][..],
            "--interval: \"10ms\" is too short an interval; write 100ms or more, such as 10s, \
             1500ms or 1m",
        ),
        (
            &["--interval", "10"],
            &[],
            "--interval: \"10\": a unit is missing after \"10\"; write 100ms or more, such as 10s, \
             1500ms or 1m",
        ),
        (
            &["--size", "1"],
            &[],
            "--size: 1 is too small for a recording; write 1MiB to 1TiB",
        ),
        (
            &[],
            &[("KTM_SIZE", "64M")],
            "environment variable KTM_SIZE: M is ambiguous: MiB or MB; write a size such as \
             64MiB, 500MB or 67108864",
        ),
        (
            &["--modules", "iomoniter"],
            &[],
            "--modules: unknown module \"iomoniter\"; did you mean iomonitor?",
        ),
        (
            &["--target-comm-regex", "ban("],
            &[],
            "--target-comm-regex: \"ban(\" is not a regular expression: unclosed group; to match \
             a name literally use target_comm",
        ),
        (
            &["--listen", ":80"],
            &[],
            "--listen: \":80\" names no address; write 127.0.0.1:80, or 0.0.0.0:80 for every \
             address of the host",
        ),
        (
            &["--sync", "often"],
            &[],
            "--sync: \"often\" is neither a policy nor a duration; write every-row, on-seal, \
             never, or a duration such as 30s",
        ),
        (
            &[],
            &[("KTM_LABELS", "le=1")],
            "environment variable KTM_LABELS: the label name le is reserved; use letters, digits \
             and _, not starting with a digit",
        ),
    ] {
        assert_eq!(problems(arguments, variables), [said]);
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let environment = [("KTM_SYNC", "x"), ("KTM_TARGET_PID", "-4")];
    assert_eq!(
        problems(&["--interval", "1ms", "--size", "q"], &environment).len(),
        4
    );
}

#[test]
fn a_missing_configuration_file_is_named() {
    let said = problems(&["--config", "/nowhere/ktm.yaml"], &[]).join("\n");
    assert!(
        said.starts_with("/nowhere/ktm.yaml: cannot read the configuration: "),
        "{said}"
    );
}

#[test]
fn a_mistyped_variable_is_a_warning_and_a_service_link_is_not() {
    let environment = [
        ("KTM_INTERVALL", "1s"),
        ("KTM_SERVICE_HOST", "10.0.0.1"),
        ("KTM_PORT", "x"),
    ];
    let loaded = load_with(&[], &environment).expect("sound");
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("did you mean KTM_INTERVAL?"));
}

#[test]
fn the_printed_configuration_reads_back_equal() {
    let awkward = "a: b #c \"d\" \\ 'e'";
    for arguments in [
        &[][..],
        &[
            "--interval",
            "1500ms",
            "--target-pid",
            "7",
            "--listen",
            "none",
            "--sync",
            "30s",
        ],
        &[
            "--target-comm",
            "no",
            "--size",
            "5000003",
            "--modules",
            "procfs,iomonitor",
        ],
        &[
            "--target-comm-regex",
            "^a: [b]#|'\"\\\\d$",
            "--file",
            "/srv/with space: #.ktm",
        ],
    ] {
        let labels = format!("pod_name={awkward},node_type=off,n=007");
        let printed = load_with(arguments, &[("KTM_LABELS", &labels)]).expect("sound");
        let (_directory, path) = yaml_file(&printed.to_yaml());
        let again = load_with(&["--config", &path], &[]);
        let again = again.unwrap_or_else(|found| panic!("{found:?} in\n{}", printed.to_yaml()));
        assert_eq!(again.config, printed.config, "{}", printed.to_yaml());
    }
}

#[test]
fn the_printed_configuration_says_where_each_setting_came_from() {
    let yaml = load_with(&["--interval", "1s"], &[("KTM_SYNC", "never")])
        .expect("sound")
        .to_yaml();
    assert!(yaml.contains("interval: 1s # --interval\n"), "{yaml}");
    assert!(
        yaml.contains("sync: never # environment variable KTM_SYNC\n"),
        "{yaml}"
    );
    assert!(yaml.contains("size: 64MiB # default\n"), "{yaml}");
}
