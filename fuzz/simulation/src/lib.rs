//! Power cuts without a machine: what the tests of ktm-format and the fuzz targets share.

mod cut;
mod disk;
mod random;

pub use cut::{Seen, check_cut, recovers_the_same, without_schema};
pub use disk::{Disk, Platters};
pub use random::Random;
