//! Recordings whose every byte but the writer's process id is told by the test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ktm_format::{
    Entropy, Error, Event, FileRegion, Kind, Schema, Series, Stamp, ValueType, Values, Writer,
};
use tempfile::TempDir;

/// 2026-11-20T14:23:21Z.
const START: i64 = 1_795_184_601;
const SECOND: i64 = 1_000_000_000;

struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// A recording in a folder of its own, named `box.ktm`.
pub(crate) struct Recorded {
    folder: TempDir,
}

fn stamp(seconds: i64) -> Stamp {
    let boottime_ns = u64::try_from((seconds + 1000) * SECOND).expect("after boot");
    Stamp {
        realtime_ns: (START + seconds) * SECOND,
        boottime_ns,
    }
}

fn create(path: &Path) -> Writer<FileRegion> {
    Writer::create_file(path, 1 << 20, "ktm-recorder 0.1.0", stamp(0), &mut Fixed(3))
        .expect("a file of 1 MiB")
}

/// A child process that another test is just starting holds a copy of the writer's lock until it
/// is a program of its own.
fn open(path: &Path) -> Writer<FileRegion> {
    loop {
        match Writer::open_file(path, &mut Fixed(9)) {
            Err(Error::InUse { .. }) => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened.expect("its own file"),
        }
    }
}

fn iomonitor() -> Schema {
    let family = "ktm_sys_pread_latency_seconds";
    let help = "Latency of successful pread64() calls";
    let bucket = |le: &str| {
        Series::new(format!("{family}_bucket"), Kind::Bucket, ValueType::U64, "").label("le", le)
    };
    let sum = Series::new(format!("{family}_sum"), Kind::Sum, ValueType::U64, help);
    let calls = |advice: &str| {
        let series = Series::counter("ktm_fadvise_advice_calls_total", "Calls by advice");
        series.label("advice", advice).label("result", "ok")
    };
    Schema {
        module: "iomonitor".into(),
        labels: vec![("pod_name".into(), "data-0".into())],
        series: vec![
            bucket("0.001"),
            bucket("0.002"),
            bucket("+Inf"),
            sum.exponent(-9).unit("seconds"),
            Series::new(format!("{family}_count"), Kind::Count, ValueType::U64, help),
            Series::counter("ktm_sys_pread_bytes_total", "Bytes read by pread64()").unit("bytes"),
            Series::counter("ktm_fadvise_dontneed_total", "Calls with DONTNEED"),
            calls("dontneed"),
            calls("normal"),
            Series::counter("ktm_cache_misses_total", "Look-ups that had to read"),
        ],
    }
}

fn status() -> Schema {
    let load = Series::new(
        "ktm_load",
        Kind::Gauge,
        ValueType::F64,
        "Load of the machine",
    );
    let series = vec![
        Series::gauge("ktm_status", "0 off, 1 degraded, 2 full"),
        load,
    ];
    Schema {
        module: "status".into(),
        labels: vec![],
        series,
    }
}

/// One sampling instant: `n` calls so far, one in four slow.
fn sample(writer: &mut Writer<FileRegion>, at: Stamp, n: u64, with_target: bool) {
    if with_target {
        let handle = writer.define(&iomonitor()).expect("fits");
        let mut values = Values::new();
        for value in [n - n / 4, n, n, n * 1_000_001, n, n * 8192, n / 2, n / 2, 0] {
            values.push_u64(value);
        }
        values.push_absent();
        writer.append(handle, at, &values).expect("room");
    }
    let handle = writer.define(&status()).expect("fits");
    let mut values = Values::new();
    values.push_u64(if with_target { 2 } else { 1 });
    values.push_f64(if n == 0 { f64::NAN } else { n as f64 / 7.0 });
    writer.append(handle, at, &values).expect("room");
    writer.maintain().expect("sealed");
}

fn start(pid: u32, previous: &str) -> Event {
    Event::new("start")
        .with("version", "0.1.0")
        .with("pid", pid)
        .with("boot_id", "00112233-4455-6677-8899-aabbccddeeff")
        .with("kernel", "6.18.0")
        .with("hostname", "node-1")
        .with("interval", "10s")
        .with("previous", previous)
}

