//! `cargo bench -p ktm-format --bench codec -- FILE.csv...`: bytes a value and values a second.
//!
//! Any CSV will do: a header line, then a row a sample; cells that are empty are absent. A column
//! `timestamp` is the rows' time (RFC 3339), `epoch` is passed over, and so are columns that are
//! not numbers. Integers are exact, other numbers doubles.
//!
//! The same rows go through MongoDB's FTDC encoding, through codec 1, and through a writer into
//! files of two sizes, where everything counts: headers, schemas, what is free at a segment's end,
//! the hot ring.

#[path = "codec/ftdc.rs"]
mod ftdc;
#[path = "codec/recording.rs"]
mod recording;
#[path = "codec/table.rs"]
mod table;

use table::Table;

/// Rows in a chunk or a block.
const ROWS: usize = 300;

fn main() {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if files.is_empty() {
        println!("codec: no CSV given, nothing measured");
    }
    for file in files {
        match Table::read(&file) {
            Ok(table) => measure(&file, &table),
            Err(error) => {
                eprintln!("{file}: {error}");
                std::process::exit(1);
            }
        }
    }
}

fn measure(file: &str, table: &Table) {
    let values = table.values();
    println!(
        "{file}: {} rows, {} columns, {} of them doubles; {values} values, {:.1} % of them new",
        table.rows(),
        table.columns.len(),
        table.doubles(),
        100.0 * table.changed() as f64 / values as f64,
    );
    let chunks: Vec<_> = table.chunks(ROWS).collect();
    let (seconds, encoded) = timed(|| {
        chunks
            .iter()
            .map(|c| ftdc::encode(table, c))
            .collect::<Vec<_>>()
    });
    let ftdc_bytes = encoded.iter().map(Vec::len).sum::<usize>() as f64;
    let (back, sum) = timed(|| encoded.iter().map(|chunk| ftdc::decode(chunk)).sum::<u64>());
    let speed = |seconds: f64| values as f64 / seconds / 1e6;
    let print = |what: &str, bytes: f64, encode: Option<f64>, decode: Option<f64>| {
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        println!(
            "  {what:42} {:8.4} bytes/value  {:5.3} of FTDC  encode {:>4} decode {:>4} M values/s",
            bytes / values as f64,
            bytes / ftdc_bytes,
            cell(encode),
            cell(decode),
        );
    };
    let named: f64 = chunks
        .iter()
        .map(|c| ftdc::reference_document(table, c).len() as f64)
        .sum();
    print(
        "FTDC, zlib, 300 rows",
        ftdc_bytes,
        Some(speed(seconds)),
        Some(speed(back)),
    );
    print(
        "FTDC with its reference document",
        ftdc_bytes + named,
        None,
        None,
    );
    let (seconds, bytes) = timed(|| {
        chunks
            .iter()
            .map(|c| ftdc::codec_1(table, c))
            .sum::<usize>()
    });
    print(
        "codec 1, zstd 1, 300 rows",
        bytes as f64,
        Some(speed(seconds)),
        None,
    );
    for size in [64 << 20, 1 << 30] {
        let made = recording::make(table, size);
        let mib = size >> 20;
        if made.rows_a_block == 0 {
            println!("  too few rows to be sealed in a file of {mib} MiB");
            continue;
        }
        print(
            &format!("codec 2, {} rows a block", made.rows_a_block),
            made.bytes_a_value * values as f64,
            Some(speed(made.seal_seconds)),
            Some(speed(made.scan_seconds)),
        );
        let what = format!("  a full file of {mib} MiB, all of it");
        print(&what, made.bytes_a_value_full * values as f64, None, None);
    }
    std::hint::black_box(sum);
}

/// The CPU time that work took: other load on the machine changes it least.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = cpu_seconds();
    let done = work();
    (cpu_seconds() - start, done)
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
