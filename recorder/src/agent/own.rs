//! The recorder's own series: how well it can see, and how well it is doing.

use std::sync::Arc;
use std::time::Duration;

use ktm_format::{Kind, Schema, Series, Stamp, ValueType, Values};

use super::slot::Slot;
use crate::flight::{FlightRecorder, Handle};
use crate::replay::Latest;

/// The name of the module that these series are recorded under.
pub(super) const MODULE: &str = "recorder";

/// What the loop counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) samples: u64,
    pub(super) late: u64,
    pub(super) missed: u64,
    /// How long the last sample took, all modules and the writing together.
    pub(super) took: Option<Duration>,
    pub(super) followed: u64,
}

/// What can be seen, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// No module runs, or none has attached anything.
    Disabled = 0,
    /// Something is missing: a signal, a module or the target.
    Degraded = 1,
    /// Every signal is attached and scoped to the target.
    Full = 2,
}

impl Status {
    pub(super) fn of(slots: &[Slot], has_target: bool) -> Status {
        let probes = || slots.iter().flat_map(|slot| slot.probes());
        let attached = probes().filter(|probe| probe.source.is_some()).count();
        let all = slots.iter().all(Slot::is_up) && attached == probes().count();
        match attached {
            0 => Status::Disabled,
            _ if all && has_target => Status::Full,
            _ => Status::Degraded,
        }
    }
}

#[derive(Default)]
pub(super) struct OwnSeries {
    defined: Option<(Arc<Schema>, Handle)>,
    /// What the probe series were made of; they are defined anew when it changes.
    probes: Vec<(&'static str, &'static str, Option<String>)>,
    values: Values,
}

impl OwnSeries {
    /// How many series there are now.
    pub(super) fn width(&self) -> usize {
        self.defined
            .as_ref()
            .map_or(0, |(schema, _)| schema.series.len())
    }

    /// Writes the row and shows it.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call, from one place, of unlike things"
    )]
    pub(super) fn sample(
        &mut self,
        recorder: &mut FlightRecorder,
        latest: &mut Latest,
        stamp: Stamp,
        identity: &[(String, String)],
        slots: &[Slot],
        tally: &Tally,
        has_target: bool,
    ) -> ktm_format::Result<()> {
        let (schema, handle) = self.define(recorder, identity, slots)?;
        let values = &mut self.values;
        values.clear();
        let status = Status::of(slots, has_target);
        values.push_u64(status as u64);
        values.push_u64(u64::from(status != Status::Full));
        values.push_u64(u64::from(has_target));
        values.push_u64(tally.followed);
        push_duration(values, tally.took);
        values.push_u64(tally.samples);
        values.push_u64(tally.late);
        values.push_u64(tally.missed);
        let sync = recorder.sync_stats();
        push_duration(values, sync.last);
        values.push_u64(sync.failures);
        values.push_u64(recorder.epoch().into());
        values.push_u64(recorder.run().into());
        values.push_u64(1);
        for slot in slots {
            values.push_u64(u64::from(slot.is_up()));
        }
        for (_, _, source) in &self.probes {
            values.push_u64(u64::from(source.is_some()));
        }
        latest.push(schema, values);
        recorder.write_row(handle, stamp, values).map(|_| ())
    }

    fn define(
        &mut self,
        recorder: &mut FlightRecorder,
        identity: &[(String, String)],
        slots: &[Slot],
    ) -> ktm_format::Result<(Arc<Schema>, Handle)> {
        let probes = || {
            slots.iter().flat_map(|slot| {
                let named = |probe: &ktm::ProbeReport| (probe.signal, probe.source.clone());
                slot.probes()
                    .iter()
                    .map(named)
                    .map(|(signal, source)| (slot.name(), signal, source))
            })
        };
        if let Some((schema, handle)) = &self.defined
            && probes().eq(self.probes.iter().cloned())
        {
            return Ok((Arc::clone(schema), *handle));
        }
        self.probes = probes().collect();
        let mut series = fixed_series();
        series.extend(slots.iter().map(|slot| {
            Series::gauge(
                "ktm_module_up",
                "1 while the module runs, 0 while it waits to be \
                started again after a failure.",
            )
            .label("module", slot.name())
        }));
        series.extend(self.probes.iter().map(|(module, signal, source)| {
            Series::gauge(
                "ktm_probe_attached",
                "1 if the signal is counted, from the source named; \
                0 if it is absent: then its series are missing, not zero.",
            )
            .label("module", *module)
            .label("signal", *signal)
            .label("source", source.as_deref().unwrap_or("none"))
        }));
        let taken = ["module", "signal", "source", "version"];
        let labels = identity
            .iter()
            .filter(|(name, _)| !taken.contains(&name.as_str()))
            .cloned()
            .collect();
        let schema = Schema {
            module: MODULE.to_owned(),
            labels,
            series,
        };
        let handle = recorder.define(&schema)?;
        let schema = Arc::new(schema);
        self.defined = Some((Arc::clone(&schema), handle));
        Ok((schema, handle))
    }
}

fn push_duration(values: &mut Values, duration: Option<Duration>) {
    match duration.and_then(|duration| u64::try_from(duration.as_nanos()).ok()) {
        Some(nanos) => values.push_u64(nanos),
        None => values.push_absent(),
    }
}

/// The series that are always there, in the order that [`OwnSeries::sample`] pushes them.
fn fixed_series() -> Vec<Series> {
    let seconds = |name: &str, help: &str| {
        Series::new(name, Kind::Gauge, ValueType::U64, help)
            .unit("seconds")
            .exponent(-9)
    };
    vec![
        Series::gauge(
            "ktm_status",
            "What can be seen: 0 nothing, 1 degraded (a signal, a module \
            or the target is missing), 2 full (every signal attached and scoped to the target).",
        ),
        Series::gauge("ktm_degraded", "1 while ktm_status is not 2."),
        Series::gauge(
            "ktm_target_up",
            "1 while the watched process lives, 0 while none matches.",
        ),
        Series::counter(
            "ktm_target_followed_total",
            "Processes that were found and watched, \
            restarts included.",
        ),
        seconds(
            "ktm_sample_duration_seconds",
            "How long the previous sample took, all modules and \
            the writing together.",
        ),
        Series::counter("ktm_samples_total", "Samples taken, this one included."),
        Series::counter(
            "ktm_samples_late_total",
            "Samples taken later than a tenth of the interval \
            (50 ms at least) after their time.",
        ),
        Series::counter(
            "ktm_samples_missed_total",
            "Samples that were due and never taken: the \
            machine slept or the recorder was held up.",
        ),
        seconds(
            "ktm_sync_duration_seconds",
            "How long the last forced write to the disk took.",
        ),
        Series::counter(
            "ktm_sync_failures_total",
            "Forced writes to the disk that failed; after \
            each the recorder goes on in a new file.",
        ),
        Series::gauge(
            "ktm_epoch",
            "The epoch in force: counters only grow within one.",
        ),
        Series::gauge(
            "ktm_run",
            "The number of this life of the recorder in its file.",
        ),
        Series::gauge(
            "ktm_build_info",
            "1, with the recorder's version as a label.",
        )
        .label("version", env!("CARGO_PKG_VERSION")),
    ]
}
