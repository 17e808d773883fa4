//! Which processes may be the target.

use std::fmt;
use std::path::Path;

use regex::Regex;

/// Our own programs. They are full of the target's name and must not be taken for it.
const OURSELVES: [&str; 2] = ["ktm-recorder", "ktm-dump"];

/// What the target is known by.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This pid.
    Pid(u32),
    /// This name exactly, as `comm` or as the executable's base name. The kernel cuts `comm` to 15
    /// bytes; a longer name is compared with the executable only.
    Comm(String),
    /// A pattern found anywhere in `comm` or in the executable's base name.
    CommRegex(Regex),
}

impl Matcher {
    /// The target if nothing is configured.
    pub const DEFAULT_REGEX: &'static str = "banyand";

    /// A pattern from its text.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern, and where.
    pub fn comm_regex(pattern: &str) -> Result<Matcher, regex::Error> {
        Regex::new(pattern).map(Matcher::CommRegex)
    }

    /// True if the process matches. `exe` is asked for only where `comm` does not decide.
    pub(super) fn matches<E>(&self, pid: u32, comm: &str, exe: impl FnOnce() -> Option<E>) -> bool
    where
        E: AsRef<Path>,
    {
        let matches_name: &dyn Fn(&str) -> bool = match self {
            Matcher::Pid(wanted) => return *wanted == pid,
            Matcher::Comm(wanted) => &move |name| name == wanted,
            Matcher::CommRegex(wanted) => &|name| wanted.is_match(name),
        };
        if OURSELVES.contains(&comm) {
            return false;
        }
        if matches_name(comm) {
            return true;
        }
        let exe = exe();
        let base = exe
            .as_ref()
            .and_then(|exe| exe.as_ref().file_name()?.to_str());
        base.is_some_and(|base| !OURSELVES.contains(&base) && matches_name(base))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Pid(pid) => write!(f, "pid {pid}"),
            Matcher::Comm(comm) => write!(f, "comm {comm}"),
            Matcher::CommRegex(regex) => write!(f, "comm matching {regex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(matcher: &Matcher, comm: &str, exe: Option<&str>) -> bool {
        matcher.matches(7, comm, || exe)
    }

    #[test]
    fn the_default_pattern_finds_every_way_banyand_is_run() {
        let matcher = Matcher::comm_regex(Matcher::DEFAULT_REGEX).expect("the default compiles");
        assert!(matches(&matcher, "banyand", None));
        assert!(matches(
            &matcher,
            "banyand-server-",
            Some("/usr/bin/banyand-server-static")
        ));
        assert!(matches(&matcher, "renamed", Some("/opt/banyand")));
        assert!(!matches(&matcher, "postgres", Some("/usr/lib/postgres")));
        assert!(
            !matches(&matcher, "postgres", Some("/banyand/postgres")),
            "a folder is no name"
        );
        assert!(!matches(&matcher, "postgres", None));
    }

    #[test]
    fn an_exact_name_is_no_prefix() {
        let matcher = Matcher::Comm("banyand".into());
        assert!(matches(&matcher, "banyand", None));
        assert!(matches(&matcher, "x", Some("/banyand")));
        assert!(!matches(&matcher, "banyand-x", Some("/bin/banyand-x")));
    }

    #[test]
    fn our_own_programs_are_never_the_target_by_name() {
        let matcher = Matcher::comm_regex("ktm|banyand").expect("compiles");
        assert!(!matches(
            &matcher,
            "ktm-recorder",
            Some("/usr/bin/ktm-recorder")
        ));
        assert!(!matches(&matcher, "ktm-dump", None));
        assert!(!matches(&matcher, "thread", Some("/usr/bin/ktm-recorder")));
        assert!(matches(&matcher, "ktm-other", None));
    }

    #[test]
    fn a_pid_decides_alone() {
        assert!(matches(&Matcher::Pid(7), "anything", None));
        assert!(!matches(&Matcher::Pid(8), "anything", None));
    }
}
