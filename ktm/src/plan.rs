//! The attach planner: each signal by the first hook that this kernel accepts.
//!
//! Nothing is concluded from a version number or from what BTF lists: a hook counts as usable when
//! its programs have been loaded and attached. Whatever the kernel answers to an attempt, be it
//! `EPERM` or `ENOENT`, means "try the next"; what was tried and what the kernel said is kept.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use aya::programs::{BtfTracePoint, Program, ProgramError, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf};

use crate::tracefs::{FieldPlace, Format, TraceFs};

/// Where a kernel program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A tracepoint's typed arguments. Needs the kernel's BTF, not tracefs.
    BtfTracepoint(&'static str),
    /// A tracepoint's raw arguments. Needs neither BTF nor tracefs.
    RawTracepoint(&'static str),
    /// A tracepoint's record. Needs tracefs.
    Tracepoint {
        /// The category in tracefs.
        category: &'static str,
        /// The event's name.
        name: &'static str,
        /// Fields that the program reads at a constant offset: where they have to be.
        fields: &'static [(&'static str, FieldPlace)],
    },
}

impl Hook {
    fn kind(self) -> &'static str {
        match self {
            Hook::BtfTracepoint(_) => "tp_btf",
            Hook::RawTracepoint(_) => "raw_tp",
            Hook::Tracepoint { .. } => "tracepoint",
        }
    }

    fn place(self) -> String {
        match self {
            Hook::BtfTracepoint(name) | Hook::RawTracepoint(name) => name.to_owned(),
            Hook::Tracepoint { category, name, .. } => format!("{category}:{name}"),
        }
    }
}

/// A kernel program and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The program's name in the object.
    pub program: &'static str,
    /// Where it is attached.
    pub hook: Hook,
}

/// Programs that give a signal together, in the order they are attached.
pub type Rung = &'static [Probe];

/// Something to be counted, and the ladder of ways to count it, best first.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// The signal's name in reports.
    pub name: &'static str,
    /// The ways, best first.
    pub rungs: &'static [Rung],
}

/// The kinds of hook that may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookKinds {
    /// `tp_btf`
    pub btf_tracepoint: bool,
    /// `raw_tp`
    pub raw_tracepoint: bool,
    /// `tracepoint`
    pub tracepoint: bool,
}

impl HookKinds {
    /// Every kind.
    pub const ALL: HookKinds = HookKinds {
        btf_tracepoint: true,
        raw_tracepoint: true,
        tracepoint: true,
    };

    fn allows(self, hook: Hook) -> bool {
        match hook {
            Hook::BtfTracepoint(_) => self.btf_tracepoint,
            Hook::RawTracepoint(_) => self.raw_tracepoint,
            Hook::Tracepoint { .. } => self.tracepoint,
        }
    }
}

/// A rung that was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried: `tp_btf:sys_enter`.
    pub hook: String,
    /// The kernel's own reason.
    pub error: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hook, self.error)
    }
}

/// What became of one signal. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The signal's name.
    pub signal: &'static str,
    /// What it is taken from, `None` if it is absent.
    pub source: Option<String>,
    /// What was tried before that, in vain.
    pub tried: Vec<Attempt>,
}

impl ProbeReport {
    /// A signal that could not even be tried.
    pub fn absent(signal: &'static str, hook: &str, error: &str) -> ProbeReport {
        let attempt = Attempt {
            hook: hook.to_owned(),
            error: error.to_owned(),
        };
        ProbeReport {
            signal,
            source: None,
            tried: vec![attempt],
        }
    }

