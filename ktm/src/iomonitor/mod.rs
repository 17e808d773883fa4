//! Module `iomonitor`: the target's system calls for input and output, what it does to the page
//! cache, and the reclaim it has to do itself.
//!
//! Counting happens in kernel programs, into one slot per CPU that is never cleared. A sample reads
//! the slots, sums them and subtracts what they were when the target was set.

mod columns;
mod signals;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ktm_ebpf::{Counters, Filter, InFlight};
use ktm_format::{Series, Values};

use self::columns::Column;
use self::signals::{Counted, SIGNALS};
use crate::module::{Context, Module, ModuleError, Registration};
use crate::per_cpu::PerCpuSlot;
use crate::plan::{Planner, ProbeReport, chain};
use crate::target::Target;
use crate::tracefs::{Format, TraceFs};

pub use self::columns::is_power_of_two_bound;

/// The kernel programs, built by `cargo xtask build-ebpf`.
#[cfg(target_arch = "x86_64")]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!("../../bpf/iomonitor.bpf.o"));
/// There are none for this machine yet.
#[cfg(not(target_arch = "x86_64"))]
static OBJECT: Option<&[u8]> = None;

/// How the module is started by name.
pub(crate) const REGISTRATION: Registration = Registration {
    name: "iomonitor",
    help: "system calls for input and output, page cache and reclaim of the target",
    start: |context| Ok(Box::new(IoMonitor::start(context))),
};

/// The module.
pub struct IoMonitor {
    /// `None` where the kernel lets us load nothing at all.
    kernel: Option<Kernel>,
    probes: Vec<ProbeReport>,
    columns: Vec<Column>,
    /// The counters when the target was set.
    base: Vec<u64>,
    /// The counters as last read.
    now: Vec<u64>,
}

impl fmt::Debug for IoMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoMonitor")
            .field("probes", &self.probes)
            .finish_non_exhaustive()
    }
}

impl IoMonitor {
    /// Attaches what can be attached, which may be nothing.
    pub fn start(context: &Context) -> IoMonitor {
        IoMonitor::start_with(context, SIGNALS)
    }

    fn start_with(context: &Context, signals: &[Counted]) -> IoMonitor {
        let (kernel, probes) = match load(context, signals) {
            Ok((kernel, probes)) => (Some(kernel), probes),
            Err(reason) => {
                let absent =
                    |signal: &Counted| ProbeReport::absent(signal.signal.name, "bpf", &reason);
                (None, signals.iter().map(absent).collect())
            }
        };
        return_memory();
        let columns = signals
            .iter()
            .zip(&probes)
            .filter_map(|(signal, probe)| Some((signal, probe.source.as_deref()?)))
            .flat_map(|(signal, source)| (signal.columns)(source))
            .collect();
        let zeros = vec![0; Counters::WORDS];
        IoMonitor {
            kernel,
            probes,
            columns,
            base: zeros.clone(),
            now: zeros,
        }
    }
}

impl Module for IoMonitor {
    fn name(&self) -> &'static str {
        REGISTRATION.name
    }

    fn series(&self) -> Vec<Series> {
        self.columns
            .iter()
            .map(|column| column.series.clone())
            .collect()
    }

    fn sample(&mut self, out: &mut Values) -> Result<(), ModuleError> {
        out.clear();
        let Some(kernel) = &mut self.kernel else {
            return Ok(());
        };
        kernel.read(&mut self.now)?;
        let mut running = 0_u64;
        for column in &self.columns {
            let words = column.words.clone();
            let increase: u64 = words
                .map(|word| self.now[word].wrapping_sub(self.base[word]))
                .fold(0, u64::wrapping_add);
            running = if column.continues {
                running.wrapping_add(increase)
            } else {
                increase
            };
            out.push_u64(running);
        }
        Ok(())
    }

    fn retarget(&mut self, target: Option<&Target>) -> Result<(), ModuleError> {
        let Some(kernel) = &mut self.kernel else {
            return Ok(());
        };
        kernel.set_filter(Filter::default())?;
        let Some(target) = target else { return Ok(()) };
        // Nothing can be added from here on, so the base and the first count of the new target
        // meet without a gap and without an overlap.
        wait_for_running_programs();
        kernel.forget_threads()?;
        kernel.read(&mut self.base)?;
        kernel.set_filter(Filter {
            tgid: u64::from(target.pid),
            cgroup: target.cgroup.as_ref().map_or(0, |cgroup| cgroup.id),
            mount_namespace: 0,
        })
    }

    fn needs_target(&self) -> bool {
        true
    }

    fn probes(&self) -> &[ProbeReport] {
        &self.probes
    }
}

