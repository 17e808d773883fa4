//! Reading a one-slot per-CPU map as the sum over all CPUs, without allocating each time.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{Map, MapData};

/// The part of `union bpf_attr` that `BPF_MAP_LOOKUP_ELEM` uses.
#[repr(C)]
struct LookupElem {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

/// A per-CPU array with one slot of `words` 64-bit words.
#[derive(Debug)]
pub(crate) struct PerCpuSlot {
    map: MapData,
    words: usize,
    /// One slot after the other, for every CPU that is possible on this machine.
    buffer: Vec<u64>,
}

impl PerCpuSlot {
    /// Wraps a map that the object says is such an array.
    pub(crate) fn new(map: Map, words: usize) -> io::Result<PerCpuSlot> {
        let Map::PerCpuArray(map) = map else {
            return Err(io::Error::other("not a per-CPU array"));
        };
        let info = map.info().map_err(io::Error::other)?;
        if info.value_size() as usize != words * size_of::<u64>() {
            return Err(io::Error::other("the kernel programs have another layout"));
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(PerCpuSlot {
            map,
            words,
            buffer: vec![0; words * cpus],
        })
    }

    /// Sums the slots of all CPUs into `sums`.
    pub(crate) fn read(&mut self, sums: &mut [u64]) -> io::Result<()> {
        let key = 0_u32;
        let attributes = LookupElem {
            map_fd: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
            padding: 0,
            key: (&raw const key).addr() as u64,
            value: self.buffer.as_mut_ptr().expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: the attributes describe a live map, a live key and a buffer with one slot for
        // every possible CPU, which is what the kernel writes to a per-CPU map's reader.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_ELEM,
                &raw const attributes,
                size_of::<LookupElem>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        sums.fill(0);
        for cpu in self.buffer.chunks_exact(self.words) {
            for (sum, word) in sums.iter_mut().zip(cpu) {
                *sum = sum.wrapping_add(*word);
            }
        }
        Ok(())
    }
}
