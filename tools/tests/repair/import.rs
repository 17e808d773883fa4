//! `import` takes the CSV that `-o csv` prints, and refuses by line and column what is not.

use std::io::Write;
use std::process::Stdio;

use super::{csv, said};
use crate::recording::Recorded;
use crate::{command, dump, text, told};

fn write(recorded: &Recorded, name: &str, text: &str) {
    std::fs::write(recorded.folder().join(name), text).expect("writable");
}

/// Imports a text and returns what is said, with this exit status.
fn import(recorded: &Recorded, text: &str, status: i32) -> String {
    write(recorded, "in.csv", text);
    let _ = std::fs::remove_file(recorded.folder().join("new.ktm"));
    let told = said(recorded, &["-F", "new.ktm", "import", "in.csv"], status);
    let made = recorded.folder().join("new.ktm").exists();
    assert_eq!(made, status == 0, "made only if it succeeds: {told}");
    told
}

#[test]
fn what_is_exported_imports_and_exports_to_the_same_bytes() {
    for recorded in [Recorded::incident(), Recorded::long()] {
        let exported = csv(&recorded, "box.ktm");
        let told = import(&recorded, &exported, 0);
        assert!(told.contains("lines of 12 series"), "{told}");
        assert!(csv(&recorded, "new.ktm") == exported);
        assert_eq!(said(&recorded, &["-F", "new.ktm", "verify"], 0), "");
    }
}

