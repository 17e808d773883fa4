//! Whatever can be recorded, of however many modules and types: what is exported imports, and
//! exports to the same bytes.

use ktm_format::{
    FileRegion, Kind, MIN_FILE_SIZE, Schema, Series, Stamp, SystemEntropy, ValueType, Values,
    Writer,
};
use proptest::prelude::*;

use super::csv;
use super::said;
use crate::recording::Recorded;

#[derive(Clone, Debug)]
struct Column {
    kind: usize,
    value_type: ValueType,
    exponent: i8,
}

#[derive(Clone, Debug)]
struct Sample {
    module: usize,
    /// Real time may go anywhere.
    realtime_ns: i64,
    new_epoch: bool,
    cells: Vec<Option<u64>>,
}

/// Names of every kind there is, among them some that need quotes.
fn series(column: &Column, module: usize, index: usize) -> Series {
    let name = format!("m{module}_{index}");
    let named = |suffix: &str, kind| {
        Series::new(format!("{name}{suffix}"), kind, column.value_type, "Help.")
    };
    let series = match column.kind {
        0 => named("_total", Kind::Counter),
        1 => named("_seconds_bucket", Kind::Bucket).label("le", "+Inf"),
        2 => named("_seconds_sum", Kind::Sum).label("path", "/x,\"y\"\\\n"),
        3 => named("", Kind::Quantile).label("quantile", "0.5"),
        _ => named("", Kind::Gauge),
    };
    series.exponent(column.exponent)
}

fn columns() -> impl Strategy<Value = Vec<Column>> {
    let column = (
        0..5_usize,
        0..4_usize,
        prop_oneof![Just(0_i8), Just(-9), -18_i8..=18],
    );
    let column = column.prop_map(|(kind, value_type, exponent)| Column {
        kind,
        value_type: [
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
            ValueType::U64,
        ][value_type],
        exponent: if value_type == 2 { 0 } else { exponent },
    });
    proptest::collection::vec(column, 1..6)
}

/// Bits that are small numbers, everyday doubles, or anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..1000_u64,
        any::<u64>(),
        (-1000.0..1000.0).prop_map(f64::to_bits),
        (-1_000_000..1_000_000_i64).prop_map(i64::cast_unsigned),
        Just(f64::NAN.to_bits()),
        Just(f64::NEG_INFINITY.to_bits()),
        Just((-0.0_f64).to_bits()),
    ]
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let realtime = prop_oneof![
        4 => 1_795_000_000_000_000_000..1_795_000_100_000_000_000_i64,
        1 => any::<i64>(),
    ];
    let cells = proptest::collection::vec(proptest::option::weighted(0.8, word()), 6);
    let sample = (0..3_usize, realtime, proptest::bool::weighted(0.1), cells);
    let sample = sample.prop_map(|(module, realtime_ns, new_epoch, cells)| Sample {
        module,
        realtime_ns,
        new_epoch,
        cells,
    });
    proptest::collection::vec(sample, 1..40)
}

fn record(recorded: &Recorded, modules: &[Vec<Column>], samples: &[Sample]) {
    let path = recorded.folder().join("random.ktm");
    let created = Stamp::default();
    let mut writer: Writer<FileRegion> =
        Writer::create_file(path, MIN_FILE_SIZE, "", created, &mut SystemEntropy).expect("made");
    for (second, sample) in (0_u64..).zip(samples) {
        if sample.new_epoch {
            writer.begin_epoch();
        }
        // The fourth description of columns is a later one of the first module.
        let later = sample.module == 0 && second > 20 && modules[3].len() == modules[0].len();
        let columns = &modules[if later { 3 } else { sample.module }];
        let kinds = modules[sample.module].iter().map(|column| column.kind);
        let series = columns
            .iter()
            .zip(kinds)
            .enumerate()
            .map(|(index, (column, kind))| {
                let column = Column {
                    kind,
                    ..column.clone()
                };
                series(&column, sample.module, index)
            });
        let handle = writer
            .define(&Schema {
                module: format!("m{}", sample.module),
                labels: vec![("pod_name".into(), "data-0".into())],
                series: series.collect(),
            })
            .expect("fits");
        let mut values = Values::new();
        for (column, cell) in columns.iter().zip(&sample.cells) {
            match (cell, column.value_type) {
                (None, _) => values.push_absent(),
                (Some(word), ValueType::U64) => values.push_u64(*word),
                (Some(word), ValueType::I64) => values.push_i64(word.cast_signed()),
                (Some(word), ValueType::F64) => values.push_f64(f64::from_bits(*word)),
            }
        }
        let stamp = Stamp {
            realtime_ns: sample.realtime_ns,
            boottime_ns: second,
        };
        writer.append(handle, stamp, &values).expect("room");
        writer.maintain().expect("sealed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_exported_imports_and_exports_to_the_same_bytes(
        modules in proptest::array::uniform4(columns()),
        samples in samples(),
    ) {
        let recorded = Recorded::empty();
        record(&recorded, &modules, &samples);
        let exported = csv(&recorded, "random.ktm");
        std::fs::write(recorded.folder().join("in.csv"), &exported).expect("writable");
        said(&recorded, &["-F", "new.ktm", "import", "in.csv"], 0);
        prop_assert_eq!(csv(&recorded, "new.ktm"), exported);
    }
}
