//! The parameters of a URL, read strictly: one that is misspelt must not be a range forgotten.

use axum::extract::Query;
use axum::http::Uri;

use super::refusal::Refusal;
use crate::replay::{Parameter, ParameterError, QueryText, WindowText};
use crate::time::{Reference, Zone};

pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Parameters, Refusal> {
        match Query::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(Query(pairs)) => Ok(Parameters(pairs)),
            Err(error) => Err(Refusal::Parameter {
                name: String::new(),
                value: uri.query().unwrap_or_default().to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Refuses what is not in the list, and what is given twice but for `metric`.
    pub(super) fn allow(self, allowed: &[&str]) -> Result<Parameters, Refusal> {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let refuse = |reason| {
                Err(Refusal::Parameter {
                    name: name.clone(),
                    value: value.clone(),
                    reason,
                })
            };
            if !allowed.contains(&name.as_str()) {
                return refuse(match allowed {
                    [] => "this path takes no parameters".to_owned(),
                    allowed => format!("unknown parameter; known here: {}", allowed.join(", ")),
                });
            }
            let again = self
                .0
                .iter()
                .take(index)
                .any(|(earlier, _)| earlier == name);
            if again && name != Parameter::Metric.query() {
                return refuse("given more than once".to_owned());
            }
        }
        Ok(self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The zone asked for. UTC unless asked: the server's own means nothing to a client.
    pub(super) fn zone(&self) -> Result<Zone, Refusal> {
        let parameter = Parameter::Zone;
        match self.get(parameter.query()) {
            Some(name) => Zone::named(name)
                .map_err(|error| ParameterError::new(parameter, name, error).into()),
            None => Ok(Zone::utc()),
        }
    }

    pub(super) fn reference(&self) -> Result<Reference, Refusal> {
        Ok(Reference::now(self.zone()?))
    }

    pub(super) fn query(&self) -> Result<QueryText, Refusal> {
        let metrics = self
            .0
            .iter()
            .filter(|(name, _)| name == Parameter::Metric.query());
        Ok(QueryText {
            since: self.text(Parameter::Since.query()),
            until: self.text(Parameter::Until.query()),
            metrics: metrics.map(|(_, value)| value.clone()).collect(),
            interval: self.text(Parameter::Interval.query()),
            rate: self.rate()?,
        })
    }

    fn rate(&self) -> Result<bool, Refusal> {
        let parameter = Parameter::Rate;
        match self.get(parameter.query()) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => {
                Err(ParameterError::new(parameter, other, "neither true nor false").into())
            }
        }
    }

    pub(super) fn window(&self) -> WindowText {
        WindowText {
            start_time: self.text("start_time"),
            end_time: self.text("end_time"),
            role: self.text("role"),
            pod_name: self.text("pod_name"),
        }
    }
}
