//! Waiting for conditions. A test never sleeps for a while and hopes.

use std::time::{Duration, Instant};

/// How long a condition may take before the test gives up: far more than any needs, so that a slow
/// machine is slow and not red.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// With the last reason why not, when there is none in time.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(why) => panic!("waited {PATIENCE:?} in vain for {what}: {why}"),
        }
    }
}

/// As [`until`], for a condition that has nothing to say.
///
/// # Panics
///
/// As [`until`].
pub fn until_true(what: &str, mut ask: impl FnMut() -> bool) {
    until(what, || {
        if ask() {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
}
