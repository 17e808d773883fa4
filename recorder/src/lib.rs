//! The KTM Flight Recorder as a library: read a recording back, or keep one of your own.
//!
//! [`flight`] keeps a recording: it always starts, and never makes the caller wait for the disk.
//! [`replay`] turns a recording into tables, CSV, JSON, OpenMetrics and answers about runs and
//! events; the command line and the HTTP server call nothing else. [`time`] reads points in time
//! and durations as people write them. With the feature `agent`, `server` answers over HTTP.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "agent")]
pub mod config;
pub mod flight;
pub mod replay;
#[cfg(feature = "agent")]
pub mod server;
pub mod time;
