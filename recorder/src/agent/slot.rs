//! A module's place in the loop: running, or failed and waiting for its next attempt.
//!
//! A module that fails or panics is dropped and started again, with longer and longer pauses; the
//! others and the recording know nothing of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ktm::{Context, Module, ModuleError, ProbeReport, Registration, Target};
use ktm_format::{Event, Schema, Stamp, Values};

use crate::flight::{FlightRecorder, Handle};
use crate::replay::Latest;

const FIRST_PAUSE_NS: u64 = 1_000_000_000;
const LONGEST_PAUSE_NS: u64 = 300_000_000_000;

pub(super) struct Slot {
    registration: Registration,
    state: State,
    /// How long to wait after the next failure; grows while failures follow each other.
    pause_ns: u64,
    /// The last failure recorded, so that a lasting one is recorded once.
    said: Option<String>,
    values: Values,
}

enum State {
    /// To be started at this boot time.
    Down { at_ns: u64 },
    Up {
        module: Box<dyn Module>,
        generation: u64,
        columns: Option<Columns>,
    },
}

/// The module's schema as defined, `None` where it has no series at all.
struct Columns {
    schema: Arc<Schema>,
    handle: Handle,
}

/// What a module did that is worth an event and a line.
pub(super) enum Change {
    Started,
    Failed(String),
}

