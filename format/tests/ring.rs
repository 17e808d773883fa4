//! The ring from outside: what is appended comes back, in order, once, through sealing, laps and
//! reopening, and whatever is damaged costs no more than itself.

use ktm_format::{
    Clock, DamageKind, Entropy, Error, Event, Geometry, HEADER_ZONE, HeapRegion, Host, ReadAt,
    Recording, Region, Row, Schema, Select, Series, Snapshot, Stamp, Values, Writer,
};

/// Entropy that can be repeated.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn host() -> Host {
    Host {
        boot_id: [1; 16],
        pid: 1,
    }
}

fn small() -> Geometry {
    Geometry {
        file_size: 65_536 + 12 * 4096,
        segment_size: 4096,
        hot_count: 4,
        cold_count: 8,
    }
}

fn create(geometry: Geometry) -> (HeapRegion, Writer<HeapRegion>) {
    let region = HeapRegion::new(geometry.file_size);
    let writer = Writer::create(
        region.clone(),
        geometry,
        host(),
        Stamp::default(),
        &mut Counter(1),
    );
    (region, writer.expect("a region of zeros"))
}

fn reopen(region: &HeapRegion, salt: u64) -> Writer<HeapRegion> {
    Writer::open(region.clone(), host(), &mut Counter(salt)).expect("opens")
}

fn bytes(region: &HeapRegion) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ReadAt::len(region).expect("known")).expect("small")];
    region.read_at(0, &mut bytes).expect("in range");
    bytes
}

fn snapshot(bytes: Vec<u8>) -> Snapshot {
    Recording::over(bytes)
        .and_then(|recording| recording.snapshot())
        .expect("readable")
}

fn rows(snapshot: &Snapshot) -> Vec<Row> {
    snapshot
        .rows(&Select::all())
        .collect::<Result<_, _>>()
        .expect("no block became unreadable")
}

fn schema(module: &str, series: usize) -> Schema {
    let series = (0..series).map(|n| Series::counter(format!("{module}_{n}_total"), "Help."));
    Schema {
        module: module.into(),
        labels: vec![],
        series: series.collect(),
    }
}

fn at(second: u64) -> Stamp {
    Stamp {
        realtime_ns: 1_700_000_000_000_000_000 + second as i64 * 1_000_000_000,
        boottime_ns: second * 1_000_000_000,
    }
}

fn values(count: usize, row: u64) -> Values {
    let mut values = Values::new();
    for column in 0..count as u64 {
        // Pseudo-random growth, so that blocks are of a realistic size.
        values.push_u64((row * 7919 * (column + 1)) ^ (row * row));
    }
    values
}

/// Appends one row of each of two modules and now and then an event; seals when it is time.
fn sample(writer: &mut Writer<HeapRegion>, second: u64) {
    let wide = writer.define(&schema("wide", 20)).expect("fits");
    let narrow = writer.define(&schema("narrow", 3)).expect("fits");
    writer
        .append(wide, at(second), &values(20, second))
        .expect("room");
    writer
        .append(narrow, at(second), &values(3, second))
        .expect("room");
    if second.is_multiple_of(10) {
        writer
            .event(at(second), &Event::new("mark").with("second", second))
            .expect("room");
    }
    writer.maintain().expect("the heap does not fail");
}

