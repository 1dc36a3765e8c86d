//! The allocator of the program.
//!
//! The C library's own asks the kernel for every few pages: a hundred times in a start of a container. This one begins
//! with a block that is part of the program's own data, whose pages are made all at once ([`crate::entry`]): a page that
//! is made when it is touched costs several times as much.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::{Allocator, Dlmalloc};

const PAGE: usize = 4096;
/// What a start of a container takes, and a little more.
const FIRST: usize = 24 * PAGE;

#[repr(align(4096))]
struct First(UnsafeCell<[u8; FIRST]>);

// SAFETY: only its address is taken here, and given away once.
unsafe impl Sync for First {}

static FIRST_BLOCK: First = First(UnsafeCell::new([0; FIRST]));
static GIVEN: AtomicBool = AtomicBool::new(false);

/// Where the allocator has its memory from.
struct Source;

// SAFETY: every block is given once: the first by a flag that is set once, the others by the kernel.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        /// The block is neither given back nor joined with others.
        const EXTERN: u32 = 1;
        if size <= FIRST && !GIVEN.swap(true, Ordering::Relaxed) {
            return (FIRST_BLOCK.0.get().cast(), FIRST, EXTERN);
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at a place that the kernel chooses.
        let block = unsafe { libc::mmap(core::ptr::null_mut(), size, access, kind, -1, 0) };
        if block == libc::MAP_FAILED { (core::ptr::null_mut(), 0, 0) } else { (block.cast(), size, 0) }
    }

    fn remap(&self, block: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
        let flags = if can_move { libc::MREMAP_MAYMOVE } else { 0 };
        // SAFETY: the block came from `mmap`, and the allocator, its only owner, goes on with what comes back.
        let moved = unsafe { libc::mremap(block.cast(), old, new, flags) };
        if moved == libc::MAP_FAILED { core::ptr::null_mut() } else { moved.cast() }
    }

    fn free_part(&self, block: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: a part that the allocator does not use, of a block that came from `mmap`.
        unsafe { libc::munmap(block.wrapping_add(new).cast(), old - new) == 0 }
    }

    fn free(&self, block: *mut u8, size: usize) -> bool {
        // SAFETY: a block that came from `mmap` and that the allocator does not use.
        unsafe { libc::munmap(block.cast(), size) == 0 }
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

/// The allocator, for `#[global_allocator]`: one in a program.
#[derive(Debug)]
pub struct Heap(());

static HEAP: Mutex<Dlmalloc<Source>> = Mutex::new(Dlmalloc::new_with_allocator(Source));

impl Heap {
    /// The allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

fn heap() -> MutexGuard<'static, Dlmalloc<Source>> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: the blocks are those of dlmalloc, behind a lock; nothing here panics or allocates itself.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { heap().malloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { heap().free(block, layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { heap().calloc(layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { heap().realloc(block, layout.size(), layout.align(), size) }
    }
}
