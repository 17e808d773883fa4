//! Without permission for BPF the recorder records what it can and says what is missing.

use ktm_tests::folder::Folder;
use ktm_tests::recorder::Recorder;
use ktm_tests::{dump, environment};
use serde_json::Value;

/// Starts what follows without the capabilities that BPF needs.
const WITHOUT: [&str; 3] = [
    "setpriv",
    "--inh-caps=-bpf,-perfmon,-sys_admin",
    "--bounding-set=-bpf,-perfmon,-sys_admin",
];

#[test]
fn without_permission_it_records_says_what_is_missing_and_absent_is_not_zero() {
    let folder = Folder::new();
    let mut recorder = Recorder::new(&folder).arguments(["--target-comm", "no-such-process"]);
    if environment::bpf_is_refused().is_none() {
        if environment::find("setpriv").is_none() {
            return environment::skip("recording without permission", "setpriv is not installed");
        }
        recorder = recorder.wrapped(WITHOUT);
    }
    let mut running = recorder.start_and_wait();
    let told = running.sample_now();
    let said = running.said();
    assert!(!said.contains("panicked"), "{said}");
    for word in ["CAP_BPF", "CAP_PERFMON"] {
        assert!(
            said.contains(word),
            "the missing permission is not named: {said}"
        );
    }
    check_probes(&running.events().expect("events"));
    assert!(running.terminate().success());

    let table = dump::table(&folder.join("box.ktm"));
    ktm_tests::check::all_kept(&told, &table).expect("it records");
    let last = table.instants.last().expect("a sample");
    assert_eq!(last.whole("ktm_degraded"), Ok(1));
    let counted = table
        .instants
        .iter()
        .any(|one| one.values.contains_key("ktm_cache_fills_total"));
    assert!(!counted, "a counter that nothing feeds is absent, not zero");
}

/// Why a probe is not there is in the recording, too.
fn check_probes(events: &[Value]) {
    let reasons: Vec<&str> = events
        .iter()
        .filter(|event| matches!(event["kind"].as_str(), Some("probe" | "module_failed")))
        .filter_map(|event| event["fields"]["reason"].as_str())
        .collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("CAP_BPF")),
        "{events:#?}"
    );
}
