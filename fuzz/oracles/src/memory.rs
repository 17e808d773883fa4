//! A bound on every allocation: what a few bytes make the code ask for must not be gigabytes.

use std::alloc::{GlobalAlloc, Layout, System};

/// The largest that any input of a target can need, several times over.
const LARGEST: usize = 512 << 20;

struct Bounded;

#[global_allocator]
static BOUNDED: Bounded = Bounded;

// SAFETY: every call is passed on as it is to the system's allocator, or answered with null, which
// means that there is no memory.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > LARGEST {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the promises of this very function, and `place` is the system
        // allocator's, as all are.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` is the system allocator's, as all are.
        unsafe { System.dealloc(place, layout) }
    }
}
