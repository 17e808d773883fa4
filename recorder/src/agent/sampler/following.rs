//! Following the target: epochs begin and end with its lives.

use ktm::{Exit, Observation, Target};
use ktm_format::Event;

use super::super::clock::Reading;
use super::super::say::report;
use super::super::target;
use super::{Life, Sampler};

impl Sampler {
    /// Samples everything, and follows the target.
    pub(super) fn instant(&mut self) {
        self.start_modules();
        match self.discovery.poll() {
            Observation::Same => {
                self.oom.keep_up(Reading::now().boottime_ns());
                self.sample(Life::Alive);
            }
            Observation::Waiting => {
                self.wait_for_target();
                self.sample(Life::None);
            }
            changed => self.follow(changed),
        }
    }

    /// Between samples: has the target ended, is there one at last?
    pub(super) fn look(&mut self) {
        match self.discovery.poll() {
            Observation::Same => self.search.end(),
            Observation::Waiting => self.search.again(Reading::now().boottime_ns()),
            changed => self.follow(changed),
        }
    }

    fn follow(&mut self, changed: Observation) {
        match changed {
            Observation::Same | Observation::Waiting => {}
            Observation::Found(target) => {
                self.oom.keep_up(Reading::now().boottime_ns());
                self.found(&target);
            }
            Observation::Lost { target, exit } => self.lost(&target, &exit),
            Observation::Replaced { old, exit, new } => {
                self.lost(&old, &exit);
                self.found(&new);
            }
        }
    }

    fn wait_for_target(&mut self) {
        if self.has_waited {
            return;
        }
        self.has_waited = true;
        let now = Reading::now();
        self.search.begin(now.boottime_ns());
        let matcher = self.discovery.matcher().to_string();
        self.event(now, &Event::new("target_wait").with("matcher", matcher));
    }

    /// A new life begins: another epoch, counters from zero, and a sample of that zero.
    fn found(&mut self, target: &Target) {
        self.start_modules();
        if self.rows_in_epoch {
            self.recorder.begin_epoch();
            self.rows_in_epoch = false;
        }
        self.search.end();
        self.has_waited = false;
        self.tally.followed += 1;
        self.alarm.watch(Some(target.pid));
        let event = target::found_event(target, self.last_pid, Reading::now());
        self.retarget(Some(target));
        let now = Reading::now();
        self.event(now, &event);
        if self.tally.samples > 0 {
            let verb = if self.last_pid.is_some() {
                "restarted"
            } else {
                "found"
            };
            let line = format!("target {verb}: {}", target::describe(target, now));
            report(now.stamp.realtime_ns, line);
        }
        self.last_pid = Some(target.pid);
        self.sample(Life::Alive);
    }

    /// A life has ended: its last sample still belongs to it.
    fn lost(&mut self, target: &Target, exit: &Exit) {
        let oom = self.oom.has_killed();
        self.sample(Life::Ended);
        let now = Reading::now();
        let event = target::lost_event(target, exit, oom, now);
        self.event(now, &event);
        let field = |name| event.field(name).unwrap_or_default();
        let oom = if event.field("oom").is_some() {
            " (out of memory, likely)"
        } else {
            ""
        };
        report(
            now.stamp.realtime_ns,
            format_args!(
                "target lost: {} (pid {}) {}{oom} after {}",
                target.comm,
                target.pid,
                field("exit"),
                field("lived"),
            ),
        );
        self.recorder.begin_epoch();
        self.rows_in_epoch = false;
        self.alarm.watch(None);
        self.has_waited = true;
        self.search.begin(now.boottime_ns());
        self.retarget(None);
    }

    fn retarget(&mut self, target: Option<&Target>) {
        let now = Reading::now();
        let mut slots = std::mem::take(&mut self.slots);
        for slot in &mut slots {
            if let Some(change) = slot.retarget(target, now.boottime_ns()) {
                self.note_change(slot, &change);
            }
        }
        self.slots = slots;
    }
}
