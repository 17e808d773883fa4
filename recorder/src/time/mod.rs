//! Time as people write it: one parser for the command line, HTTP and the configuration.
//!
//! [`parse_point`] reads a point in time, [`parse_duration`] a length of time. Both say what was
//! wrong, where, and what is accepted. `m` is minutes, always; months are not accepted.
//!
//! | Written | Means |
//! |---|---|
//! | `now` | the time of asking |
//! | `1h`, `-1h`, `1h ago`, `3d2h`, `1.5 hours ago` | that long before now; a day is 24 hours |
//! | `today`, `yesterday` | 00:00 of that day in the zone |
//! | `yesterday 23:10` | that time on that day |
//! | `14:03`, `14:03:21`, `14:03:21.5` | today at that time in the zone |
//! | `2026-11-20`, `2026-11-20 14:03[:21[.5]]` | that day or time in the zone |
//! | `2026-11-20T14:03:21Z`, `2026-11-20 14:03:21+01:00` | that time, with its own zone |
//! | `@1795184601`, `@1795184601.25` | seconds since 1970-01-01T00:00:00Z |
//!
//! A local time that a change to summer time skips is read as if the clocks had not yet changed;
//! one that comes twice is the first of the two.

mod duration;
mod error;
mod point;
mod scanner;
mod zone;

pub use duration::{duration_text, parse_duration};
pub use error::TimeError;
pub use point::{Reference, parse_point, parse_rfc3339};
pub use zone::{Zone, rfc3339_nanos, rfc3339_seconds};
