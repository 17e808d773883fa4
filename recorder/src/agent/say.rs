//! What is said to a person: single lines on standard error, each with the program's name.

use std::fmt;
use std::io::Write as _;

/// Says a line. A closed standard error is nobody to tell, and no reason to stop.
pub(super) fn say(line: impl fmt::Display) {
    let text = format!("ktm-recorder: {line}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Says a line about something that happened while recording, with its time.
pub(super) fn report(realtime_ns: i64, line: impl fmt::Display) {
    say(format_args!(
        "{} {line}",
        crate::time::rfc3339_seconds(realtime_ns)
    ));
}

/// A length of time for a person: `0.4s`, `35s`, `12m`, `3h05m`, `2d04h`.
pub(super) fn rough(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A count for a person: `1,204,113`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lengths_and_counts_are_short() {
        let text = |millis| rough(Duration::from_millis(millis));
        assert_eq!(text(400), "0.4s");
        assert_eq!(text(35_000), "35s");
        assert_eq!(text(725_000), "12m");
        assert_eq!(text(11_100_000), "3h05m");
        assert_eq!(text(187_200_000), "2d04h");
        assert_eq!(
            [0, 999, 1000, 1_204_113].map(count).join(" "),
            "0 999 1,000 1,204,113"
        );
    }
}
