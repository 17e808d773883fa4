//! From layers of text to a configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::{Key, TARGETS, nearest};
use super::layer::{Layer, Setting};
use super::problem::{Origin, Problem};
use super::size::{parse_size, size_text};
use super::{Config, DEFAULT_FILE, DEFAULT_LISTEN, DEFAULT_SIZE, Origins, TargetMatch};
use crate::flight::SyncPolicy;
use crate::time::{duration_text, parse_duration};

/// Below this the recorder would be the load it is there to see.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Above this no sample would be near whatever happened.
pub(super) const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// The one place where precedence is decided: of each setting, the first layer that has it wins.
///
/// Which process to watch is one setting with three spellings: a layer that has any of them
/// settles it, and a layer that has two contradicts itself.
pub(super) fn resolve(
    layers: &[Layer],
    known_modules: &[&str],
) -> Result<(Config, Origins), Vec<Problem>> {
    let mut reading = Reading {
        layers,
        problems: Vec::new(),
        origins: BTreeMap::new(),
    };
    let config = Config {
        interval: reading.read(Key::Interval, Duration::from_secs(10), interval),
        modules: reading.read(Key::Modules, vec!["iomonitor".into()], |text| {
            modules(text, known_modules)
        }),
        enable_cgroup_filter: reading.read(Key::CgroupFilter, true, switch),
        enable_mntns_filter: reading.read(Key::MntnsFilter, true, switch),
        target: reading.target(),
        file: reading.read(Key::File, DEFAULT_FILE.into(), file),
        size: reading.read(Key::Size, DEFAULT_SIZE, size),
        sync: reading.read(Key::Sync, SyncPolicy::EveryRow, |text| {
            text.parse().map_err(|error| {
                Wrong::new(
                    error,
                    "write every-row, on-seal, never, or a duration such as 30s",
                )
            })
        }),
        listen: reading.read(Key::Listen, Some(DEFAULT_LISTEN.into()), listen),
        labels: reading.labels(),
    };
    match reading.problems {
        problems if problems.is_empty() => Ok((
            config,
            Origins {
                settings: reading.origins,
            },
        )),
        problems => Err(problems),
    }
}

/// What is wrong with a text, and what to do.
struct Wrong {
    what: String,
    remedy: String,
}

impl Wrong {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

struct Reading<'a> {
    layers: &'a [Layer],
    problems: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
}

impl<'a> Reading<'a> {
    fn read<T>(&mut self, key: Key, default: T, parse: impl Fn(&str) -> Result<T, Wrong>) -> T {
        let layers = self.layers;
        match layers.iter().find_map(|layer| layer.settings.get(&key)) {
            Some(setting) => self.parse(key.path(), setting, parse).unwrap_or(default),
            None => {
                self.origins.insert(key.path().to_owned(), Origin::Default);
                default
            }
        }
    }

    fn parse<T>(
        &mut self,
        path: &str,
        setting: &'a Setting,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.origins.insert(path.to_owned(), setting.origin.clone());
        match parse(&setting.text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.problems
                    .push(Problem::new(&setting.origin, wrong.what, wrong.remedy));
                None
            }
        }
    }

    fn target(&mut self) -> TargetMatch {
        let layers = self.layers;
        for layer in layers {
            let given: Vec<(Key, &Setting)> = TARGETS
                .iter()
                .filter_map(|key| layer.settings.get(key).map(|setting| (*key, setting)))
                .collect();
            match given.as_slice() {
                [] => {}
                [(key, setting)] => {
                    return self
                        .parse(key.path(), setting, |text| target(*key, text))
                        .unwrap_or_default();
                }
                [(_, first), (_, second), ..] => {
                    self.problems.push(Problem::new(
                        &second.origin,
                        format!("contradicts {}", first.origin),
                        "only one of target_pid, target_comm and target_comm_regex can be set",
                    ));
                    return TargetMatch::default();
                }
            }
        }
        self.origins
            .insert(Key::TargetCommRegex.path().to_owned(), Origin::Default);
        TargetMatch::default()
    }

    /// Labels are settings of their own: a layer overrides the ones it names.
    fn labels(&mut self) -> Vec<(String, String)> {
        let mut merged: BTreeMap<&str, &Setting> = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            merged.extend(
                layer
                    .labels
                    .iter()
                    .map(|(name, setting)| (name.as_str(), setting)),
            );
        }
        let mut labels = Vec::new();
        for (name, setting) in merged {
            self.origins
                .insert(format!("labels.{name}"), setting.origin.clone());
            match check_label_name(name) {
                // An empty label is the same as none, to Prometheus as well.
                Ok(()) if setting.text.is_empty() => {}
                Ok(()) => labels.push((name.to_owned(), setting.text.clone())),
                Err(what) => self.problems.push(Problem::new(
                    &setting.origin,
                    what,
                    "use letters, digits and _, not starting with a digit",
                )),
            }
        }
        labels
    }
}

