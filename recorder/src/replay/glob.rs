//! Choosing series by glob.

use globset::{GlobBuilder, GlobMatcher};

use super::columns::Column;
use super::parameter::{Parameter, ParameterError};

/// Names listed when a glob matches nothing.
const SUGGESTIONS: usize = 4;

/// Globs over series, any of which may match.
///
/// A glob is held against the sample name (`ktm_sys_read_latency_seconds_bucket`), the family
/// (`ktm_sys_read_latency_seconds`) and the whole series as printed (`name{label="value"}`). `*`
/// and `?` match any character, `[ab]` one of several. Braces are the braces of a series, not
/// alternatives: give several globs instead.
#[derive(Clone, Debug, Default)]
pub struct Globs(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    fn matches(&self, column: &Column) -> bool {
        let candidates = [column.name.as_str(), column.family(), column.title.as_str()];
        candidates
            .iter()
            .any(|text| self.text == *text || self.matcher.is_match(text))
    }
}

impl Globs {
    /// Compiles globs.
    ///
    /// # Errors
    ///
    /// [`ParameterError`] about [`Parameter::Metric`].
    pub fn parse(globs: &[String]) -> Result<Globs, ParameterError> {
        let compile = |text: &String| {
            let literal = literal_braces(text);
            let matcher = GlobBuilder::new(&literal).backslash_escape(false).build();
            match matcher {
                Ok(glob) => Ok(Pattern {
                    text: text.clone(),
                    matcher: glob.compile_matcher(),
                }),
                Err(error) => Err(ParameterError::new(
                    Parameter::Metric,
                    text,
                    format!("{text:?} is not a glob: {}", error.kind()),
                )),
            }
        };
        globs
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Globs)
    }

    /// True if no glob was given, which selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where the column is wanted.
    pub(crate) fn wants(&self, column: &Column) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(column))
    }

    /// Refuses a glob that matches no column although there are some.
    pub(crate) fn check(&self, columns: &[Column]) -> Result<(), ParameterError> {
        let unknown = |pattern: &&Pattern| !columns.iter().any(|column| pattern.matches(column));
        match self.0.iter().find(unknown) {
            Some(pattern) if !columns.is_empty() => Err(ParameterError::new(
                Parameter::Metric,
                &pattern.text,
                format!(
                    "no series of this recording matches {:?}{}; `ktm-dump schema` or \
                     /api/v1/schema lists them",
                    pattern.text,
                    nearest(&pattern.text, columns)
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// In a series `{` and `}` are themselves.
fn literal_braces(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 8);
    let mut in_class = false;
    for c in text.chars() {
        match c {
            '{' | '}' if !in_class => {
                literal.extend(['[', c, ']']);
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        literal.push(c);
    }
    literal
}

fn nearest(text: &str, columns: &[Column]) -> String {
    let mut families: Vec<&str> = columns.iter().map(Column::family).collect();
    families.sort_unstable();
    families.dedup();
    let plain: String = text.chars().filter(|c| !"*?[]".contains(*c)).collect();
    let similarity = |family: &str| {
        let contains = !plain.is_empty() && family.contains(&plain);
        if contains {
            1.0
        } else {
            strsim::jaro_winkler(&plain, family)
        }
    };
    let mut near: Vec<(f64, &str)> = families
        .into_iter()
        .map(|family| (similarity(family), family))
        .filter(|(similarity, _)| *similarity > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<&str> = near
        .iter()
        .take(SUGGESTIONS)
        .map(|(_, family)| *family)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; near it are {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use ktm_format::{Kind, Schema, Series, ValueType};

    use super::*;
    use crate::replay::columns::Columns;

    fn columns() -> Columns {
        let bucket = Series::new("ktm_read_seconds_bucket", Kind::Bucket, ValueType::U64, "")
            .label("le", "1");
        let series = vec![
            Series::counter("ktm_fadvise_calls_total", "").label("advice", "dontneed"),
            bucket,
            Series::gauge("ktm_status", ""),
        ];
        let schema = Schema {
            module: "m".into(),
            labels: vec![],
            series,
        };
        Columns::of(&[schema.into()])
    }

    fn matched(glob: &str) -> Vec<String> {
        let globs = Globs::parse(&[glob.to_owned()]).expect("a glob");
        let columns = columns();
        let wanted = columns.list().iter().filter(|column| globs.wants(column));
        wanted.map(|column| column.title.clone()).collect()
    }

    #[test]
    fn a_glob_matches_sample_name_family_or_whole_series() {
        let fadvise = r#"ktm_fadvise_calls_total{advice="dontneed"}"#;
        assert_eq!(matched("ktm_fadvise*"), [fadvise]);
        assert_eq!(matched("ktm_fadvise_calls_total"), [fadvise]);
        assert_eq!(matched(fadvise), [fadvise]);
        assert_eq!(matched(r#"*{advice="d*"}"#), [fadvise]);
        assert_eq!(
            matched("ktm_read_seconds"),
            [r#"ktm_read_seconds_bucket{le="1"}"#]
        );
        assert_eq!(matched("*_bucket").len(), 1);
        assert_eq!(matched("*").len(), 3);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_refused_with_near_names() {
        let globs = Globs::parse(&["ktm_fadvice_calls_total".into()]).expect("a glob");
        let error = globs.check(columns().list()).expect_err("unknown");
        assert!(error.reason.contains("ktm_fadvise_calls_total"), "{error}");
        assert!(error.reason.contains("ktm-dump schema"), "{error}");
        let globs = Globs::parse(&["zzz*".into()]).expect("a glob");
        let error = globs.check(columns().list()).expect_err("unknown");
        assert!(!error.reason.contains("near it"), "{error}");
        assert_eq!(
            globs.check(&[]),
            Ok(()),
            "an empty recording knows no names at all"
        );
    }
}
