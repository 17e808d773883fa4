//! What is said on start: in a few lines, everything somebody woken at night would ask.

use std::time::Duration;

use ktm::tracefs::TraceFs;
use ktm_format::LastRecord;

use super::clock::Reading;
use super::own::Status;
use super::sampler::Sampler;
use super::say::{count, rough, say};
use super::slot::{Slot, absence};
use super::target;
use crate::config::{Config, TargetMatch, size_text};
use crate::flight::{FileOrigin, Previous, StartReport, events};
use crate::time::{duration_text, rfc3339_seconds};

/// The file: said before anything else can go wrong.
pub(super) fn file(report: &StartReport, now: Reading) {
    say(format_args!(
        "version {} (file format {}), pid {}",
        env!("CARGO_PKG_VERSION"),
        ktm_format::VERSION,
        std::process::id()
    ));
    let path = report.path.display();
    let size = size_text(report.size);
    match &report.origin {
        FileOrigin::Created => say(format_args!("file      {path}, new, {size} allocated")),
        FileOrigin::Continued => {
            let kept = if report.size == report.size_asked {
                String::new()
            } else {
                format!(
                    " (it keeps its size; {} was asked for)",
                    size_text(report.size_asked)
                )
            };
            say(format_args!(
                "file      {path}, {size}{kept}, {}",
                recovered(report)
            ));
        }
        FileOrigin::SetAside { to, why } => say(format_args!(
            "file      {path}, new, {size} allocated; what was there ({why}) is kept as {}",
            to.display()
        )),
    }
    for damage in &report.recovery.damage {
        say(format_args!("          damage {damage}"));
    }
    match &report.previous {
        Previous::None => {}
        Previous::Clean(last) => previous(last, "ended cleanly", now),
        Previous::Unclean(last) => previous(last, "DID NOT END CLEANLY", now),
    }
}

fn previous(last: &LastRecord, how: &str, now: Reading) {
    let then = last.stamp.realtime_ns;
    let ago = match u64::try_from(now.stamp.realtime_ns.saturating_sub(then)) {
        Ok(nanos) => format!("{} ago", rough(Duration::from_nanos(nanos))),
        Err(_) => "in the future by this clock".to_owned(),
    };
    let machine = match events::same_boot(last.stamp, now.stamp) {
        Some(true) => "; the machine has been up since",
        Some(false) => "; the machine has been restarted since",
        None => "",
    };
    let at = rfc3339_seconds(then);
    say(format_args!(
        "previous  run {} {how}; last record {at}, {ago}{machine}",
        last.run
    ));
}

fn recovered(report: &StartReport) -> String {
    match report.rows {
        Some(rows) => format!("{} rows recovered", count(rows)),
        None => format!(
            "{} recent rows and {} older segments recovered",
            count(report.recovery.hot_rows),
            report.recovery.cold_segments
        ),
    }
}

/// Probes, target, sampling, address: said once the first sample is taken.
pub(super) fn sampling(
    config: &Config,
    tracefs: &TraceFs,
    sampler: &Sampler,
    address: Option<std::net::SocketAddr>,
) {
    if let TraceFs::Missing(_) | TraceFs::MountedPrivately(_) = tracefs {
        say(format_args!("kernel    {tracefs}"));
    }
    for slot in sampler.slots() {
        module(slot);
    }
    if sampler.slots().is_empty() {
        say("modules   none configured: only the recorder itself is sampled");
    }
    let now = Reading::now();
    match sampler.target() {
        Some(found) => say(format_args!(
            "target    {}; scope: {}",
            target::describe(found, now),
            found.scope
        )),
        None => say(format_args!(
            "target    none yet: waiting for {}",
            sought(&config.target)
        )),
    }
    // Waiting for the target has a line of its own.
    let status = match Status::of(sampler.slots(), true) {
        Status::Full => "every signal is attached",
        Status::Degraded => "DEGRADED: what is missing is named above",
        Status::Disabled => "NO KERNEL SIGNAL is attached: only the recorder itself is sampled",
    };
    match address {
        Some(address) if address.ip().is_loopback() => {
            say(format_args!("http      http://{address}"))
        }
        Some(address) => {
            say(format_args!(
                "http      http://{address}, open to whoever can reach it"
            ));
        }
        None => say("http      off"),
    }
    say(format_args!(
        "recording every {}, sync {}; {status}",
        duration_text(config.interval),
        config.sync
    ));
}

/// One line for each signal that is attached, and one for each reason that others are not.
fn module(slot: &Slot) {
    if !slot.is_up() {
        say(format_args!("module    {} is not running", slot.name()));
        return;
    }
    let probes = slot.probes();
    let mut absent: Vec<(String, Vec<&str>)> = Vec::new();
    let mut attached = Vec::new();
    for probe in probes {
        if let Some(source) = &probe.source {
            attached.push((probe.signal, source));
            continue;
        }
        let reason = absence(probe);
        match absent.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, signals)) => signals.push(probe.signal),
            None => absent.push((reason, vec![probe.signal])),
        }
    }
    let (name, count) = (slot.name(), attached.len());
    say(format_args!(
        "module    {name}: {count} of {} signals attached",
        probes.len()
    ));
    for (signal, source) in attached {
        say(format_args!("  + {signal:<16} {source}"));
    }
    for (reason, signals) in absent {
        say(format_args!("  - {} absent: {reason}", signals.join(", ")));
    }
}

fn sought(target: &TargetMatch) -> String {
    match target {
        TargetMatch::Pid(pid) => format!("pid {pid}"),
        TargetMatch::Comm(name) => format!("a process named {name}"),
        TargetMatch::CommRegex(regex) => format!("a process whose name matches {regex}"),
    }
}