fn interval(text: &str) -> Result<Duration, Wrong> {
    let remedy = || {
        format!(
            "write {} or more, such as 10s, 1500ms or 1m",
            duration_text(INTERVAL_MIN)
        )
    };
    match parse_duration(text) {
        Ok(interval) if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) => Ok(interval),
        Ok(interval) if interval < INTERVAL_MIN => Err(Wrong::new(
            format!("\"{text}\" is too short an interval"),
            remedy(),
        )),
        Ok(_) => Err(Wrong::new(
            format!("\"{text}\" is too long an interval"),
            "write 24h or less",
        )),
        Err(error) => Err(Wrong::new(
            format!("\"{text}\": {}", error.what()),
            remedy(),
        )),
    }
}

fn modules(text: &str, known: &[&str]) -> Result<Vec<String>, Wrong> {
    let mut modules: Vec<String> = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        if !known.contains(&name) {
            let remedy = match nearest(name, known.iter().copied(), strsim::jaro_winkler) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known modules: {}", known.join(", ")),
            };
            return Err(Wrong::new(format!("unknown module \"{name}\""), remedy));
        }
        if !modules.iter().any(|listed| listed == name) {
            modules.push(name.to_owned());
        }
    }
    Ok(modules)
}

fn switch(text: &str) -> Result<bool, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Wrong::new(
            format!("\"{text}\" is neither true nor false"),
            "write true or false",
        )),
    }
}

fn target(key: Key, text: &str) -> Result<TargetMatch, Wrong> {
    let text = text.trim();
    match key {
        Key::TargetPid => match text.parse() {
            Ok(pid) if pid > 0 => Ok(TargetMatch::Pid(pid)),
            _ => Err(Wrong::new(
                format!("\"{text}\" is not a process id"),
                "write a number from 1",
            )),
        },
        Key::TargetComm if text.is_empty() => Err(Wrong::new(
            "the name is empty",
            "write the comm of the process, such as banyand",
        )),
        Key::TargetComm => Ok(TargetMatch::Comm(text.to_owned())),
        _ => match regex::Regex::new(text) {
            Ok(_) if text.is_empty() => Err(Wrong::new(
                "the expression is empty and matches every process",
                "",
            )),
            Ok(_) => Ok(TargetMatch::CommRegex(text.to_owned())),
            Err(error) => Err(Wrong::new(
                format!(
                    "\"{text}\" is not a regular expression: {}",
                    last_line(&error)
                ),
                "to match a name literally use target_comm",
            )),
        },
    }
}

/// The regex crate draws the place over several lines; its last line says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn file(text: &str) -> Result<std::path::PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(
            "the path is empty",
            "write the path of the recording",
        ));
    }
    Ok(text.into())
}

fn size(text: &str) -> Result<u64, Wrong> {
    let (minimum, maximum) = (ktm_format::MIN_FILE_SIZE, ktm_format::MAX_FILE_SIZE);
    let bounds = format!("write {} to {}", size_text(minimum), size_text(maximum));
    match parse_size(text) {
        Ok(size) if size < minimum => Err(Wrong::new(
            format!("{text} is too small for a recording"),
            bounds,
        )),
        Ok(size) if size > maximum => Err(Wrong::new(
            format!("{text} is too large for a recording"),
            bounds,
        )),
        Ok(size) => Ok(size),
        Err(what) => Err(Wrong::new(
            what,
            "write a size such as 64MiB, 500MB or 67108864",
        )),
    }
}

fn listen(text: &str) -> Result<Option<String>, Wrong> {
    let text = text.trim();
    if matches!(
        text.to_ascii_lowercase().as_str(),
        "none" | "off" | "no" | "false"
    ) {
        return Ok(None);
    }
    let remedy = "write host:port such as 127.0.0.1:17914, or none for no server";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Wrong::new(
            format!("\"{text}\" is not an address with a port"),
            remedy,
        ));
    };
    if port.parse::<u16>().is_err() {
        return Err(Wrong::new(format!("\"{port}\" is not a port"), remedy));
    }
    if host.is_empty() {
        return Err(Wrong::new(
            format!("\"{text}\" names no address"),
            format!("write 127.0.0.1{text}, or 0.0.0.0{text} for every address of the host"),
        ));
    }
    Ok(Some(text.to_owned()))
}

fn check_label_name(name: &str) -> Result<(), String> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    if !first || !bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        return Err(format!("\"{name}\" is not a label name"));
    }
    if name.starts_with("__") || matches!(name, "le" | "quantile") {
        return Err(format!("the label name {name} is reserved"));
    }
    Ok(())
}