#[test]
fn standard_input_is_read_as_well() {
    let recorded = Recorded::incident();
    let exported = csv(&recorded, "box.ktm");
    let mut command = command(&["-F", "new.ktm", "import", "-"]);
    command
        .current_dir(recorded.folder())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("ktm-dump runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(exported.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(told(&output).0, Some(0), "{:?}", told(&output));
    assert_eq!(csv(&recorded, "new.ktm"), exported);
}

#[test]
fn types_and_kinds_are_inferred() {
    let recorded = Recorded::incident();
    let exported = csv(&recorded, "box.ktm");
    import(&recorded, &exported, 0);
    let view = |file| text(&dump(&recorded, &["-F", file, "schema", "--json"]).stdout);
    let (old, new): (serde_json::Value, serde_json::Value) = (
        serde_json::from_str(&view("box.ktm")).expect("JSON"),
        serde_json::from_str(&view("new.ktm")).expect("JSON"),
    );
    let kinds = |view: &serde_json::Value| -> Vec<(String, String)> {
        let series = view.as_array().expect("a list").iter();
        series
            .map(|s| (s["series"].to_string(), s["kind"].to_string()))
            .collect()
    };
    assert_eq!(kinds(&new), kinds(&old));
    let events = text(&dump(&recorded, &["-F", "new.ktm", "events"]).stdout);
    assert!(
        events.contains("imported") && events.contains("in.csv"),
        "{events}"
    );
    // Quantiles are computed from the imported histogram as from the recorded one.
    let table = text(&dump(&recorded, &["-F", "new.ktm"]).stdout);
    assert!(table.contains("p99"), "{table}");
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_made() {
    let recorded = Recorded::incident();
    let line = |cells: &str| format!("timestamp,epoch,a_total,b\n2026-11-20T14:23:31Z,1,{cells}\n");
    for (input, words) in [
        (line("1"), "in.csv: line 2 has 3 fields, the header has 4"),
        (
            line("1,x"),
            "in.csv: line 2, column 4 is \"x\", where a number, NaN",
        ),
        (
            line("1.50,2"),
            "in.csv: line 2, column 3 is \"1.50\", which would be printed as 1.5",
        ),
        (
            line("1, 2"),
            "line 2, column 4 is \" 2\", which would be printed as 2",
        ),
        (
            line("1,2").replace("31Z", "31"),
            "line 2, column 1 is no timestamp",
        ),
        (
            line("1,2").replace(",1,1", ",-1,1"),
            "line 2, column 2 is \"-1\", which is not the number",
        ),
        (
            line("1,2") + "2026-11-20T14:23:32Z,0,1,2\n",
            "line 3 has epoch 0 after 1",
        ),
        (
            "a,b\n1,2\n".into(),
            "line 1, column 1 is \"a\" where \"timestamp\" is expected",
        ),
        (
            "timestamp,value\n".into(),
            "line 1, column 2 is \"value\" where \"epoch\"",
        ),
        ("".into(), "is empty"),
        (
            "timestamp,epoch,a{x=\"1\",y=\"2\"},\"a{y=\"\"2\"\",x=\"\"1\"\"}\"\n".into(),
            "line 1, column",
        ),
        (
            "timestamp,epoch,a,b,a\n".into(),
            "line 1, column 5 is the series of column 3 once more",
        ),
        (
            "timestamp,epoch,a\n\u{1}\u{2},1,2\n".into(),
            "line 2, column 1",
        ),
    ] {
        let told = import(&recorded, &input, 1);
        assert!(told.contains(words), "{words:?} is not said: {told}");
    }
    write(&recorded, "in.csv", "");
    std::fs::write(
        recorded.folder().join("in.csv"),
        b"timestamp,epoch,\xff\xfe\n",
    )
    .expect("writable");
    let told = said(&recorded, &["-F", "new.ktm", "import", "in.csv"], 1);
    assert!(told.contains("column 3 is not UTF-8"), "{told}");
}

#[test]
fn rates_are_refused_by_name() {
    let recorded = Recorded::incident();
    let rates = text(&dump(&recorded, &["-o", "csv", "--rate", "-m", "*_total"]).stdout);
    let told = import(&recorded, &rates, 1);
    assert!(
        told.contains("column 3 is the rate of ktm_sys_pread_bytes_total{"),
        "{told}"
    );
    assert!(
        told.contains("print the CSV again without --rate"),
        "{told}"
    );
}

#[test]
fn an_existing_file_is_left_alone_and_no_values_make_no_recording() {
    let recorded = Recorded::incident();
    let exported = csv(&recorded, "box.ktm");
    write(&recorded, "in.csv", &exported);
    let told = said(&recorded, &["import", "in.csv"], 1);
    assert!(told.contains("box.ktm exists already"), "{told}");
    assert_eq!(csv(&recorded, "box.ktm"), exported);
    let header = exported.lines().next().expect("a header").to_owned() + "\n";
    for nothing in [
        header.as_str(),
        "timestamp,epoch\n",
        "timestamp,epoch\n2026-11-20T14:23:31Z,1\n",
    ] {
        let told = import(&recorded, nothing, 3);
        assert!(told.contains("no values in it"), "{told}");
    }
    let told = said(&recorded, &["-F", "new.ktm", "import", "missing.csv"], 1);
    assert!(told.contains("missing.csv: No such file"), "{told}");
}

/// Of 20,000 lines a small file keeps the newest, and says so.
#[test]
fn any_size_is_possible_and_a_small_one_keeps_the_newest() {
    let recorded = Recorded::empty();
    let mut input = String::from("timestamp,epoch,a_total,b\n");
    for n in 0_u64..20_000 {
        let noise = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 21);
        let (minute, second) = (n / 60 % 60, n % 60);
        let hour = n / 3600;
        input +=
            &format!("2026-11-20T{hour:02}:{minute:02}:{second:02}.000000000Z,1,{n},{noise}\n");
        input += &format!("2026-11-20T{hour:02}:{minute:02}:{second:02}.500000000Z,1,{n},\n");
    }
    import(&recorded, &input, 0);
    assert!(
        csv(&recorded, "new.ktm") == input,
        "without --size, all of it"
    );
    write(&recorded, "many.csv", &input);
    let arguments = ["-F", "small.ktm", "import", "many.csv", "--size", "1MiB"];
    let told = said(&recorded, &arguments, 0);
    let kept = csv(&recorded, "small.ktm");
    let newest = kept
        .strip_prefix("timestamp,epoch,a_total,b\n")
        .expect("the header");
    if kept.len() < input.len() {
        assert!(told.contains("of 40000 lines did not fit"), "{told}");
    }
    assert!(input.ends_with(newest));
    let larger = ["-F", "large.ktm", "import", "many.csv", "--size", "5MiB"];
    said(&recorded, &larger, 0);
    let info = text(&dump(&recorded, &["-F", "large.ktm", "info"]).stdout);
    assert!(info.contains("5 MiB, all allocated"), "{info}");
}

#[test]
fn lines_of_one_time_stay_apart_also_where_nothing_was_there() {
    let recorded = Recorded::empty();
    let line = "2026-11-20T00:00:00.000000000Z,1";
    let input = format!("timestamp,epoch,a,b\n{line},1,\n{line},,\n{line},,2\n{line},,\n");
    import(&recorded, &input, 0);
    assert_eq!(csv(&recorded, "new.ktm"), input);
}

#[test]
fn more_series_than_fit_a_row_are_split_and_keep_their_order() {
    let recorded = Recorded::empty();
    let titles: Vec<String> = (0..12_000).map(|n| format!("series_{n}_total")).collect();
    let mut input = format!("timestamp,epoch,{}\n", titles.join(","));
    for second in 0..20 {
        let cells = (0..12_000).map(|n| match (n + second) % 97 {
            0 => String::new(),
            _ => (n * second).to_string(),
        });
        let cells: Vec<String> = cells.collect();
        input += &format!(
            "2026-11-20T00:00:{second:02}.000000000Z,7,{}\n",
            cells.join(",")
        );
    }
    import(&recorded, &input, 0);
    assert!(csv(&recorded, "new.ktm") == input);
    let arguments = ["-F", "small.ktm", "import", "in.csv", "--size", "2MiB"];
    said(&recorded, &arguments, 0);
    let kept = csv(&recorded, "small.ktm");
    let (header, lines) = kept.split_once('\n').expect("a header");
    assert!(input.starts_with(header) && input.ends_with(lines));
}