    /// True if the signal is counted.
    pub fn is_attached(&self) -> bool {
        self.source.is_some()
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source.as_deref().unwrap_or("absent");
        write!(f, "{}: {source}", self.signal)?;
        for (index, attempt) in self.tried.iter().enumerate() {
            let separator = if index == 0 { " (tried " } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        if self.tried.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

/// Attaches the signals of one object. Links live as long as the [`Ebpf`].
pub struct Planner<'a> {
    ebpf: &'a mut Ebpf,
    kinds: HookKinds,
    tracefs: Result<PathBuf, String>,
    /// Parsed when first needed: it is large, and gone with the planner.
    btf: Option<Result<Btf, String>>,
}

impl fmt::Debug for Planner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planner")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl<'a> Planner<'a> {
    /// A planner for the programs of `ebpf`.
    pub fn new(ebpf: &'a mut Ebpf, kinds: HookKinds, tracefs: &TraceFs) -> Planner<'a> {
        let tracefs = tracefs
            .path()
            .map(Path::to_owned)
            .ok_or_else(|| tracefs.to_string());
        Planner {
            ebpf,
            kinds,
            tracefs,
            btf: None,
        }
    }

    /// Attaches a signal by the first rung that this kernel accepts.
    pub fn attach(&mut self, signal: &Signal) -> ProbeReport {
        let mut report = ProbeReport {
            signal: signal.name,
            source: None,
            tried: Vec::new(),
        };
        for rung in signal.rungs {
            if !rung.iter().all(|probe| self.kinds.allows(probe.hook)) {
                continue;
            }
            match self.attach_rung(rung) {
                Ok(()) => {
                    report.source = Some(rung_name(rung));
                    break;
                }
                // Two programs for one hook fail alike where the hook itself is missing.
                Err(attempt) if report.tried.contains(&attempt) => {}
                Err(attempt) => report.tried.push(attempt),
            }
        }
        report
    }

    /// All programs of a rung, or none.
    fn attach_rung(&mut self, rung: Rung) -> Result<(), Attempt> {
        for (index, probe) in rung.iter().enumerate() {
            if let Err(error) = self.attach_probe(probe) {
                for earlier in &rung[..=index] {
                    self.detach(earlier);
                }
                let hook = format!("{}:{}", probe.hook.kind(), probe.hook.place());
                return Err(Attempt { hook, error });
            }
        }
        Ok(())
    }

    fn attach_probe(&mut self, probe: &Probe) -> Result<(), String> {
        match probe.hook {
            Hook::BtfTracepoint(name) => {
                let btf = self
                    .btf
                    .get_or_insert_with(read_btf)
                    .as_ref()
                    .map_err(Clone::clone)?;
                let program: &mut BtfTracePoint = program(self.ebpf, probe.program)?;
                program.load(name, btf).map_err(load_reason)?;
                program.attach().map_err(attach_reason)?;
            }
            Hook::RawTracepoint(name) => {
                let program: &mut RawTracePoint = program(self.ebpf, probe.program)?;
                program.load().map_err(load_reason)?;
                program.attach(name).map_err(attach_reason)?;
            }
            Hook::Tracepoint {
                category,
                name,
                fields,
            } => {
                self.check_fields(category, name, fields)?;
                let program: &mut TracePoint = program(self.ebpf, probe.program)?;
                program.load().map_err(load_reason)?;
                program.attach(category, name).map_err(attach_reason)?;
            }
        }
        Ok(())
    }

    /// A record that is not laid out as the program expects would be counted wrongly, silently.
    fn check_fields(
        &self,
        category: &str,
        name: &str,
        fields: &[(&str, FieldPlace)],
    ) -> Result<(), String> {
        let tracefs = self.tracefs.as_ref().map_err(Clone::clone)?;
        let format = Format::read(tracefs, category, name).map_err(|error| error.to_string())?;
        for (field, wanted) in fields {
            match format.field(field) {
                Some(place) if place == *wanted => {}
                Some(FieldPlace { offset, size }) => {
                    return Err(format!(
                        "field {field} has {size} bytes at {offset}, not {} at {}",
                        wanted.size, wanted.offset
                    ));
                }
                None => return Err(format!("its record has no field {field}")),
            }
        }
        Ok(())
    }

    fn detach(&mut self, probe: &Probe) {
        // One that was not loaded has nothing to unload.
        let _ = match self.ebpf.program_mut(probe.program) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            Some(Program::TracePoint(program)) => program.unload(),
            _ => Ok(()),
        };
    }
}

/// `tp_btf:sys_enter+sys_exit`
fn rung_name(rung: Rung) -> String {
    let kind = rung.first().map_or("nothing", |probe| probe.hook.kind());
    let places: Vec<_> = rung.iter().map(|probe| probe.hook.place()).collect();
    format!("{kind}:{}", places.join("+"))
}

fn read_btf() -> Result<Btf, String> {
    Btf::from_sys_fs().map_err(|error| chain(&error))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| format!("no program {name}"))?;
    program
        .try_into()
        .map_err(|error: ProgramError| chain(&error))
}

fn load_reason(error: ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return format!("load: {}", chain(&error));
    };
    // The verifier's last line but the statistics is its verdict.
    let log = verifier_log.to_string();
    let is_verdict = |line: &&str| {
        !line.is_empty()
            && !["processed ", "verification time", "stack depth"]
                .iter()
                .any(|statistics| line.starts_with(statistics))
    };
    match log.lines().map(str::trim).rfind(is_verdict) {
        Some(verdict) => format!("load: {io_error}: {verdict}"),
        None => format!("load: {io_error}"),
    }
}

fn attach_reason(error: ProgramError) -> String {
    format!("attach: {}", chain(&error))
}

/// An error with everything it was caused by, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_with_every_reason() {
        let mut report = ProbeReport {
            signal: "cache_misses",
            source: None,
            tried: Vec::new(),
        };
        report.tried.push(Attempt {
            hook: "tp_btf:x".into(),
            error: "load: EPERM".into(),
        });
        report.tried.push(Attempt {
            hook: "raw_tp:x".into(),
            error: "attach: ENOENT".into(),
        });
        assert_eq!(
            report.to_string(),
            "cache_misses: absent (tried tp_btf:x: load: EPERM; raw_tp:x: attach: ENOENT)"
        );
        report.tried.clear();
        report.source = Some("tp_btf:x".into());
        assert_eq!(report.to_string(), "cache_misses: tp_btf:x");
    }

    #[test]
    fn causes_are_joined_on_one_line_and_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer\n failed")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("inner"));
        assert_eq!(chain(&error), "outer failed: inner");
    }
}
