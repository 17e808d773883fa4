//! Reads a recording back: every event and every value that changed, in recorded order.
//!
//!     cargo run -p ktm-format --example read_back -- jobs.ktm

use std::collections::HashMap;

use ktm_format::{Error, RecordedEvent, Recording, Result, Row, Select};

fn main() -> Result<()> {
    let path = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "jobs.ktm".into());
    // A writer may go on writing meanwhile: the snapshot is what the file holds now.
    let snapshot = Recording::open(path)?.snapshot()?;
    let mut events = snapshot.events().iter().peekable();
    let mut shown = HashMap::new();
    for row in snapshot.rows(&Select::all()) {
        match row {
            Ok(row) => {
                // Rows and events are numbered together.
                while let Some(event) = events.next_if(|event| event.seq < row.seq) {
                    print_event(event);
                }
                print_changes(&row, &mut shown);
            }
            Err(Error::Corrupt(damage)) => eprintln!("skipped: {damage}"),
            Err(error) => return Err(error),
        }
    }
    events.for_each(print_event);
    for damage in snapshot.damage() {
        eprintln!("damaged {damage}");
    }
    Ok(())
}

fn print_event(event: &RecordedEvent) {
    let fields = event.event.fields.iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    println!(
        "{:>6}  * {} {}",
        event.seq,
        event.event.kind,
        fields.join(" ")
    );
}

/// Prints what is not as it was. An absent value is not zero, and is left out.
fn print_changes(row: &Row, shown: &mut HashMap<String, String>) {
    for (index, series) in row.schema.series.iter().enumerate() {
        let Some(value) = row.value(index) else {
            continue;
        };
        // Every digit, with the series' decimal exponent applied.
        let text = value.decimal(series.exponent).to_string();
        let labels = series.labels.iter().chain(&row.schema.labels);
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        let name = format!("{}{{{}}}", series.name, labels.join(","));
        if shown.get(&name) != Some(&text) {
            println!("{:>6}    {name} = {text}", row.seq);
            shown.insert(name, text);
        }
    }
}
