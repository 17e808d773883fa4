//! Superblocks A and B: what a file is, and how it is divided.
//!
//! Two copies in different pages. Geometry and identity are the same in both and never change; the
//! rest are hints about the last writer. A writer that opens the file rewrites the *older* copy
//! with a higher generation, so that a torn write always leaves the other one whole.
//!
//! Nothing here says where the data begins or ends: that is derived from the segments.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Host;
use crate::error::{Damage, DamageKind, Error, Result};
use crate::geometry::Geometry;

/// The first eight bytes of every version: not text, line-end conversions show, and the end-of-file
/// character of old systems stops an accidental `type`.
pub const MAGIC: [u8; 8] = *b"\x89KTM\r\n\x1a\n";

/// The version this library writes, and the newest it reads.
pub const VERSION: u16 = 1;

/// File offsets of the two copies.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, 32 * 1024];

/// A superblock as it lies in the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Format version. Magic, version and CRC keep their place and rule in every version.
    pub version: U16,
    /// Zero.
    pub reserved: U16,
    /// CRC-32 of the whole structure with this field zero.
    pub crc: U32,
    /// Random, fixed at creation. Every segment repeats it.
    pub uuid: [u8; 16],
    /// CLOCK_REALTIME at creation, nanoseconds.
    pub created_ns: I64,
    /// The file's size in bytes.
    pub file_size: U64,
    /// Bytes of every segment.
    pub segment_size: U32,
    /// Segments of the hot ring.
    pub hot_count: U32,
    /// Segments of the cold ring.
    pub cold_count: U32,
    /// Zero.
    pub flags: U32,
    /// The copy with the higher generation is the newer one.
    pub generation: U64,
    /// Hint: boot id of the last writer.
    pub boot_id: [u8; 16],
    /// Hint: process id of the last writer.
    pub pid: U32,
    /// Hint: number of the last run.
    pub run: U32,
    /// The program that created the file, UTF-8, zero padded.
    pub software: [u8; 32],
    /// Zero.
    pub unused: [u8; 128],
}

const _: () = assert!(size_of::<Superblock>() == SUPERBLOCK_SIZE);

/// Bytes of a superblock.
pub const SUPERBLOCK_SIZE: usize = 256;

impl Superblock {
    pub(crate) fn new(
        geometry: Geometry,
        uuid: [u8; 16],
        created_ns: i64,
        software: &str,
    ) -> Superblock {
        let mut name = [0; 32];
        for (place, byte) in name.iter_mut().zip(software.bytes()) {
            *place = byte;
        }
        Superblock {
            magic: MAGIC,
            version: VERSION.into(),
            reserved: 0.into(),
            crc: 0.into(),
            uuid,
            created_ns: created_ns.into(),
            file_size: geometry.file_size.into(),
            segment_size: geometry.segment_size.into(),
            hot_count: geometry.hot_count.into(),
            cold_count: geometry.cold_count.into(),
            flags: 0.into(),
            generation: 0.into(),
            boot_id: [0; 16],
            pid: 0.into(),
            run: 0.into(),
            software: name,
            unused: [0; 128],
        }
        .sealed()
    }

    /// The next generation, naming this run's writer.
    pub(crate) fn next(&self, host: &Host, run: u32) -> Superblock {
        Superblock {
            generation: self.generation.get().wrapping_add(1).into(),
            boot_id: host.boot_id,
            pid: host.pid.into(),
            run: run.into(),
            ..*self
        }
        .sealed()
    }

    fn sealed(self) -> Superblock {
        let blank = Superblock {
            crc: 0.into(),
            ..self
        };
        Superblock {
            crc: crc32fast::hash(blank.as_bytes()).into(),
            ..blank
        }
    }

    fn is_intact(&self) -> bool {
        self.magic == MAGIC && self.sealed().crc == self.crc
    }

    /// How the file is divided.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            file_size: self.file_size.get(),
            segment_size: self.segment_size.get(),
            hot_count: self.hot_count.get(),
            cold_count: self.cold_count.get(),
        }
    }

    /// The creating program's name.
    pub fn software(&self) -> String {
        String::from_utf8_lossy(&self.software)
            .trim_end_matches('\0')
            .to_owned()
    }
}

