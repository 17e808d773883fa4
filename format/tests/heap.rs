//! A short life of a recording in memory: small enough for Miri, which sees what the machine does
//! not. `cargo xtask miri` runs it.

use ktm_format::{
    Entropy, Event, Geometry, HEADER_ZONE, HeapRegion, Host, ReadAt, Recording, Schema, Select,
    Series, Snapshot, Stamp, ValueType, Values, Writer,
};

struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

const GEOMETRY: Geometry = Geometry {
    file_size: HEADER_ZONE + 6 * 1024,
    segment_size: 1024,
    hot_count: 2,
    cold_count: 4,
};

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

fn at(second: u64) -> Stamp {
    Stamp {
        realtime_ns: second.cast_signed() * 1_000_000_000,
        boottime_ns: second * 1_000_000_000,
    }
}

fn schema() -> Schema {
    Schema {
        module: "m".into(),
        labels: vec![],
        series: vec![
            Series::counter("a_total", "A."),
            Series::gauge("b", "").value_type(ValueType::F64),
            Series::gauge("c", "").label("x", "y"),
        ],
    }
}

fn sample(writer: &mut Writer<HeapRegion>, second: u64) {
    let handle = writer.define(&schema()).expect("fits");
    let mut values = Values::new();
    values.push_u64(second * 1000);
    values.push_f64(second as f64 / 3.0);
    values.push_absent();
    writer.append(handle, at(second), &values).expect("room");
    if second.is_multiple_of(5) {
        let mark = Event::new("mark").with("second", second);
        writer.event(at(second), &mark).expect("room");
    }
    writer.maintain().expect("the heap does not fail");
}

fn bytes(region: &HeapRegion) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(GEOMETRY.file_size).expect("small")];
    region.read_at(0, &mut bytes).expect("in range");
    bytes
}

fn seconds(snapshot: &Snapshot) -> Vec<u64> {
    let rows = snapshot.rows(&Select::all()).filter_map(Result::ok);
    rows.map(|row| row.stamp.boottime_ns / 1_000_000_000)
        .collect()
}

#[test]
fn a_recording_laps_is_reopened_read_verified_and_salvaged() {
    let region = HeapRegion::new(GEOMETRY.file_size);
    let mut writer = Writer::create(
        region.clone(),
        GEOMETRY,
        host(),
        Stamp::default(),
        &mut Counter(1),
    )
    .expect("a region of zeros");
    for second in 0..20 {
        sample(&mut writer, second);
    }
    drop(writer);
    let mut writer = Writer::open(region.clone(), host(), &mut Counter(2)).expect("opens");
    for second in 20..30 {
        sample(&mut writer, second);
    }
    let whole = bytes(&region);
    let snapshot = Recording::over(whole.clone()).and_then(|recording| recording.snapshot());
    let snapshot = snapshot.expect("readable");
    let kept = seconds(&snapshot);
    assert!(kept.len() > 8, "{kept:?}");
    assert_eq!(kept.last(), Some(&29));
    assert!(snapshot.verify().expect("readable").is_sound());

    // Both superblocks gone, and a record damaged.
    let mut damaged = whole;
    damaged[..40_000].fill(0);
    damaged[66_000] ^= 1;
    assert!(Recording::over(damaged.clone()).is_err());
    let salvaged = Recording::salvage_over(damaged).expect("segments are left");
    assert!(!salvaged.verify().expect("readable").is_sound());
    let left = seconds(&salvaged);
    assert!(left.iter().all(|second| kept.contains(second)));
    assert!(left.len() + 15 > kept.len(), "{left:?} of {kept:?}");
}
