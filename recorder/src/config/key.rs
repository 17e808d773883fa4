//! The settings there are, and their three names each.

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Interval,
    Modules,
    CgroupFilter,
    MntnsFilter,
    TargetPid,
    TargetComm,
    TargetCommRegex,
    File,
    Size,
    Sync,
    Listen,
    /// An identity label, by its place in [`LABEL_VARIABLES`] or a name of the user's own: kept
    /// apart from the others, because each label is a setting of its own.
    Labels,
}

/// The names of one setting.
pub(super) struct Names {
    pub(super) key: Key,
    /// In the file.
    pub(super) path: &'static str,
    /// In the environment.
    pub(super) variable: &'static str,
}

const fn names(key: Key, path: &'static str, variable: &'static str) -> Names {
    Names {
        key,
        path,
        variable,
    }
}

/// Every setting. The flag is in `cli.rs`.
pub(super) const SETTINGS: [Names; 12] = [
    names(Key::Interval, "collector.interval", "KTM_INTERVAL"),
    names(Key::Modules, "collector.modules", "KTM_MODULES"),
    names(
        Key::CgroupFilter,
        "collector.enable_cgroup_filter",
        "KTM_ENABLE_CGROUP_FILTER",
    ),
    names(
        Key::MntnsFilter,
        "collector.enable_mntns_filter",
        "KTM_ENABLE_MNTNS_FILTER",
    ),
    names(Key::TargetPid, "collector.target_pid", "KTM_TARGET_PID"),
    names(Key::TargetComm, "collector.target_comm", "KTM_TARGET_COMM"),
    names(
        Key::TargetCommRegex,
        "collector.target_comm_regex",
        "KTM_TARGET_COMM_REGEX",
    ),
    names(Key::File, "recorder.file", "KTM_FILE"),
    names(Key::Size, "recorder.size", "KTM_SIZE"),
    names(Key::Sync, "recorder.sync", "KTM_SYNC"),
    names(Key::Listen, "server.listen", "KTM_LISTEN"),
    names(Key::Labels, "labels", "KTM_LABELS"),
];

/// Identity labels with a variable of their own, as a pod's downward API sets them.
pub(super) const LABEL_VARIABLES: [(&str, &str); 4] = [
    ("pod_name", "KTM_POD_NAME"),
    ("node_role", "KTM_NODE_ROLE"),
    ("container_name", "KTM_CONTAINER_NAME"),
    ("node_type", "KTM_NODE_TYPE"),
];

/// Names the file to read, so it is no setting itself.
pub(super) const CONFIG_VARIABLE: &str = "KTM_CONFIG";

/// Settings that say which process to watch. At most one of them may be in force.
pub(super) const TARGETS: [Key; 3] = [Key::TargetPid, Key::TargetComm, Key::TargetCommRegex];

impl Key {
    pub(super) fn names(self) -> &'static Names {
        SETTINGS
            .iter()
            .find(|names| names.key == self)
            .expect("every key is in the table")
    }

    pub(super) fn path(self) -> &'static str {
        self.names().path
    }
}

/// The known name that the user most likely meant.
pub(super) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
    likeness: fn(&str, &str) -> f64,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (likeness(given, name), name))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
