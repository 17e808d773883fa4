//! `verify` finds what is damaged, and what was lost with it.

use serde_json::Value;

use super::{csv, said};
use crate::recording::Recorded;
use crate::{assert_golden, dump, golden, text, told};

#[test]
fn a_sound_recording_is_sound() {
    golden("verify.txt", &["verify"]);
    golden("verify.json", &["verify", "--json"]);
    let long = Recorded::long();
    let found = text(&dump(&long, &["verify"]).stdout);
    assert!(found.ends_with("sound\n"), "also after many laps: {found}");
}

#[test]
fn every_damaged_place_is_told_with_what_was_lost() {
    let recorded = Recorded::incident();
    recorded.damage();
    for (name, arguments) in [
        ("verify-damaged.txt", &["verify"][..]),
        ("verify-damaged.json", &["verify", "--json"]),
    ] {
        let output = dump(&recorded, arguments);
        assert_eq!(told(&output), (Some(4), String::new()));
        assert_golden(name, &text(&output.stdout));
    }
}

#[test]
fn verify_counts_what_the_other_commands_print() {
    let recorded = Recorded::incident();
    recorded.damage();
    let output = dump(&recorded, &["verify", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let events: Value =
        serde_json::from_slice(&dump(&recorded, &["events", "--json"]).stdout).expect("JSON");
    let info: Value =
        serde_json::from_slice(&dump(&recorded, &["info", "--json"]).stdout).expect("JSON");
    assert_eq!(report["events"], events.as_array().expect("a list").len());
    let places = |report: &Value| -> Vec<Value> {
        let places = report["damage"].as_array().expect("a list").iter();
        places.map(|place| place["offset"].clone()).collect()
    };
    assert_eq!(places(&report), places(&info));
    assert_eq!(report["lost"], 2);
    let numbers: Vec<&Value> = report["damage"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|place| &place["numbers"][0]["first"])
        .collect();
    let row = |number: &Value| {
        text(&dump(&Recorded::incident(), &["verify", "--json"]).stdout)
            .contains(&number.to_string())
    };
    assert!(numbers.into_iter().all(row));
}

#[test]
fn a_recording_cut_short_is_damaged_and_one_without_superblocks_is_none() {
    let recorded = Recorded::incident();
    let bytes = std::fs::read(recorded.folder().join("box.ktm")).expect("readable");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(recorded.folder().join(name), bytes).expect("writable");
    };
    write("short.ktm", &bytes[..500_000]);
    let output = dump(&recorded, &["-F", "short.ktm", "verify"]);
    assert_eq!(told(&output), (Some(4), String::new()));
    let report = text(&output.stdout);
    assert!(
        report.contains("at offset 500000, 548576 bytes: the file is cut short"),
        "{report}"
    );
    assert!(
        report.contains("nothing was lost with it"),
        "the rows are before it: {report}"
    );

    let mut broken = bytes.clone();
    for superblock in [0, 32 * 1024] {
        broken[superblock + 20] ^= 1;
    }
    write("broken.ktm", &broken);
    let told = said(&recorded, &["-F", "broken.ktm", "verify"], 5);
    assert!(told.contains("salvage"), "{told}");
    assert!(!csv(&recorded, "box.ktm").is_empty());
}
