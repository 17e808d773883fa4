//! The two programs that the libraries show themselves with.

use std::process::Command;

use ktm_tests::dump::{dump, run};
use ktm_tests::folder::Folder;
use ktm_tests::programs::example;

#[test]
fn a_program_keeps_a_box_of_its_own_and_another_reads_it_back() {
    let folder = Folder::new();
    let file = folder.join("jobs.ktm");
    for life in 1..=2 {
        let said = run(Command::new(example("embed")).arg(&file));
        assert_eq!(said.code, Some(0), "life {life}: {said:?}");
    }
    assert_eq!(
        folder.names(),
        ["jobs.ktm"],
        "the second life went on in the same file"
    );

    let read = run(Command::new(example("read_back")).arg(&file));
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""), "{read:?}");
    let depths: Vec<&str> = read
        .stdout
        .lines()
        .filter_map(|line| line.split_once("job_queue_depth{queue=\"mail\"} = "))
        .map(|(_, depth)| depth)
        .collect();
    let expected: Vec<String> = (0..20).rev().map(|depth| depth.to_string()).collect();
    assert_eq!(
        depths,
        [expected.clone(), expected].concat(),
        "{}",
        read.stdout
    );
    let drained = read
        .stdout
        .lines()
        .filter(|line| line.contains("* queue_drained jobs=20"));
    assert_eq!(drained.count(), 2, "{}", read.stdout);

    let table = dump(&file, [""; 0]);
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""));
    let runs = dump(&file, ["runs"]);
    let clean = runs
        .stdout
        .lines()
        .filter(|line| line.contains("clean (nothing left to do)"));
    assert_eq!(clean.count(), 2, "{}", runs.stdout);
    assert_eq!(dump(&file, ["verify"]).code, Some(0));
}
