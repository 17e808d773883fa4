//! Time and randomness as the file needs them, behind traits so that tests can be both exact.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The two clocks, read together.
///
/// Rows are ordered by their sequence number, never by a clock: `realtime_ns` may step, and
/// `boottime_ns` starts again at every boot. Their difference moving is how a step is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// CLOCK_REALTIME, nanoseconds since 1970-01-01T00:00:00Z.
    pub realtime_ns: i64,
    /// CLOCK_BOOTTIME, nanoseconds since boot, suspension included.
    pub boottime_ns: u64,
}

/// Where stamps come from.
pub trait Clock {
    /// Reads both clocks.
    fn now(&self) -> Stamp;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        let boot = clock_gettime(ClockId::Boottime);
        let real = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
        Stamp {
            realtime_ns: match real {
                Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
                Err(before) => {
                    i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns)
                }
            },
            boottime_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        }
    }
}

/// Where the file's uuid and each run's nonce come from.
pub trait Entropy {
    /// Fills the buffer with bytes nobody can guess and no earlier run has used.
    fn fill(&mut self, buffer: &mut [u8]);
}

/// The kernel's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        use std::hash::{BuildHasher, Hasher, RandomState};
        use std::io::Read;
        let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(buffer));
        if read.is_err() {
            // A container without /dev: the standard library's keys come from the kernel too.
            for chunk in buffer.chunks_mut(8) {
                let word = RandomState::new().build_hasher().finish().to_le_bytes();
                let length = chunk.len();
                chunk.copy_from_slice(word.get(..length).unwrap_or_default());
            }
        }
    }
}

/// What a writer must know of its surroundings when it opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The kernel's random id of this boot, from `/proc/sys/kernel/random/boot_id`.
    pub boot_id: [u8; 16],
    /// This process, for the message another writer prints.
    pub pid: u32,
}

impl Host {
    /// The machine and process this runs on. A missing `/proc` gives a boot id of zeros.
    pub fn current() -> Host {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Host {
            boot_id: parse_uuid(text.trim()).unwrap_or([0; 16]),
            pid: std::process::id(),
        }
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(|number| {
        // Text order: the first digits are the first bytes.
        let mut bytes = number.to_le_bytes();
        bytes.reverse();
        bytes
    })
}

/// A uuid as text, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_keeps_its_text_order() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let bytes = parse_uuid(text).expect("well formed");
        assert_eq!(bytes[0], 0x00);
        assert_eq!(bytes[15], 0xff);
        assert_eq!(uuid_text(&bytes), text);
        assert_eq!(parse_uuid("not a uuid"), None);
    }
}
