//! The sampling loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ktm::{Context, Discovery, Target};
use ktm_format::Event;

use super::alarm::{Alarm, Requests};
use super::board::{Board, View};
use super::clock::{ClockWatch, Observed, Reading};
use super::oom::OomWatch;
use super::own::{MODULE, OwnSeries, Status, Tally};
use super::say::{report, rough};
use super::schedule::{Due, Schedule};
use super::slot::{Change, Slot};
use super::target::Pause;
use crate::config::Config;
use crate::flight::{FlightRecorder, events};
use crate::replay::Latest;

mod following;
#[cfg(test)]
mod time_tests;

pub(super) struct Sampler {
    config: Config,
    recorder: FlightRecorder,
    context: Context,
    slots: Vec<Slot>,
    own: OwnSeries,
    tally: Tally,
    discovery: Discovery,
    oom: OomWatch,
    /// When to look for a target between samples.
    search: Pause,
    /// The pid of the target before the present one.
    last_pid: Option<u32>,
    has_waited: bool,
    rows_in_epoch: bool,
    schedule: Schedule,
    clocks: ClockWatch,
    last_sample: Option<Reading>,
    /// Since when rows have not been accepted, and why.
    trouble: Option<(Reading, String)>,
    alarm: Alarm,
    requests: Arc<Requests>,
    board: Arc<Board>,
}

/// The target at the time of a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    None,
    Alive,
    /// It has just ended, and this is the last sample of it.
    Ended,
}

/// What a sampler starts with.
pub(super) struct Start {
    pub(super) config: Config,
    pub(super) recorder: FlightRecorder,
    pub(super) context: Context,
    pub(super) slots: Vec<Slot>,
    pub(super) discovery: Discovery,
    pub(super) requests: Arc<Requests>,
    pub(super) board: Arc<Board>,
}

impl Sampler {
    pub(super) fn new(start: Start) -> std::io::Result<Sampler> {
        let Start {
            config,
            recorder,
            context,
            slots,
            discovery,
            requests,
            board,
        } = start;
        let now = Reading::now();
        let mut clocks = ClockWatch::default();
        clocks.observe(now);
        Ok(Sampler {
            schedule: Schedule::new(now.boottime_ns(), config.interval),
            search: Pause::new(config.interval),
            config,
            recorder,
            context,
            slots,
            own: OwnSeries::default(),
            tally: Tally::default(),
            discovery,
            oom: OomWatch::default(),
            last_pid: None,
            has_waited: false,
            rows_in_epoch: false,
            clocks,
            last_sample: None,
            trouble: None,
            alarm: Alarm::new()?,
            requests,
            board,
        })
    }

    /// Takes the first sample, at once.
    pub(super) fn first(&mut self) {
        let now = Reading::now();
        self.schedule.take(now.boottime_ns());
        self.oom.keep_up(now.boottime_ns());
        self.instant();
    }