fn found(pid: u32) -> Event {
    Event::new("target_found")
        .with("pid", pid)
        .with("comm", "banyand")
}

impl Recorded {
    fn new() -> Recorded {
        Recorded {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self) -> PathBuf {
        self.folder().join("box.ktm")
    }

    /// No run has ever written into it but the one that made it.
    pub(crate) fn empty() -> Recorded {
        let recorded = Recorded::new();
        drop(create(&recorded.path()));
        recorded
    }

    /// The target is killed, the recorder is killed, the clock is set back, and it stops cleanly.
    pub(crate) fn incident() -> Recorded {
        let recorded = Recorded::new();
        let mut writer = create(&recorded.path());
        let event = |writer: &mut Writer<FileRegion>, at: i64, event: Event| {
            writer.event(stamp(at), &event).expect("room");
        };
        event(&mut writer, 0, start(100, "none"));
        let probe = Event::new("probe").with("signal", "cache_misses");
        event(
            &mut writer,
            0,
            Event::new("probe")
                .with("signal", "syscalls")
                .with("source", "tp_btf"),
        );
        event(&mut writer, 0, probe.with("reason", "no such hook"));
        event(&mut writer, 0, found(4711));
        for (at, n) in [(10, 100), (20, 300), (30, 700), (40, 1500)] {
            sample(&mut writer, stamp(at), n, true);
        }
        writer.begin_epoch();
        let lost = Event::new("target_lost")
            .with("pid", 4711)
            .with("comm", "banyand");
        event(
            &mut writer,
            47,
            lost.with("exit", "killed by SIGKILL").with("lived", "3h"),
        );
        sample(&mut writer, stamp(50), 0, false);
        drop(writer);

        let mut writer = open(&recorded.path());
        event(&mut writer, 80, start(200, "unclean"));
        let unclean = Event::new("unclean_end").with("run", 1).with("epoch", 2);
        event(
            &mut writer,
            80,
            unclean.with("last_sample", "2026-11-20T14:24:11.000000000Z"),
        );
        writer.begin_epoch();
        event(&mut writer, 80, found(4800));
        sample(&mut writer, stamp(90), 0, true);
        sample(&mut writer, stamp(100), 50, true);
        let step = Event::new("clock_step").with("seconds", "-5");
        let back = |seconds: i64| {
            let told = stamp(seconds);
            Stamp {
                realtime_ns: told.realtime_ns - 5 * SECOND,
                ..told
            }
        };
        writer.event(back(110), &step).expect("room");
        sample(&mut writer, back(110), 60, true);
        sample(&mut writer, back(120), 80, true);
        let stop = Event::new("stop")
            .with("reason", "SIGTERM")
            .with("samples", 4);
        writer.event(back(121), &stop).expect("room");
        recorded
    }

    /// More than a pipe holds.
    pub(crate) fn long() -> Recorded {
        let recorded = Recorded::new();
        let mut writer = create(&recorded.path());
        for at in 0..5_000 {
            sample(&mut writer, stamp(at), at as u64, true);
        }
        recorded
    }

    /// Flips a bit in each row of the second run's second sample. A run carries the unsealed rows
    /// of the one before forward, so those of the first run are there twice.
    pub(crate) fn damage(&self) {
        let mut bytes = std::fs::read(self.path()).expect("readable");
        for value in [
            (50.0_f64 / 7.0).to_le_bytes(),
            (50 * 1_000_001_u64).to_le_bytes(),
        ] {
            let place = bytes
                .windows(8)
                .position(|window| window == value)
                .expect("a raw row");
            bytes[place] ^= 1;
        }
        std::fs::write(self.path(), bytes).expect("writable");
    }

    /// A copy that says it has another format version, in both superblocks and with their CRC.
    pub(crate) fn copy_of_version(&self, name: &str, version: u16) {
        let mut bytes = std::fs::read(self.path()).expect("readable");
        for offset in [0, 32 * 1024] {
            let superblock = &mut bytes[offset..offset + 256];
            superblock[8..10].copy_from_slice(&version.to_le_bytes());
            superblock[12..16].fill(0);
            let crc = crc32(superblock);
            superblock[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        std::fs::write(self.folder().join(name), bytes).expect("writable");
    }
}

/// CRC-32 as in zlib, a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}
