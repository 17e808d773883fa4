//! What was written by any version reads as it did then. Golden files are added, never changed:
//! where one of these fails, the reader is wrong.

use ktm_tests::dump::dump;
use ktm_tests::folder::Folder;
use ktm_tests::golden;

#[test]
fn every_golden_file_reads_as_it_always_did() {
    for golden in golden::files() {
        let folder = Folder::new();
        let file = golden.unpack(&folder);
        let csv = dump(&file, ["-o", "csv"]);
        assert_eq!(
            csv.code,
            Some(golden.code()),
            "{}: {}",
            golden.name,
            csv.stderr
        );
        assert!(csv.stdout == golden.csv, "{}: another CSV", golden.name);
        let events = dump(&file, ["events", "--json"]);
        assert!(
            events.stdout == golden.events,
            "{}: other events",
            golden.name
        );
    }
}

#[test]
fn every_golden_file_verifies_as_it_reads() {
    for golden in golden::files() {
        let folder = Folder::new();
        let file = golden.unpack(&folder);
        let said = dump(&file, ["verify"]);
        assert_eq!(
            said.code,
            Some(golden.code()),
            "{}: {}",
            golden.name,
            said.stdout
        );
        let salvaged = folder.join("salvaged.ktm");
        let new = salvaged.to_str().expect("UTF-8");
        let said = dump(&file, ["salvage", new]);
        assert_eq!(
            said.code,
            Some(golden.code()),
            "{}: {}",
            golden.name,
            said.stderr
        );
        let csv = dump(&salvaged, ["-o", "csv"]);
        assert!(
            csv.stdout == golden.csv,
            "{}: salvage kept something else",
            golden.name
        );
        assert_eq!(csv.code, Some(0), "{}: {}", golden.name, csv.stderr);
    }
}

#[test]
fn every_golden_csv_imports_and_exports_to_the_same_bytes() {
    for golden in golden::files() {
        let folder = Folder::new();
        let input = folder.write("in.csv", &golden.csv);
        let imported = folder.join("imported.ktm");
        let said = dump(&imported, ["import".as_ref(), input.as_os_str()]);
        assert_eq!(said.code, Some(0), "{}: {}", golden.name, said.stderr);
        let csv = dump(&imported, ["-o", "csv"]);
        assert!(csv.stdout == golden.csv, "{}: another CSV", golden.name);
    }
}