#[test]
fn rows_and_events_come_back_in_recorded_order_through_many_laps() {
    let (region, mut writer) = create(small());
    for second in 0..2000 {
        sample(&mut writer, second);
        if second % 97 == 0 {
            let snapshot = snapshot(bytes(&region));
            assert!(snapshot.damage().is_empty(), "{:?}", snapshot.damage());
            let rows = rows(&snapshot);
            let last = rows.last().expect("rows");
            assert_eq!(last.stamp, at(second));
            assert!(rows.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            for row in &rows {
                let second = row.stamp.boottime_ns / 1_000_000_000;
                assert_eq!(*row.values(), values(row.schema.series.len(), second));
            }
        }
    }
    let snapshot = snapshot(bytes(&region));
    let kept = rows(&snapshot).len();
    assert!(
        (300..4000).contains(&kept),
        "{kept} rows kept in a lapped ring"
    );
    let newest: Vec<_> = rows(&snapshot)
        .iter()
        .rev()
        .take(100)
        .map(|row| row.seq)
        .collect();
    let events: Vec<_> = snapshot.events().iter().map(|event| event.seq).collect();
    for seq in newest.last().copied().expect("rows")..=newest[0] {
        assert!(
            newest.contains(&seq) || events.contains(&seq),
            "seq {seq} is missing"
        );
    }
}

#[test]
fn a_run_that_died_is_read_whole_by_the_next_and_never_appended_to() {
    let (region, mut writer) = create(small());
    for second in 0..5 {
        sample(&mut writer, second);
    }
    drop(writer);
    let before = rows(&snapshot(bytes(&region)));
    let mut writer = reopen(&region, 2);
    assert_eq!(writer.recovery().hot_rows, 10);
    assert_eq!(writer.recovery().last_row.map(|row| row.stamp), Some(at(4)));
    assert_eq!((writer.run(), writer.epoch()), (2, 2));
    sample(&mut writer, 100);
    let after = rows(&snapshot(bytes(&region)));
    assert_eq!(
        after[..before.len()],
        before,
        "the old rows, with their own run and epoch"
    );
    assert_eq!(after.len(), before.len() + 2);
    assert_eq!(after.last().map(|row| (row.run, row.epoch)), Some((2, 2)));
}

#[test]
fn a_torn_row_is_not_made_whole_by_what_a_later_lap_leaves_there() {
    let (region, mut writer) = create(small());
    for second in 0..3 {
        sample(&mut writer, second);
    }
    drop(writer);
    let whole = bytes(&region);
    let segment = usize::try_from(HEADER_ZONE).expect("small");
    let first_record = segment + 128;
    let length = whole[first_record..first_record + 4].try_into();
    let torn_at = first_record + u32::from_le_bytes(length.expect("four bytes")) as usize;
    // All of a row but its first word has reached the disk, and something behind the end.
    let word: [u8; 8] = whole[torn_at..torn_at + 8].try_into().expect("a word");
    region.store(torn_at as u64, &[0; 8]);
    let behind = segment + 4096 - 128 - 64..segment + 4096 - 128;
    region.store(behind.start as u64, &[0xaa; 64]);
    let torn = snapshot(bytes(&region));
    assert_eq!(torn.damage().len(), 1);

    let recovery = reopen(&region, 2).recovery().clone();
    assert_eq!(recovery.damage, torn.damage());
    let taken_up = snapshot(bytes(&region));
    assert_eq!(
        taken_up.damage(),
        torn.damage(),
        "told by later readers, too"
    );
    assert_eq!(rows(&taken_up), rows(&torn));
    assert!(bytes(&region)[behind].iter().all(|byte| *byte == 0));

    // Rows of a kind begin with the same word. The new lap's gets to the disk, its header does not.
    let lap_over = |mut image: Vec<u8>| {
        image[torn_at..torn_at + 8].copy_from_slice(&word);
        rows(&snapshot(image)).len()
    };
    assert_eq!(lap_over(bytes(&region)), rows(&torn).len());
    let mut never_cleared = whole;
    never_cleared[torn_at..torn_at + 8].fill(0);
    assert_eq!(lap_over(never_cleared), rows(&torn).len() + 1);
}

#[test]
fn rows_whose_own_schema_is_damaged_are_sealed_with_that_of_another_segment() {
    let (region, mut writer) = create(small());
    let wide = writer.define(&schema("wide", 20)).expect("fits");
    for second in 0..60 {
        let appended = writer.append(wide, at(second), &values(20, second));
        appended.expect("room");
        writer.maintain().expect("memory does not fail");
    }
    drop(writer);
    // The first two segments are sealed and free. Those behind them lose their schemas.
    let image = bytes(&region);
    for segment in [2, 3] {
        let mut record = 65_536 + segment * 4096 + 128;
        let length = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four"));
        while length(record) != 0 {
            if image[record + 4] == 3 {
                region.store(record as u64 + 40, &[0xff; 8]);
            }
            record += length(record) as usize;
        }
    }
    let found = snapshot(bytes(&region));
    assert_eq!(rows(&found).len(), 60);
    assert!(!found.damage().is_empty() && found.info().sealed_rows < 60);
    let _next = reopen(&region, 2);
    assert_eq!(
        snapshot(bytes(&region)).info().sealed_rows,
        60,
        "before anything is overwritten"
    );
}

#[test]
fn a_crash_loop_does_not_push_history_out() {
    let (region, mut writer) = create(small());
    for second in 0..600 {
        sample(&mut writer, second);
    }
    drop(writer);
    let before = rows(&snapshot(bytes(&region)));
    for restart in 0..100 {
        let mut writer = reopen(&region, 10 + restart);
        writer
            .event(at(1000 + restart), &Event::new("start"))
            .expect("room");
        writer.maintain().expect("the heap does not fail");
    }
    let after = rows(&snapshot(bytes(&region)));
    assert!(
        after.len() * 2 > before.len(),
        "{} of {} rows left",
        after.len(),
        before.len()
    );
    assert_eq!(after.last(), before.last());
}

#[test]
fn rows_carried_from_one_restart_to_the_next_stay_as_they_were() {
    let (region, mut writer) = create(small());
    let narrow = writer.define(&schema("narrow", 3)).expect("fits");
    for second in 0..5 {
        let appended = writer.append(narrow, at(second), &values(3, second));
        appended.expect("room");
    }
    drop(writer);
    let mut before = rows(&snapshot(bytes(&region)));
    // Often enough for the hot ring to come round, with one more schema to carry now and then.
    for restart in 0..12 {
        let mut writer = reopen(&region, 10 + restart);
        if restart % 5 == 1 {
            let other = format!("other{restart}");
            let other = writer.define(&schema(&other, 2)).expect("fits");
            let appended = writer.append(other, at(100), &values(2, 100));
            appended.expect("room");
            before.extend(rows(&snapshot(bytes(&region))).pop());
        }
        drop(writer);
        assert_eq!(
            rows(&snapshot(bytes(&region))),
            before,
            "{restart} restarts"
        );
    }
}

#[test]
fn recovery_tells_the_last_row_s_own_time_wherever_it_is() {
    for count in 1..60 {
        let (region, mut writer) = create(small());
        let wide = writer.define(&schema("wide", 20)).expect("fits");
        for second in 0..count {
            writer
                .append(wide, at(second), &values(20, second))
                .expect("room");
            writer.maintain().expect("the heap does not fail");
        }
        // Until the hot ring has come round, and only a block has it.
        for restart in 0..6 {
            let mut writer = reopen(&region, 10 + restart);
            for last in [writer.recovery().last, writer.recovery().last_row] {
                let stamp = last.map(|last| last.stamp);
                assert_eq!(
                    stamp,
                    Some(at(count - 1)),
                    "{count} rows, {restart} restarts"
                );
            }
            writer.maintain().expect("the heap does not fail");
        }
    }
}

#[test]
fn no_number_is_given_twice_after_restarts_without_a_record() {
    let geometry = Geometry {
        file_size: 65_536 + 12 * 1024,
        segment_size: 1024,
        hot_count: 2,
        cold_count: 10,
    };
    // Rows around two events; the block and the events do not fit one cold segment.
    for text in (0..700).step_by(7) {
        let (region, mut writer) = create(geometry);
        let narrow = writer.define(&schema("narrow", 3)).expect("fits");
        let mut last = 0;
        for second in 0..30 {
            let appended = match second {
                2 | 3 => {
                    let event = Event::new("mark").with("text", "x".repeat(text));
                    writer.event(at(second), &event)
                }
                _ => writer.append(narrow, at(second), &values(3, second)),
            };
            match appended {
                Ok(seq) => last = seq,
                Err(Error::HotRingFull) => break,
                Err(error) => panic!("{error}"),
            }
        }
        drop(writer);
        for restart in 0..6 {
            let mut writer = reopen(&region, 10 + restart);
            let found = writer.recovery().last.map(|last| last.seq);
            assert_eq!(
                found,
                Some(last),
                "events of {text} bytes, restart {restart}"
            );
            writer.maintain().expect("the heap does not fail");
        }
    }
}

#[test]
fn a_seal_that_never_becomes_durable_loses_nothing() {
    let (region, mut writer) = create(small());
    let wide = writer.define(&schema("wide", 20)).expect("fits");
    let mut appended = 0;
    loop {
        match writer.append(wide, at(appended), &values(20, appended)) {
            Ok(_) => appended += 1,
            Err(Error::HotRingFull) => break,
            Err(error) => panic!("{error}"),
        }
        if let Some(job) = writer.begin_seal() {
            let _written_and_never_synced = writer.commit_seal(job.encode()).expect("written");
        }
    }
    assert_eq!(
        rows(&snapshot(bytes(&region))).len() as u64,
        appended,
        "each once"
    );
    drop(writer);
    let mut writer = reopen(&region, 2);
    assert_eq!(
        rows(&snapshot(bytes(&region))).len() as u64,
        appended,
        "the stuck ring reopens"
    );
    let wide = writer.define(&schema("wide", 20)).expect("fits");
    writer
        .append(wide, at(9999), &values(20, 9999))
        .expect("room again");
}

#[test]
fn absent_values_and_every_bit_pattern_survive_sealing() {
    let (region, mut writer) = create(small());
    let handle = writer.define(&schema("odd", 4)).expect("fits");
    let mut expected = Vec::new();
    for second in 0..500_u64 {
        let mut values = Values::new();
        values.push_u64(u64::MAX - second);
        values.push_f64(f64::from_bits(0x7ff8_dead_beef_0000 + second));
        values.push_i64(i64::MIN + second as i64);
        if second % 3 == 0 {
            values.push_absent();
        } else {
            values.push_u64(0);
        }
        writer.append(handle, at(second), &values).expect("room");
        writer.maintain().expect("the heap does not fail");
        expected.push(values);
    }
    let snapshot = snapshot(bytes(&region));
    assert!(snapshot.info().sealed_rows > 0, "some of it was sealed");
    let rows = rows(&snapshot);
    let expected = &expected[expected.len() - rows.len()..];
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row.values(), expected);
    }
}