/// The superblock in force, and the damage of the other copy, if any.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// Which copy is in force: the next write goes to the other.
    pub(crate) copy: usize,
    pub(crate) damage: Vec<Damage>,
}

/// Picks the intact copy with the higher generation.
pub(crate) fn choose(copies: [Option<[u8; SUPERBLOCK_SIZE]>; 2]) -> Result<Chosen> {
    let parsed = copies.map(|bytes| {
        bytes.map(|bytes| Superblock::read_from_bytes(&bytes).expect("the array has its size"))
    });
    let intact = parsed.map(|copy| copy.filter(Superblock::is_intact));
    let copy = match (&intact[0], &intact[1]) {
        (Some(a), Some(b)) if b.generation.get() > a.generation.get() => 1,
        (Some(_), _) => 0,
        (None, Some(_)) => 1,
        (None, None) => return Err(refuse(parsed)),
    };
    let superblock = intact[copy].expect("chosen because it is intact");
    let found = superblock.version.get();
    if found != VERSION {
        return Err(Error::UnsupportedVersion {
            found,
            supported: VERSION,
        });
    }
    if !superblock.geometry().is_sound() {
        return Err(Error::Corrupt(damage_at(copy, DamageKind::Contents)));
    }
    let damage = (0..2)
        .filter(|index| intact[*index].is_none())
        .map(|index| damage_at(index, DamageKind::Superblock))
        .collect();
    Ok(Chosen {
        superblock,
        copy,
        damage,
    })
}

/// Neither copy is intact: ours and damaged, or not ours at all.
fn refuse(copies: [Option<Superblock>; 2]) -> Error {
    let ours = copies.iter().flatten().any(|copy| copy.magic == MAGIC);
    if ours {
        Error::Corrupt(damage_at(0, DamageKind::Contents))
    } else if copies[0].is_none() {
        Error::NotARecording("it is shorter than a superblock".into())
    } else {
        Error::NotARecording("it does not begin with the recording's magic number".into())
    }
}

fn damage_at(copy: usize, what: DamageKind) -> Damage {
    Damage {
        offset: SUPERBLOCK_OFFSETS[copy],
        length: SUPERBLOCK_SIZE as u64,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        let geometry = Geometry::for_size(1 << 20).expect("large enough");
        Superblock::new(geometry, [7; 16], 1, "test 1.0")
    }

    fn bytes(superblock: &Superblock) -> Option<[u8; SUPERBLOCK_SIZE]> {
        superblock.as_bytes().try_into().ok()
    }

    #[test]
    fn the_newer_intact_copy_wins() {
        let old = superblock();
        let new = old.next(
            &Host {
                boot_id: [1; 16],
                pid: 9,
            },
            4,
        );
        let chosen = choose([bytes(&old), bytes(&new)]).expect("both intact");
        assert_eq!((chosen.copy, chosen.superblock.run.get()), (1, 4));
        assert!(chosen.damage.is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn any_flipped_bit_of_one_copy_leaves_the_other_in_force_and_is_reported() {
        let whole = superblock();
        for bit in 0..SUPERBLOCK_SIZE * 8 {
            let mut damaged = bytes(&whole).expect("its size");
            damaged[bit / 8] ^= 1 << (bit % 8);
            let chosen = choose([Some(damaged), bytes(&whole)]).expect("copy B is intact");
            assert_eq!(chosen.copy, 1, "bit {bit}");
            assert_eq!(chosen.damage.len(), 1, "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let later = Superblock {
            version: 2.into(),
            ..superblock()
        }
        .sealed();
        let refused = choose([bytes(&later), bytes(&later)]);
        assert!(matches!(
            refused,
            Err(Error::UnsupportedVersion {
                found: 2,
                supported: 1
            })
        ));
    }

    #[test]
    fn a_foreign_file_is_not_called_damaged() {
        let foreign = Some([b'x'; SUPERBLOCK_SIZE]);
        assert!(matches!(
            choose([foreign, foreign]),
            Err(Error::NotARecording(_))
        ));
        assert!(matches!(choose([None, None]), Err(Error::NotARecording(_))));
        let mut ours = bytes(&superblock()).expect("its size");
        ours[40] ^= 1;
        assert!(matches!(
            choose([Some(ours), Some(ours)]),
            Err(Error::Corrupt(_))
        ));
    }
}