    /// Samples until somebody asks to stop, and gives back the reason.
    pub(super) fn run(&mut self) -> std::io::Result<&'static str> {
        loop {
            let deadline = self.schedule.deadline().min(self.search.at_ns());
            let target_ended = self.alarm.sleep(deadline, &self.requests)?;
            let asked = self.requests.take();
            if let Some(reason) = asked.stop {
                return Ok(reason);
            }
            self.wake(asked.sample, target_ended);
        }
    }

    /// Does what is due, was asked for, or follows from the target's end.
    fn wake(&mut self, is_asked: bool, target_ended: bool) {
        let now = Reading::now();
        let is_search_due = self.search.at_ns() <= now.boottime_ns();
        if let Some(due) = self.schedule.take(now.boottime_ns()) {
            self.note_time(now, Some(due));
            self.instant();
        } else if is_asked {
            self.note_time(now, None);
            self.event(now, &Event::new("sample_now"));
            report(now.stamp.realtime_ns, "sample taken at once (SIGUSR1)");
            self.instant();
        } else if target_ended || is_search_due {
            self.note_time(now, None);
            self.look();
        }
    }

    /// Takes a last sample and ends the run.
    pub(super) fn stop(mut self, reason: &str) -> ktm_format::Result<u64> {
        self.note_time(Reading::now(), None);
        self.instant();
        let samples = self.recorder.samples();
        self.recorder.stop(Reading::now().stamp, reason)?;
        Ok(samples)
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn target(&self) -> Option<&Target> {
        self.discovery.target()
    }

    /// Records what the clocks did since the last look, and how late this sample is.
    fn note_time(&mut self, now: Reading, due: Option<Due>) {
        let Observed {
            step_ns, suspended, ..
        } = self.clocks.observe(now);
        if let Some(step_ns) = step_ns {
            let event = events::clock_step(step_ns);
            self.event(now, &event);
            let seconds = event.field("seconds").unwrap_or_default();
            report(
                now.stamp.realtime_ns,
                format_args!("the wall clock stepped by {seconds} s"),
            );
        }
        if let Some(slept) = suspended {
            self.event(now, &events::gap(slept, "suspended"));
            report(
                now.stamp.realtime_ns,
                format_args!("the machine slept for {}", rough(slept)),
            );
        }
        let Some(due) = due else { return };
        self.tally.missed += due.missed;
        if suspended.is_some() {
            return;
        }
        if due.missed > 0 {
            let since = self.last_sample.map_or(0, |last| last.boottime_ns());
            let passed = Duration::from_nanos(now.boottime_ns().saturating_sub(since));
            self.event(now, &events::gap(passed, "sample late"));
            report(
                now.stamp.realtime_ns,
                format_args!(
                    "held up: {} samples missed, none for {}",
                    due.missed,
                    rough(passed)
                ),
            );
        }
        if due.is_late {
            self.tally.late += 1;
            if due.missed == 0 {
                self.event(now, &events::late(due.lateness));
            }
        }
    }

    fn start_modules(&mut self) {
        let now = Reading::now();
        let mut slots = std::mem::take(&mut self.slots);
        for slot in &mut slots {
            let target = self.discovery.target();
            if let Some(change) = slot.start(&self.context, target, now.boottime_ns()) {
                self.note_change(slot, &change);
            }
        }
        self.slots = slots;
    }

    fn note_change(&mut self, slot: &mut Slot, change: &Change) {
        let now = Reading::now();
        for event in slot.events(change) {
            self.event(now, &event);
            let reason = event.field("reason").unwrap_or_default();
            let line = match event.kind.as_str() {
                "module_failed" => {
                    format!(
                        "module {} failed: {reason}; it will be tried again",
                        slot.name()
                    )
                }
                "module_recovered" => format!("module {} works again", slot.name()),
                _ => continue,
            };
            report(now.stamp.realtime_ns, line);
        }
    }

    /// One row of every module and one of our own, all with one stamp.
    fn sample(&mut self, life: Life) {
        let begun = Instant::now();
        let now = Reading::now();
        self.tally.samples += 1;
        let mut latest = Latest::default();
        latest.begin(now.stamp);
        let mut slots = std::mem::take(&mut self.slots);
        let mut wrote = Ok(());
        for slot in &mut slots {
            let (outcome, change) = slot.sample(
                &mut self.recorder,
                &mut latest,
                now.stamp,
                &self.config.labels,
                life != Life::None,
            );
            if let Some(change) = change {
                self.note_change(slot, &change);
            }
            wrote = wrote.and(outcome);
        }
        let own = self.own.sample(
            &mut self.recorder,
            &mut latest,
            now.stamp,
            &self.config.labels,
            &slots,
            &self.tally,
            life == Life::Alive,
        );
        self.slots = slots;
        let outcome = wrote.and(own).and(self.recorder.settle());
        self.note_outcome(now, outcome);
        self.rows_in_epoch = true;
        self.last_sample = Some(now);
        self.show(now, latest, life == Life::Alive);
        self.tally.took = Some(begun.elapsed());
    }

    /// Keeps track of whether rows are accepted, and says so when that changes.
    fn note_outcome(&mut self, now: Reading, outcome: ktm_format::Result<()>) {
        for notice in self.recorder.take_notices() {
            report(now.stamp.realtime_ns, notice);
        }
        match outcome {
            Ok(()) => {
                if let Some((since, _)) = self.trouble.take() {
                    let passed = now.boottime_ns().saturating_sub(since.boottime_ns());
                    let passed = Duration::from_nanos(passed);
                    self.event(now, &events::gap(passed, "the disk did not take rows"));
                    let line = format_args!("recording again, after {}", rough(passed));
                    report(now.stamp.realtime_ns, line);
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self
                    .trouble
                    .as_ref()
                    .is_none_or(|(_, known)| *known != text)
                {
                    report(
                        now.stamp.realtime_ns,
                        format_args!("a sample was not recorded: {text}"),
                    );
                }
                let since = self.trouble.as_ref().map_or(now, |(since, _)| *since);
                self.trouble = Some((since, text));
            }
        }
    }

    fn show(&self, now: Reading, latest: Latest, has_target: bool) {
        self.board.show(View {
            modules: self
                .slots
                .iter()
                .map(|slot| (slot.name(), slot.width()))
                .chain([(MODULE, self.own.width())])
                .collect(),
            latest: Arc::new(latest),
            sampled_boottime_ns: now.boottime_ns(),
            status: Status::of(&self.slots, has_target) as u64,
            trouble: self.trouble.as_ref().map(|(_, why)| why.clone()),
        });
    }

    /// Records an event. If that fails, so will the sample that follows, and that is said then.
    fn event(&mut self, now: Reading, event: &Event) {
        let _ = self.recorder.write_event(now.stamp, event);
    }
}
