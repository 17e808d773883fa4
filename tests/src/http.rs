//! Asking a recorder over HTTP.

use std::net::TcpListener;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status: 200, 400.
    pub status: u16,
    /// The header `content-type`.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// Asks once.
///
/// # Errors
///
/// When nobody answers; an answer of any status is one.
pub fn get(address: &str, path: &str) -> Result<Answer, String> {
    ask(address, path, &[], "*/*")
}

/// Asks once with parameters for a kind of answer.
///
/// # Errors
///
/// As [`get`].
pub fn ask(
    address: &str,
    path: &str,
    parameters: &[(&str, &str)],
    accept: &str,
) -> Result<Answer, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let url = format!("http://{address}{path}");
    let said = |error: ureq::Error| format!("{url}: {error}");
    let question = agent.get(&url).header("accept", accept);
    let question = question.query_pairs(parameters.iter().copied());
    let mut answer = question.call().map_err(said)?;
    let content_type = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    Ok(Answer {
        status: answer.status().as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: answer.body_mut().read_to_string().map_err(said)?,
    })
}

/// An address on loopback that nobody listens on at the moment.
///
/// # Panics
///
/// When there is none.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string()
}
