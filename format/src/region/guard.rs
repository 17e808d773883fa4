//! Surviving a mapping whose file fails under it.
//!
//! A store into a mapped page raises SIGBUS when the page has no file behind it: somebody cut the
//! file short, or the disk could not give the page back. Asking for the length before storing
//! leaves a moment in which it can still happen. So the first mapping installs a handler that puts
//! memory in the place of a mapping that has failed, and says so to whoever asks: the store goes
//! there, and the writer finds out that the file is lost. Any other bus error goes to the handler
//! that was there before.
#![allow(
    unsafe_code,
    reason = "a signal handler and a fixed mapping; each step carries its proof"
)]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A mapping that may fail. Drop it before the mapping itself.
#[derive(Debug)]
pub(super) struct Guard(&'static Range);

/// One mapping. Never freed, for a handler may be reading it: some forty bytes for a file opened.
#[derive(Debug)]
struct Range {
    /// Zero once the mapping is gone.
    start: AtomicUsize,
    length: usize,
    has_failed: AtomicBool,
    next: Option<&'static Range>,
}

/// The newest of the list. Ranges are only ever put in front.
static NEWEST: AtomicPtr<Range> = AtomicPtr::new(ptr::null_mut());

/// What was done about bus errors before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

impl Guard {
    /// Watches over the bytes of a shared mapping.
    pub(super) fn new(start: *mut u8, length: usize) -> Guard {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let range = Box::leak(Box::new(Range {
            start: AtomicUsize::new(start.expose_provenance()),
            length,
            has_failed: AtomicBool::new(false),
            next: None,
        }));
        // One at a time, so that each is put in front of the one before.
        static FRONT: Mutex<()> = Mutex::new(());
        let _front = FRONT.lock().unwrap_or_else(PoisonError::into_inner);
        range.next = newest();
        NEWEST.store(range, Ordering::Release);
        Guard(range)
    }

    /// True once a store has met a page without a file. Nothing stored since then, and perhaps
    /// nothing stored shortly before, is in the file.
    pub(super) fn has_failed(&self) -> bool {
        self.0.has_failed.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
    }
}

impl Range {
    fn covers(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        start != 0 && (start..start + self.length).contains(&address)
    }

    /// Puts zeros in the place of the whole mapping. A system call and nothing else: this runs in
    /// a signal handler.
    fn replace(&self) -> bool {
        self.has_failed.store(true, Ordering::Release);
        let start = ptr::with_exposed_provenance_mut(self.start.load(Ordering::Acquire));
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: exactly the bytes of a mapping that this crate owns. The thread that is here was
        // storing into it, so it is not being unmapped; no reference to its bytes exists.
        unsafe { mmap_anonymous(start, self.length, access, flags) }.is_ok()
    }
}

fn newest() -> Option<&'static Range> {
    // SAFETY: null, or leaked by `Guard::new` and valid for ever.
    unsafe { NEWEST.load(Ordering::Acquire).as_ref() }
}

fn install() {
    let handler: extern "C" fn(c_int, &libc::siginfo_t, *mut c_void) = on_bus_error;
    let mut previous = MaybeUninit::uninit();
    // SAFETY: all zeros is a valid `sigaction`: the default action, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both structures are valid, and the handler keeps to what a handler may do.
    let outcome = unsafe { libc::sigaction(libc::SIGBUS, &action, previous.as_mut_ptr()) };
    if outcome == 0 {
        // SAFETY: written by the call, which succeeded.
        let _ = PREVIOUS.set(unsafe { previous.assume_init() });
    }
}

extern "C" fn on_bus_error(_signal: c_int, info: &libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: a bus error carries the address. Of one that somebody sent, the bytes there are a
    // process id, which is no address of a mapping.
    let address = unsafe { info.si_addr() } as usize;
    let mut next = newest();
    while let Some(range) = next {
        if range.covers(address) && range.replace() {
            return;
        }
        next = range.next;
    }
    // Not ours: the instruction runs again and meets whoever was there before.
    // SAFETY: all zeros is a valid `sigaction`, the default one.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    let previous = PREVIOUS.get().unwrap_or(&default);
    // SAFETY: a valid structure, which the kernel or the line above made.
    unsafe { libc::sigaction(libc::SIGBUS, previous, ptr::null_mut()) };
}
