//! Layers: the settings of one source, as text, each with its place.

use std::collections::BTreeMap;

use super::cli::Flags;
use super::key::{CONFIG_VARIABLE, Key, LABEL_VARIABLES, SETTINGS, nearest};
use super::problem::{Origin, Problem};

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The settings of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) settings: BTreeMap<Key, Setting>,
    pub(super) labels: BTreeMap<String, Setting>,
}

impl Layer {
    pub(super) fn set(&mut self, key: Key, text: impl Into<String>, origin: Origin) {
        self.settings.insert(
            key,
            Setting {
                text: text.into(),
                origin,
            },
        );
    }

    pub(super) fn set_label(&mut self, name: &str, text: impl Into<String>, origin: Origin) {
        self.labels.insert(
            name.to_owned(),
            Setting {
                text: text.into(),
                origin,
            },
        );
    }

    /// The settings of the command line.
    pub(super) fn of_flags(flags: &Flags) -> Layer {
        let mut layer = Layer::default();
        for (key, flag, text) in flags.given() {
            layer.set(key, text, Origin::Flag(flag));
        }
        layer
    }

    /// The settings of the environment. A variable set to nothing counts as not set, which is how
    /// a compose file writes an optional one.
    pub(super) fn of_environment(variables: &[(String, String)]) -> Result<Layer, Problem> {
        let mut layer = Layer::default();
        for (name, text) in variables.iter().filter(|(_, text)| !text.is_empty()) {
            let origin = Origin::Variable(name.clone());
            if let Some(names) = SETTINGS.iter().find(|names| names.variable == name) {
                match names.key {
                    Key::Labels => layer.add_label_list(text, &origin)?,
                    key => layer.set(key, text, origin),
                }
            }
        }
        // After the list: the variable of its own says it more exactly.
        for (label, variable) in LABEL_VARIABLES {
            if let Some((_, text)) = variables
                .iter()
                .find(|(name, text)| name == variable && !text.is_empty())
            {
                layer.set_label(label, text, Origin::Variable(variable.to_owned()));
            }
        }
        Ok(layer)
    }

    fn add_label_list(&mut self, text: &str, origin: &Origin) -> Result<(), Problem> {
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Problem::new(
                    origin,
                    format!("\"{pair}\" is not a label"),
                    "write name=value, separated by commas",
                )
            })?;
            self.set_label(name.trim(), value.trim(), origin.clone());
        }
        Ok(())
    }
}

/// Variables that look like a mistyped setting, as sentences. Not an error: Kubernetes puts
/// `KTM_SERVICE_HOST` and its like into every pod of a namespace with a service named `ktm`.
pub(super) fn suspicious_variables(variables: &[(String, String)]) -> Vec<String> {
    let known: Vec<&str> = SETTINGS
        .iter()
        .map(|names| names.variable)
        .chain(LABEL_VARIABLES.iter().map(|(_, variable)| *variable))
        .chain([CONFIG_VARIABLE])
        .collect();
    variables
        .iter()
        .filter(|(name, _)| name.starts_with("KTM_") && !known.contains(&name.as_str()))
        .filter_map(|(name, _)| {
            let close = |a: &str, b: &str| {
                if strsim::levenshtein(a, b) <= 2 {
                    1.0
                } else {
                    0.0
                }
            };
            let meant = nearest(name, known.iter().copied(), close)?;
            Some(format!(
                "environment variable {name} is not a setting; did you mean {meant}?"
            ))
        })
        .collect()
}