impl Slot {
    pub(super) fn new(registration: Registration) -> Slot {
        Slot {
            registration,
            state: State::Down { at_ns: 0 },
            pause_ns: FIRST_PAUSE_NS,
            said: None,
            values: Values::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.registration.name
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// How many series it has now.
    pub(super) fn width(&self) -> usize {
        match &self.state {
            State::Up {
                columns: Some(columns),
                ..
            } => columns.schema.series.len(),
            _ => 0,
        }
    }

    pub(super) fn probes(&self) -> &[ProbeReport] {
        match &self.state {
            State::Up { module, .. } => module.probes(),
            State::Down { .. } => &[],
        }
    }

    /// Starts the module if it is down and its pause is over.
    pub(super) fn start(
        &mut self,
        context: &Context,
        target: Option<&Target>,
        now_ns: u64,
    ) -> Option<Change> {
        match self.state {
            State::Down { at_ns } if at_ns <= now_ns => {}
            _ => return None,
        }
        let registration = self.registration;
        let started = guarded(|| {
            let mut module = (registration.start)(context)?;
            if target.is_some() {
                module.retarget(target)?;
            }
            Ok(module)
        });
        match started {
            Ok(module) => {
                self.state = State::Up {
                    module,
                    generation: u64::MAX,
                    columns: None,
                };
                Some(Change::Started)
            }
            Err(reason) => self.fail(reason, now_ns),
        }
    }

    /// Follows another target, or none.
    pub(super) fn retarget(&mut self, target: Option<&Target>, now_ns: u64) -> Option<Change> {
        let State::Up { module, .. } = &mut self.state else {
            return None;
        };
        match guarded(|| module.retarget(target)) {
            Ok(()) => None,
            Err(reason) => self.fail(reason, now_ns),
        }
    }

    /// Takes a sample, writes it and shows it. `Err` is the recorder's failure, not the module's.
    pub(super) fn sample(
        &mut self,
        recorder: &mut FlightRecorder,
        latest: &mut Latest,
        stamp: Stamp,
        identity: &[(String, String)],
        has_target: bool,
    ) -> (ktm_format::Result<()>, Option<Change>) {
        let State::Up {
            module,
            generation,
            columns,
        } = &mut self.state
        else {
            return (Ok(()), None);
        };
        if module.needs_target() && !has_target {
            return (Ok(()), None);
        }
        if *generation != module.generation() {
            match define(recorder, module.as_ref(), identity) {
                Ok(defined) => *columns = defined,
                Err(error) => return (Err(error), None),
            }
            *generation = module.generation();
        }
        let Some(columns) = columns else {
            return (Ok(()), None);
        };
        let values = &mut self.values;
        values.clear();
        let sampled = guarded(|| module.sample(values)).and_then(|()| {
            let (expected, given) = (columns.schema.series.len(), values.len());
            let fits = format!("it gave {given} values for {expected} series");
            (expected == given).then_some(()).ok_or(fits)
        });
        if let Err(reason) = sampled {
            let change = self.fail(reason, stamp.boottime_ns);
            return (Ok(()), change);
        }
        self.pause_ns = FIRST_PAUSE_NS;
        latest.push(Arc::clone(&columns.schema), values);
        (
            recorder
                .write_row(columns.handle, stamp, values)
                .map(|_| ()),
            None,
        )
    }

    fn fail(&mut self, reason: String, now_ns: u64) -> Option<Change> {
        self.state = State::Down {
            at_ns: now_ns.saturating_add(self.pause_ns),
        };
        self.pause_ns = (self.pause_ns * 2).min(LONGEST_PAUSE_NS);
        let is_news = self.said.as_deref() != Some(reason.as_str());
        self.said = Some(reason.clone());
        is_news.then_some(Change::Failed(reason))
    }

    /// The event for a change, with `module_recovered` where a failure had been recorded.
    pub(super) fn events(&mut self, change: &Change) -> Vec<Event> {
        let name = self.registration.name;
        match change {
            Change::Failed(reason) => {
                vec![
                    Event::new("module_failed")
                        .with("module", name)
                        .with("reason", reason),
                ]
            }
            Change::Started => {
                let recovered = self.said.take().map(|reason| {
                    Event::new("module_recovered")
                        .with("module", name)
                        .with("reason", reason)
                });
                let probes = self.probes().iter().map(|probe| probe_event(name, probe));
                recovered.into_iter().chain(probes).collect()
            }
        }
    }
}

fn define(
    recorder: &mut FlightRecorder,
    module: &dyn Module,
    identity: &[(String, String)],
) -> ktm_format::Result<Option<Columns>> {
    let series = module.series();
    if series.is_empty() {
        return Ok(None);
    }
    // A label of the series' own says more than the host's.
    let is_free = |name: &String| {
        !series
            .iter()
            .any(|series| series.labels.iter().any(|(own, _)| own == name))
    };
    let labels = identity
        .iter()
        .filter(|(name, _)| is_free(name))
        .cloned()
        .collect();
    let schema = Schema {
        module: module.name().to_owned(),
        labels,
        series,
    };
    let handle = recorder.define(&schema)?;
    Ok(Some(Columns {
        schema: Arc::new(schema),
        handle,
    }))
}

fn probe_event(module: &str, probe: &ProbeReport) -> Event {
    let event = Event::new("probe")
        .with("module", module)
        .with("signal", probe.signal);
    let tried: Vec<String> = probe.tried.iter().map(ToString::to_string).collect();
    let event = match &probe.source {
        Some(source) => event.with("source", source),
        None => event.with("reason", absence(probe)),
    };
    if tried.is_empty() {
        event
    } else {
        event.with("tried", tried.join("; "))
    }
}

/// Why a signal is absent: what the kernel said to the last thing that was tried.
pub(super) fn absence(probe: &ProbeReport) -> String {
    match probe.tried.last() {
        Some(last) => last.to_string(),
        None => "nothing to try on this kernel".to_owned(),
    }
}

/// Runs a module's code. A panic in it is a failure like any other.
fn guarded<T>(code: impl FnOnce() -> Result<T, ModuleError>) -> Result<T, String> {
    // The module is dropped after a failure, so no half-changed state of it is seen again.
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panicked: {}", panic_text(panic.as_ref()))),
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use ktm::tracefs::TraceFs;
    use ktm_format::{Recording, Select, Series};

    use super::*;
    use crate::flight::Options;

    /// Fails at its second sample, panics at its fourth, and counts its lives.
    struct Fragile(u64);

    static LIVES: AtomicU32 = AtomicU32::new(0);
    static SAMPLES: AtomicU32 = AtomicU32::new(0);

    impl Module for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        fn series(&self) -> Vec<Series> {
            vec![Series::counter("fragile_total", "Samples of this life.").label("host", "own")]
        }

        fn sample(&mut self, out: &mut Values) -> Result<(), ModuleError> {
            self.0 += 1;
            match SAMPLES.fetch_add(1, Ordering::SeqCst) + 1 {
                2 => Err(ModuleError::new("sampling", "the moon is full")),
                4 => panic!("broken heart"),
                _ => {
                    out.push_u64(self.0);
                    Ok(())
                }
            }
        }

        fn retarget(&mut self, _: Option<&Target>) -> Result<(), ModuleError> {
            Ok(())
        }

        fn needs_target(&self) -> bool {
            false
        }

        fn probes(&self) -> &[ProbeReport] {
            &[]
        }
    }

    fn fragile(_: &Context) -> Result<Box<dyn Module>, ModuleError> {
        LIVES.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Fragile(0)))
    }

    #[test]
    fn a_module_that_fails_or_panics_is_started_again_after_a_pause() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("box.ktm");
        let options = Options {
            size: 1 << 20,
            ..Options::default()
        };
        let (mut recorder, _) = FlightRecorder::open_or_create(&path, &options).expect("opened");
        let mut slot = Slot::new(Registration {
            name: "fragile",
            help: "",
            start: fragile,
        });
        let context = Context::new(TraceFs::Missing("a test".into()));
        let identity = [("host".to_owned(), "ours".to_owned())];
        let mut kinds = Vec::new();
        for second in 1..=12_u64 {
            let stamp = Stamp {
                realtime_ns: 0,
                boottime_ns: second * 1_000_000_000,
            };
            let mut changes: Vec<Change> = slot
                .start(&context, None, stamp.boottime_ns)
                .into_iter()
                .collect();
            let mut latest = Latest::default();
            let (wrote, change) = slot.sample(&mut recorder, &mut latest, stamp, &identity, false);
            wrote.expect("written");
            changes.extend(change);
            for change in changes {
                let events = slot.events(&change).into_iter();
                kinds.extend(events.map(|event| (second, event.kind, event.fields)));
            }
        }
        let reasons: Vec<(u64, &str, &str)> = kinds
            .iter()
            .map(|(second, kind, fields)| (*second, kind.as_str(), fields[1].1.as_str()))
            .collect();
        assert_eq!(
            reasons,
            [
                (2, "module_failed", "sampling: the moon is full"),
                (3, "module_recovered", "sampling: the moon is full"),
                (4, "module_failed", "panicked: broken heart"),
                (5, "module_recovered", "panicked: broken heart"),
            ]
        );
        assert_eq!(LIVES.load(Ordering::SeqCst), 3);
        recorder.flush().expect("synced");
        let snapshot = Recording::open(&path)
            .expect("ours")
            .snapshot()
            .expect("readable");
        assert_eq!(
            snapshot.rows(&Select::all()).count(),
            10,
            "two samples failed"
        );
        assert!(
            snapshot.schemas().all(|schema| schema.labels.is_empty()),
            "the series' own label stays alone"
        );
    }
}