/// The maps, and the programs that stay attached as long as this lives.
struct Kernel {
    counters: PerCpuSlot,
    filter: Array<MapData, [u64; Filter::WORDS]>,
    in_flight: HashMap<MapData, u32, [u64; InFlight::WORDS]>,
    _programs: Ebpf,
}

impl Kernel {
    fn new(mut ebpf: Ebpf) -> Result<Kernel, String> {
        let mut take = |name: &str| -> Result<Map, String> {
            ebpf.take_map(name)
                .ok_or_else(|| format!("the object has no map {name}"))
        };
        let counters = take("COUNTERS")?;
        let filter = take("FILTER")?;
        let in_flight = take("IN_FLIGHT")?;
        Ok(Kernel {
            counters: PerCpuSlot::new(counters, Counters::WORDS).map_err(|e| e.to_string())?,
            filter: Array::try_from(filter).map_err(|error| chain(&error))?,
            in_flight: HashMap::try_from(in_flight).map_err(|error| chain(&error))?,
            _programs: ebpf,
        })
    }

    fn read(&mut self, sums: &mut [u64]) -> Result<(), ModuleError> {
        self.counters
            .read(sums)
            .map_err(|error| ModuleError::new("reading counters", error))
    }

    fn set_filter(&mut self, filter: Filter) -> Result<(), ModuleError> {
        self.filter
            .set(0, filter.to_words(), 0)
            .map_err(|error| ModuleError::new("setting the filter", chain(&error)))
    }

    /// Removes the calls in flight of an earlier target, whose threads may end unseen and whose
    /// numbers may be used again.
    fn forget_threads(&mut self) -> Result<(), ModuleError> {
        let threads: Vec<u32> = self.in_flight.keys().filter_map(Result::ok).collect();
        for thread in threads {
            // One that has just ended has removed itself.
            let _ = self.in_flight.remove(&thread);
        }
        Ok(())
    }
}

fn load(context: &Context, signals: &[Counted]) -> Result<(Kernel, Vec<ProbeReport>), String> {
    let object = OBJECT.ok_or("no kernel programs were built for this machine")?;
    let fill_order = order_offset(&context.tracefs, "mm_filemap_add_to_page_cache");
    let delete_order = order_offset(&context.tracefs, "mm_filemap_delete_from_page_cache");
    let (namespace_device, namespace_inode) = own_pid_namespace();
    let mut ebpf = EbpfLoader::new()
        // The object has nothing to relocate, and the kernel's BTF is large.
        .btf(None)
        .override_global("ADD_ORDER_AT", &fill_order, true)
        .override_global("DELETE_ORDER_AT", &delete_order, true)
        .override_global("PID_NS_DEV", &namespace_device, true)
        .override_global("PID_NS_INO", &namespace_inode, true)
        .load(object)
        .map_err(|error| load_reason(&error))?;
    let probes = {
        let mut planner = Planner::new(&mut ebpf, context.hooks, &context.tracefs);
        signals
            .iter()
            .map(|signal| planner.attach(&signal.signal))
            .collect()
    };
    Ok((Kernel::new(ebpf)?, probes))
}

fn load_reason(error: &EbpfError) -> String {
    let text = chain(error);
    let denied = std::io::Error::from_raw_os_error(libc::EPERM).to_string();
    if text.contains(&denied) {
        format!("{text}; run as root, or with CAP_BPF and CAP_PERFMON")
    } else {
        text
    }
}

