//! The configuration in force, as YAML.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_saphyr::Commented;

use super::key::Key;
use super::problem::Origin;
use super::size::size_text;
use super::{Config, Origins, TargetMatch};
use crate::time::duration_text;

#[derive(Serialize)]
struct Document {
    collector: Collector,
    recorder: Recorder,
    server: Server,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Commented<String>>,
}

#[derive(Serialize)]
struct Collector {
    interval: Commented<String>,
    modules: Commented<String>,
    enable_cgroup_filter: Commented<bool>,
    enable_mntns_filter: Commented<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_pid: Option<Commented<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_comm: Option<Commented<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_comm_regex: Option<Commented<String>>,
}

#[derive(Serialize)]
struct Recorder {
    file: Commented<String>,
    size: Commented<String>,
    sync: Commented<String>,
}

#[derive(Serialize)]
struct Server {
    listen: Commented<String>,
}

pub(super) fn to_yaml(config: &Config, origins: &Origins) -> String {
    let from = |path: &str| match origins.settings.get(path) {
        Some(origin) => origin.to_string().replace('\n', " "),
        None => Origin::Default.to_string(),
    };
    let text = |key: Key, value: String| Commented(value, from(key.path()));
    let mut collector = Collector {
        interval: text(Key::Interval, duration_text(config.interval)),
        modules: text(Key::Modules, config.modules.join(",")),
        enable_cgroup_filter: Commented(
            config.enable_cgroup_filter,
            from(Key::CgroupFilter.path()),
        ),
        enable_mntns_filter: Commented(config.enable_mntns_filter, from(Key::MntnsFilter.path())),
        target_pid: None,
        target_comm: None,
        target_comm_regex: None,
    };
    match &config.target {
        TargetMatch::Pid(pid) => {
            collector.target_pid = Some(Commented(*pid, from(Key::TargetPid.path())));
        }
        TargetMatch::Comm(name) => {
            collector.target_comm = Some(text(Key::TargetComm, name.clone()))
        }
        TargetMatch::CommRegex(regex) => {
            collector.target_comm_regex = Some(text(Key::TargetCommRegex, regex.clone()));
        }
    }
    let document = Document {
        collector,
        recorder: Recorder {
            file: text(Key::File, config.file.display().to_string()),
            size: text(Key::Size, size_text(config.size)),
            sync: text(Key::Sync, config.sync.to_string()),
        },
        server: Server {
            listen: text(
                Key::Listen,
                config.listen.clone().unwrap_or_else(|| "none".into()),
            ),
        },
        labels: config
            .labels
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    Commented(value.clone(), from(&format!("labels.{name}"))),
                )
            })
            .collect(),
    };
    serde_saphyr::to_string(&document).expect("texts, numbers and booleans serialize")
}
