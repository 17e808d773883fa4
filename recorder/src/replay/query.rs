//! What somebody wants to see: a range, series, an interval.

use std::time::Duration;

use ktm_format::Select;

use super::glob::Globs;
use super::parameter::{Parameter, ParameterError};
use crate::time::{Reference, parse_duration, parse_point, rfc3339_nanos};

/// A query as it was written, before any of it is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryText {
    /// A point in time, see [`crate::time`].
    pub since: Option<String>,
    /// A point in time.
    pub until: Option<String>,
    /// Globs; none means everything.
    pub metrics: Vec<String>,
    /// A length of time.
    pub interval: Option<String>,
    /// Counters as rates.
    pub rate: bool,
}

/// A span of CLOCK_REALTIME, both ends inclusive, open where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub since_ns: Option<i64>,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub until_ns: Option<i64>,
}

impl Range {
    /// True where the time lies within.
    pub fn contains(&self, unix_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| unix_ns >= since)
            && self.until_ns.is_none_or(|until| unix_ns <= until)
    }

    pub(crate) fn select(&self, modules: Option<Vec<String>>) -> Select {
        Select {
            since_ns: self.since_ns,
            until_ns: self.until_ns,
            modules,
        }
    }
}

/// What to replay.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// When.
    pub range: Range,
    /// Which series.
    pub metrics: Globs,
    /// One line per this much time instead of one per sample.
    pub interval: Option<Duration>,
    /// Counters as rates per second.
    pub rate: bool,
}

impl Query {
    /// Understands a query. Command line and HTTP both come through here.
    ///
    /// # Errors
    ///
    /// [`ParameterError`] names the parameter and says what is accepted.
    pub fn parse(text: &QueryText, reference: &Reference) -> Result<Query, ParameterError> {
        let point = |parameter, text: &Option<String>| {
            text.as_deref()
                .map(|text| {
                    parse_point(text, reference)
                        .map_err(|error| ParameterError::new(parameter, text, error))
                })
                .transpose()
        };
        let since_ns = point(Parameter::Since, &text.since)?;
        let until_ns = point(Parameter::Until, &text.until)?;
        if let (Some(since), Some(until)) = (since_ns, until_ns)
            && since > until
        {
            let (since, until) = (rfc3339_nanos(since), rfc3339_nanos(until));
            let reason = format!("the end of the range, {until}, is before its beginning, {since}");
            let given = text.until.clone().unwrap_or_default();
            return Err(ParameterError::new(Parameter::Until, given, reason));
        }
        Ok(Query {
            range: Range { since_ns, until_ns },
            metrics: Globs::parse(&text.metrics)?,
            interval: text.interval.as_deref().map(parse_interval).transpose()?,
            rate: text.rate,
        })
    }
}

fn parse_interval(text: &str) -> Result<Duration, ParameterError> {
    let fail = |reason: String| ParameterError::new(Parameter::Interval, text, reason);
    let interval = parse_duration(text).map_err(|error| fail(error.to_string()))?;
    match interval.as_nanos() {
        0 => Err(fail(format!(
            "{text:?}: an interval of nothing; use 10s, 1m, 1h"
        ))),
        nanos if nanos > i64::MAX as u128 => Err(fail(format!("{text:?}: too long"))),
        _ => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Zone;

    fn parse(text: QueryText) -> Result<Query, ParameterError> {
        let reference = Reference {
            now_ns: 1_795_184_601_000_000_000,
            zone: Zone::utc(),
        };
        Query::parse(&text, &reference)
    }

    fn wrong(text: QueryText) -> (Parameter, String) {
        let error = parse(text).expect_err("must be refused");
        (error.parameter, error.reason)
    }

    #[test]
    fn every_error_names_its_parameter() {
        let text = |value: &str| Some(value.to_owned());
        let (parameter, reason) = wrong(QueryText {
            since: text("1x"),
            ..Default::default()
        });
        assert_eq!(parameter, Parameter::Since);
        assert!(reason.contains("accepted"), "{reason}");
        let backwards = QueryText {
            since: text("1h"),
            until: text("2h"),
            ..QueryText::default()
        };
        let (parameter, reason) = wrong(backwards);
        assert_eq!(parameter, Parameter::Until);
        assert!(reason.contains("before its beginning"), "{reason}");
        let (parameter, _) = wrong(QueryText {
            interval: text("0s"),
            ..Default::default()
        });
        assert_eq!(parameter, Parameter::Interval);
        let (parameter, _) = wrong(QueryText {
            metrics: vec!["[".into()],
            ..Default::default()
        });
        assert_eq!(parameter, Parameter::Metric);
    }

    #[test]
    fn a_range_includes_both_its_ends() {
        let range = Range {
            since_ns: Some(10),
            until_ns: Some(20),
        };
        assert!(range.contains(10) && range.contains(20));
        assert!(!range.contains(9) && !range.contains(21));
        assert!(Range::default().contains(i64::MIN));
    }
}