/// Where an event of the page cache says how large the folio is. Kernels before 5.16 have no such
/// field, and no folios.
fn order_offset(tracefs: &TraceFs, event: &str) -> u64 {
    const ABSENT: u64 = 0xffff;
    let format = tracefs
        .path()
        .and_then(|path| Format::read(path, "filemap", event).ok());
    match format.and_then(|format| format.field("order")) {
        Some(place) if place.size == 1 => place.offset as u64,
        _ => ABSENT,
    }
}

/// Device and inode of our pid namespace, for the kernel programs to number processes as we see
/// them; zero for the initial one, where they need not ask.
fn own_pid_namespace() -> (u64, u64) {
    /// `PROC_PID_INIT_INO`
    const INITIAL: u64 = 0xefff_fffc;
    match std::fs::metadata("/proc/self/ns/pid") {
        Ok(metadata) if metadata.ino() != INITIAL => {
            // The kernel's own encoding of a device number, not the one that `stat` gives.
            let device = metadata.dev();
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            (u64::from(major) << 20 | u64::from(minor), metadata.ino())
        }
        _ => (0, 0),
    }
}

/// Returns once every kernel program that may have seen the old filter has ended.
fn wait_for_running_programs() {
    // Programs run inside RCU read-side sections; a global memory barrier is a grace period.
    // SAFETY: the call takes no pointer and changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // Refused where CPUs are isolated (nohz_full). A program runs for microseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Gives the memory that BTF and the object took for a moment back to the system.
fn return_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: safe to call at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::path::PathBuf;

    use super::*;
    use crate::plan::Signal;
    use crate::target::Scope;

    /// This process: these tests compare counters with each other, not with known work.
    fn ourselves() -> Target {
        Target {
            pid: std::process::id(),
            comm: String::new(),
            exe: None,
            start_time_ticks: 0,
            cgroup: None,
            scope: Scope::Process,
            matches: 1,
        }
    }

    /// Reads a file that is not cached.
    fn read_cold(path: &PathBuf) {
        std::fs::write(path, vec![1_u8; 1 << 20]).expect("written");
        let file = File::open(path).expect("opened");
        file.sync_all().expect("clean pages");
        // SAFETY: takes no pointer.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(std::fs::read(path).expect("read").len(), 1 << 20);
    }

    /// The rung that reads the order at an offset known at load time is never reached on a kernel
    /// with the usual layout, and must not count otherwise.
    #[test]
    fn pages_counted_at_a_constant_and_at_a_loaded_offset_are_the_same() {
        let context = Context::new(crate::tracefs::ensure());
        let fills = SIGNALS
            .iter()
            .find(|counted| counted.signal.name == "cache_fills");
        let fills = fills.expect("there is such a signal");
        let only = |rung: usize| Counted {
            signal: Signal {
                name: "cache_fills",
                rungs: &fills.signal.rungs[rung..=rung],
            },
            columns: fills.columns,
        };
        let mut modules = [0, 1].map(|rung| IoMonitor::start_with(&context, &[only(rung)]));
        if !modules[0].probes()[0].is_attached() {
            println!("SKIPPED: {}", modules[0].probes()[0]);
            return;
        }
        assert!(
            modules[1].probes()[0].is_attached(),
            "{}",
            modules[1].probes()[0]
        );
        let folder = tempfile::tempdir().expect("a folder");
        for module in &mut modules {
            module.retarget(Some(&ourselves())).expect("a target");
        }
        read_cold(&folder.path().join("cold"));
        let mut values = Values::new();
        let [constant, loaded] = modules.each_mut().map(|module| {
            module.sample(&mut values).expect("a sample");
            values.word(0).expect("a value")
        });
        assert_eq!(constant, loaded);
        const TMPFS: i64 = 0x0102_1994;
        let on_disk = rustix::fs::statfs(folder.path()).expect("statfs").f_type != TMPFS;
        assert!(
            !on_disk || constant >= 256,
            "{constant} pages of a file of 256"
        );
    }
}
