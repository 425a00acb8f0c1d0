//! What a process that holds secrets does first: no core files, not dumpable, memory wiped when freed.

mod memory;

use std::alloc::{GlobalAlloc, Layout, System};

use nix::sys::resource::{Resource, setrlimit};

pub use memory::give_back;

/// The kernel refused to protect this process.
#[derive(Debug, thiserror::Error)]
#[error("this process can't be protected from being dumped")]
pub struct Unprotected(#[from] nix::Error);

/// No core files, and no other process of the same user may read this one's memory or attach to it.
///
/// # Errors
/// If the kernel refuses, which it does not do on a Linux that we support.
pub fn no_dumps() -> Result<(), Unprotected> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

/// Wipes every block when it is freed, so that buffers of libraries (TLS records, HTTP bodies, mail) do not outlive
/// their use. Our own secret types wipe themselves; this covers the copies that are not ours.
pub struct WipeOnFree;

// SAFETY: every call is forwarded to the system's allocator with its own arguments; before a block is freed it is
// overwritten within its own layout, while it is still ours.
#[allow(unsafe_code, reason = "a global allocator can't be written without it")]
unsafe impl GlobalAlloc for WipeOnFree {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` was allocated with `layout` and is freed only after this.
        unsafe {
            wipe(ptr, layout.size());
            System.dealloc(ptr, layout);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The system's realloc may move and leave the old block as it is: allocate, copy, wipe, free instead.
        // SAFETY: `new_size` is non-zero and does not overflow by the caller's contract; the copy stays within both blocks.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(ptr, new, layout.size().min(new_size));
                wipe(ptr, layout.size());
                System.dealloc(ptr, layout);
            }
            new
        }
    }
}

/// Overwrites a block so that the compiler can't leave it out.
///
/// # Safety
/// `ptr` must be valid for writes of `len` bytes.
#[allow(unsafe_code, reason = "part of the allocator")]
unsafe fn wipe(ptr: *mut u8, len: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        std::ptr::write_bytes(ptr, 0, len);
    }
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    std::hint::black_box(ptr);
}