/// Every `STEP`th bit; `STEP=1` in release mode takes a minute.
#[test]
fn any_flipped_bit_loses_at_most_a_block_and_is_reported() {
    let (region, mut writer) = create(small());
    for second in 0..60 {
        sample(&mut writer, second);
    }
    let whole = bytes(&region);
    let all = snapshot(whole.clone());
    assert!(
        all.info().blocks > 0 && all.info().hot_rows > 0,
        "a little of everything"
    );
    let (all_rows, all_events) = (rows(&all), all.events());
    let step = std::env::var("STEP")
        .ok()
        .and_then(|step| step.parse().ok())
        .unwrap_or(611);
    for bit in (0..whole.len() * 8).step_by(step) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let snapshot = snapshot(damaged);
        let kept: Vec<Row> = snapshot
            .rows(&Select::all())
            .filter_map(Result::ok)
            .collect();
        assert!(
            kept.iter().all(|row| all_rows.contains(row)),
            "bit {bit}: invented a row"
        );
        let lost: Vec<_> = all_rows.iter().filter(|row| !kept.contains(row)).collect();
        let whose = |row: &&&Row| row.schema.module == lost[0].schema.module;
        assert!(
            lost.iter().all(|row| whose(&row)),
            "bit {bit}: lost rows of two schemas"
        );
        assert!(lost.len() <= 60, "bit {bit}: lost {} rows", lost.len());
        let events = all_events
            .iter()
            .filter(|event| !snapshot.events().contains(event))
            .count();
        assert!(
            events + lost.len().min(1) <= 1,
            "bit {bit}: lost two records"
        );
        let loss = events + lost.len();
        assert!(
            loss == 0 || !snapshot.damage().is_empty(),
            "bit {bit}: {loss} lost silently"
        );
    }
}

