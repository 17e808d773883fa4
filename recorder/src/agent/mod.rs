//! The daemon: configuration in, recording out.
//!
//! One thread samples and appends, and waits for nobody; one waits for the disk and compresses
//! ([`crate::flight`]); one takes signals and serves HTTP from the file.

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser as _;
use ktm::{Context, Discovery, Matcher, REGISTRY};
use ktm_format::Event;

use crate::config::{self, Config, Flags, TargetMatch};
use crate::flight::{FlightRecorder, Options, StartReport, events};
use crate::server;

mod alarm;
mod board;
mod clock;
mod front;
mod greeting;
mod lean;
mod oom;
mod own;
mod sampler;
mod say;
mod schedule;
mod slot;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use alarm::Requests;
pub(crate) use board::Board;
#[cfg(test)]
pub(crate) use board::View;
pub(crate) use lean::trim_heap;

use clock::Reading;
use sampler::{Sampler, Start};
use say::{rough, say};
use slot::Slot;

/// Something failed that is not the user's configuration.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

/// Runs `ktm-recorder`: reads the command line, records until it is told to stop.
pub fn main() -> ExitCode {
    // Ends the process by itself on --help, --version and what is no flag, the last with USAGE.
    let flags = Flags::parse();
    let known: Vec<&str> = REGISTRY
        .iter()
        .map(|registration| registration.name)
        .collect();
    let loaded = match config::load(&flags, &known) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                say(problem);
            }
            return ExitCode::from(USAGE);
        }
    };
    for warning in &loaded.warnings {
        say(warning);
    }
    if flags.print_config {
        return print(&loaded.to_yaml());
    }
    if flags.check_config {
        say("the configuration is sound");
        return ExitCode::SUCCESS;
    }
    match record(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(error);
            ExitCode::from(FAILED)
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("cannot print the configuration: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn record(config: Config) -> anyhow::Result<()> {
    lean::share_one_heap();
    // The address first: a port that is taken must change no file.
    let listener = bind(config.listen.as_deref())?;
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    // Before any thread is started: they inherit the private mount this may make.
    let tracefs = ktm::tracefs::ensure();
    let now = Reading::now();
    let (mut recorder, report) = open(&config)?;
    greeting::file(&report, now);
    recorder.start(now.stamp, start_event(&config), &report)?;

    let requests = Arc::new(Requests::new()?);
    let board = Arc::new(Board::default());
    let shared = server::Shared {
        file: config.file.clone(),
        board: Arc::clone(&board),
        interval: config.interval,
    };
    front::start(
        Arc::clone(&requests),
        listener.map(|listener| (listener, shared)),
    )?;
    let mut sampler = Sampler::new(Start {
        slots: slots(&config.modules),
        discovery: Discovery::new(matcher(&config.target)?),
        context: Context::new(tracefs.clone()),
        config: config.clone(),
        recorder,
        requests,
        board,
    })?;
    let begun = Instant::now();
    sampler.first();
    greeting::sampling(&config, &tracefs, &sampler, address);
    lean::give_back();
    let reason = sampler.run()?;
    let samples = sampler.stop(reason).map_err(|error| {
        anyhow::anyhow!("stopped by {reason}, but the end may not be on the disk: {error}")
    })?;
    let passed = rough(begun.elapsed());
    let samples = say::count(samples);
    say(format_args!(
        "stopped by {reason}: {samples} samples in {passed}, all on disk"
    ));
    Ok(())
}

fn bind(listen: Option<&str>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = listen else {
        return Ok(None);
    };
    match TcpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => "something else is listening there".to_owned(),
                _ => error.to_string(),
            };
            Err(anyhow::anyhow!(
                "cannot listen on {address}: {why}; choose another with --listen, or \
                 --listen none. Nothing was recorded and no file was touched"
            ))
        }
    }
}

fn open(config: &Config) -> anyhow::Result<(FlightRecorder, StartReport)> {
    let options = Options {
        size: config.size,
        sync: config.sync,
        // A sample that cannot be stored is said to be lost; the next one must not be late for it.
        patience: std::time::Duration::ZERO,
        software: format!("ktm-recorder {}", env!("CARGO_PKG_VERSION")),
    };
    Ok(FlightRecorder::open_or_create(&config.file, &options)?)
}

fn matcher(target: &TargetMatch) -> anyhow::Result<Matcher> {
    Ok(match target {
        TargetMatch::Pid(pid) => Matcher::Pid(*pid),
        TargetMatch::Comm(name) => Matcher::Comm(name.clone()),
        TargetMatch::CommRegex(regex) => Matcher::comm_regex(regex)?,
    })
}

/// The modules asked for, in the order of the registry.
fn slots(modules: &[String]) -> Vec<Slot> {
    REGISTRY
        .iter()
        .filter(|registration| modules.iter().any(|name| name == registration.name))
        .map(|registration| Slot::new(*registration))
        .collect()
}

fn start_event(config: &Config) -> Event {
    let host = rustix::system::uname();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let labels: Vec<String> = config
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let event = Event::new(events::START)
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("pid", std::process::id())
        .with("boot_id", boot_id.trim())
        .with("kernel", host.release().to_string_lossy())
        .with("hostname", host.nodename().to_string_lossy())
        .with("interval", crate::time::duration_text(config.interval))
        .with("sync", config.sync)
        .with("modules", config.modules.join(","))
        .with("file", config.file.display());
    if labels.is_empty() {
        event
    } else {
        event.with("labels", labels.join(","))
    }
}
