//! The YAML file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::key::{Key, SETTINGS, nearest};
use super::layer::Layer;
use super::problem::{Origin, Problem};

type Text = Option<Spanned<String>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    collector: Option<Collector>,
    recorder: Option<Recorder>,
    server: Option<Server>,
    labels: Option<BTreeMap<String, Spanned<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Collector {
    interval: Text,
    modules: Option<Spanned<Names>>,
    enable_cgroup_filter: Text,
    enable_mntns_filter: Text,
    target_pid: Text,
    target_comm: Text,
    target_comm_regex: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorder {
    file: Text,
    size: Text,
    sync: Text,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    listen: Text,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Listed(String),
    Sequence(Vec<String>),
}

/// Reads the file at this path.
pub(super) fn read(path: &Path) -> Result<Layer, Problem> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let origin = Origin::Line {
            file: file.clone(),
            line: 0,
            path: String::new(),
        };
        Problem::new(
            &origin,
            format!("cannot read the configuration: {error}"),
            "",
        )
    })?;
    parse(&file, &text)
}

/// Reads the text of a file of this name.
pub(super) fn parse(file: &str, text: &str) -> Result<Layer, Problem> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| explain(file, &error))?;
    let mut layer = Layer::default();
    let mut set = |key: Key, value: Text| {
        if let Some(Spanned {
            value, referenced, ..
        }) = value
        {
            layer.set(key, value, line_of(file, referenced.line(), key.path()));
        }
    };
    let collector = document.collector.unwrap_or_default();
    set(Key::Interval, collector.interval);
    set(Key::CgroupFilter, collector.enable_cgroup_filter);
    set(Key::MntnsFilter, collector.enable_mntns_filter);
    set(Key::TargetPid, collector.target_pid);
    set(Key::TargetComm, collector.target_comm);
    set(Key::TargetCommRegex, collector.target_comm_regex);
    let recorder = document.recorder.unwrap_or_default();
    set(Key::File, recorder.file);
    set(Key::Size, recorder.size);
    set(Key::Sync, recorder.sync);
    set(Key::Listen, document.server.unwrap_or_default().listen);
    if let Some(Spanned {
        value, referenced, ..
    }) = collector.modules
    {
        let listed = match value {
            Names::Listed(text) => text,
            Names::Sequence(names) => names.join(","),
        };
        let key = Key::Modules;
        layer.set(key, listed, line_of(file, referenced.line(), key.path()));
    }
    for (
        name,
        Spanned {
            value, referenced, ..
        },
    ) in document.labels.unwrap_or_default()
    {
        layer.set_label(
            &name,
            value,
            line_of(file, referenced.line(), &format!("labels.{name}")),
        );
    }
    Ok(layer)
}

fn line_of(file: &str, line: u64, path: &str) -> Origin {
    Origin::Line {
        file: file.to_owned(),
        line,
        path: path.to_owned(),
    }
}

fn explain(file: &str, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |location| location.line());
    let origin = line_of(file, line, "");
    if let serde_saphyr::Error::SerdeUnknownField {
        field, expected, ..
    } = error
    {
        return unknown_key(&origin, field, expected);
    }
    // The parser ends its sentence with the place, which the origin says already.
    let what = error.to_string();
    let what = what
        .rsplit_once(" at line ")
        .map_or(what.as_str(), |(what, _)| what);
    Problem::new(&origin, what.trim_end_matches('.').to_owned(), "")
}

/// Says where the key belongs, or which key was meant: the nearest in its own section, else the
/// nearest anywhere.
fn unknown_key(origin: &Origin, field: &str, expected: &[&str]) -> Problem {
    let leaf = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let section = SETTINGS
        .iter()
        .filter_map(|names| names.path.split_once('.'))
        .find(|(_, leaf)| expected.contains(leaf))
        .map_or("", |(section, _)| section);
    let given = if section.is_empty() {
        field.to_owned()
    } else {
        format!("{section}.{field}")
    };
    let near = nearest(field, expected.iter().copied(), strsim::jaro_winkler)
        .map(|name| {
            if section.is_empty() {
                name.into()
            } else {
                format!("{section}.{name}")
            }
        })
        .or_else(|| {
            let leaves = SETTINGS.iter().map(|names| leaf(names.path));
            let found = nearest(field, leaves, strsim::jaro_winkler)?;
            SETTINGS
                .iter()
                .map(|names| names.path)
                .find(|p| leaf(p) == found)
                .map(String::from)
        });
    let remedy = match near {
        Some(path) => format!("did you mean {path}?"),
        None => format!("known here: {}", expected.join(", ")),
    };
    Problem::new(origin, format!("unknown key {given}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse("ktm.yaml", text).expect_err("refused").to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        assert_eq!(
            problem("collector:\n  intervall: 10s\n"),
            "ktm.yaml, line 2: unknown key collector.intervall; did you mean collector.interval?"
        );
        assert_eq!(
            problem("# comment\n\ninterval: 10s\n"),
            "ktm.yaml, line 3: unknown key interval; did you mean collector.interval?"
        );
        assert_eq!(
            problem("server:\n  tls: true\n"),
            "ktm.yaml, line 2: unknown key server.tls; known here: listen"
        );
        assert_eq!(
            problem("recorders:\n  size: 1GiB\n"),
            "ktm.yaml, line 1: unknown key recorders; did you mean recorder?"
        );
    }

    #[test]
    fn what_is_not_yaml_or_has_the_wrong_shape_is_named_with_its_line() {
        for text in [
            "collector: 5\n",
            "collector:\n  interval: [1]\n",
            "collector:\n  interval: 1s\n  interval: 2s\n",
            "collector:\n\tinterval: 1s\n",
            "recorder: {file: \"a\n",
        ] {
            let said = problem(text);
            assert!(said.starts_with("ktm.yaml, line "), "{said}");
            assert!(
                !said.contains(" at line "),
                "the place is said once: {said}"
            );
        }
    }

    #[test]
    fn values_keep_the_text_and_the_line_they_were_written_on() {
        let layer = parse(
            "ktm.yaml",
            "collector:\n  interval: 10\n  modules: [a, b]\n  enable_cgroup_filter: on\n\
             labels:\n  node_type: hot\n",
        )
        .expect("well formed");
        let interval = &layer.settings[&Key::Interval];
        assert_eq!(interval.text, "10");
        assert_eq!(
            interval.origin.to_string(),
            "ktm.yaml, line 2, collector.interval"
        );
        assert_eq!(layer.settings[&Key::Modules].text, "a,b");
        assert_eq!(layer.settings[&Key::CgroupFilter].text, "on");
        assert_eq!(layer.labels["node_type"].text, "hot");
    }

    #[test]
    fn an_empty_file_and_empty_sections_set_nothing() {
        for text in [
            "",
            "# nothing\n",
            "collector:\nserver:\nlabels:\n",
            "recorder:\n  file:\n",
        ] {
            assert_eq!(parse("x", text), Ok(Layer::default()), "{text:?}");
        }
    }
}