#[test]
fn damage_of_a_segment_header_loses_nothing_and_says_so() {
    let (region, mut writer) = create(small());
    for second in 0..20 {
        sample(&mut writer, second);
    }
    let mut damaged = bytes(&region);
    let all = rows(&snapshot(damaged.clone()));
    damaged[65_536 + 20] ^= 1;
    let snapshot = snapshot(damaged);
    assert_eq!(rows(&snapshot), all);
    assert_eq!(snapshot.damage()[0].what, DamageKind::SegmentHeader);
}

#[test]
fn a_row_of_the_wrong_length_or_too_large_is_refused_and_nothing_is_written() {
    let (_region, mut writer) = create(small());
    let handle = writer.define(&schema("m", 3)).expect("fits");
    let refused = writer.append(handle, at(0), &values(2, 0));
    assert!(matches!(
        refused,
        Err(Error::WrongLength {
            expected: 3,
            given: 2
        })
    ));
    assert!(matches!(
        writer.define(&schema("huge", 600)),
        Err(Error::RowTooLarge { .. })
    ));
}

#[test]
fn the_system_clock_and_entropy_move() {
    let (a, b) = (ktm_format::SystemClock.now(), ktm_format::SystemClock.now());
    assert!(b.boottime_ns >= a.boottime_ns);
    let mut nonces = [[0; 8]; 2];
    for nonce in &mut nonces {
        ktm_format::SystemEntropy.fill(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
}
