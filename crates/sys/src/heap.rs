//! The allocator of the program.
//!
//! The C library's own asks the kernel for every few pages: a hundred times in a start of a container. This one begins
//! with memory that is part of the program's own data, whose pages are made all at once ([`crate::entry`]): a page that
//! is made when it is touched costs several times as much. Small blocks of the first thread, which are nearly all there
//! are, come from a part of it that no other thread uses, without a lock; all others from dlmalloc.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::{Allocator, Dlmalloc};

const PAGE: usize = 4096;
/// What a start of a container takes in small blocks, and a little more.
const SMALL: usize = 8 * PAGE;
/// The same in others.
const LARGE: usize = 16 * PAGE;
/// Small blocks have sizes and places that are multiples of this.
const UNIT: usize = 16;
/// Sizes of small blocks.
const CLASSES: usize = 32;

#[repr(align(4096))]
struct Memory<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: only addresses are taken here; who uses the memory is said where it is given away.
unsafe impl<const N: usize> Sync for Memory<N> {}

static SMALL_BLOCKS: Memory<SMALL> = Memory(UnsafeCell::new([0; SMALL]));
static LARGE_BLOCK: Memory<LARGE> = Memory(UnsafeCell::new([0; LARGE]));

/// What the first thread knows of its small blocks.
struct Small {
    /// How much of the memory was given out.
    used: usize,
    /// Blocks that were given back, by size. Each begins with the address of the next.
    free: [*mut u8; CLASSES],
}

struct First(UnsafeCell<Small>);

// SAFETY: used by the first thread alone, and never while it is in use: nothing here calls what allocates.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new(Small { used: 0, free: [core::ptr::null_mut(); CLASSES] }));
/// What tells the first thread from others.
static FIRST_THREAD: AtomicUsize = AtomicUsize::new(0);

/// Differs for all threads of a process, and stays in a copy of the process.
#[inline(always)]
fn thread() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the C library keeps the thread's own address there before anything is allocated (x86-64 TLS ABI).
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) pointer, options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the register that the C library keeps the thread's own address in.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags));
    }
    pointer
}

#[inline(always)]
fn is_first() -> bool {
    let first = FIRST_THREAD.load(Ordering::Relaxed);
    // Before there is a second thread something was allocated.
    let taken = |me| FIRST_THREAD.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    first == thread() || first == 0 && taken(thread())
}

/// The class of a small block.
#[inline(always)]
fn class(size: usize, align: usize) -> Option<usize> {
    let class = size.saturating_sub(1) / UNIT;
    (class < CLASSES && align <= UNIT).then_some(class)
}

#[inline(always)]
fn is_small(block: *mut u8) -> bool {
    block.addr().wrapping_sub(SMALL_BLOCKS.0.get().addr()) < SMALL
}

/// A small block; nothing for another thread, a large one, or when there are no more.
#[inline(always)]
fn give(size: usize, align: usize) -> Option<*mut u8> {
    let class = class(size, align).filter(|_| is_first())?;
    // SAFETY: the first thread is here, and nowhere else.
    let small = unsafe { &mut *FIRST.0.get() };
    let head = &mut small.free[class];
    if !head.is_null() {
        let block = *head;
        // SAFETY: a free block begins with the address of the next.
        *head = unsafe { block.cast::<*mut u8>().read() };
        return Some(block);
    }
    let end = small.used + (class + 1) * UNIT;
    if end > SMALL {
        return None;
    }
    let block = SMALL_BLOCKS.0.get().cast::<u8>().wrapping_add(small.used);
    small.used = end;
    Some(block)
}

/// Takes a small block back. One that another thread gives back is lost: there are few.
///
/// # Safety
/// It was given for this layout and is not used any more.
#[inline(always)]
unsafe fn take(block: *mut u8, layout: Layout) {
    if let Some(class) = class(layout.size(), layout.align()).filter(|_| is_first()) {
        // SAFETY: the first thread is here, and nowhere else.
        let small = unsafe { &mut *FIRST.0.get() };
        // SAFETY: the block is free, has room for an address and begins at a multiple of 16.
        unsafe { block.cast::<*mut u8>().write(small.free[class]) };
        small.free[class] = block;
    }
}

/// Where dlmalloc has its memory from.
struct Source;

static GIVEN: AtomicBool = AtomicBool::new(false);

// SAFETY: every block is given once: the first by a flag that is set once, the others by the kernel.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        /// The block is neither given back nor joined with others.
        const EXTERN: u32 = 1;
        if size <= LARGE && !GIVEN.swap(true, Ordering::Relaxed) {
            return (LARGE_BLOCK.0.get().cast(), LARGE, EXTERN);
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
#[derive(Debug, Default)]
pub struct Heap(());

impl Heap {
    /// The allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

static OTHERS: Mutex<Dlmalloc<Source>> = Mutex::new(Dlmalloc::new_with_allocator(Source));

fn others() -> MutexGuard<'static, Dlmalloc<Source>> {
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: a small block is given to one owner at a time, by the first thread, with the size and place of its class; all
// others are dlmalloc's, behind a lock. Nothing here panics or allocates itself.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match give(layout.size(), layout.align()) {
            Some(block) => block,
            // SAFETY: the caller's promise.
            None => unsafe { others().malloc(layout.size(), layout.align()) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_small(block) {
            // SAFETY: the caller's promise.
            return unsafe { take(block, layout) };
        }
        // SAFETY: the caller's promise.
        unsafe { others().free(block, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match give(layout.size(), layout.align()) {
            Some(block) => {
                // SAFETY: it has the size.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's promise.
            None => unsafe { others().calloc(layout.size(), layout.align()) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_small(block) {
            // SAFETY: the caller's promise.
            return unsafe { others().realloc(block, layout.size(), layout.align(), size) };
        }
        if class(size, layout.align()) == class(layout.size(), layout.align()) {
            return block;
        }
        // SAFETY: the caller promises that such a layout can be.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: its size is not zero, by the caller's promise.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: two blocks, each with at least as many bytes.
            unsafe { core::ptr::copy_nonoverlapping(block, new, size.min(layout.size())) };
            // SAFETY: the caller's promise.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
#[allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "blocks are filled and read"
)]
mod tests {
    use super::*;

    /// Blocks of many sizes, grown, given back and used again, also by another thread, keep what was written to them.
    #[test]
    fn blocks_keep_what_was_written() {
        let heap = Heap::new();
        let fill = |block: *mut u8, size: usize, value: u8| unsafe { block.write_bytes(value, size) };
        let holds = |block: *mut u8, size: usize, value: u8| (0..size).all(|at| unsafe { *block.add(at) } == value);
        for round in 0..200_usize {
            let mut blocks = Vec::new();
            for (value, step) in (1..=250_u8).zip(round..) {
                let (size, align) = (step * 37 % 700 + 1, 1 << (step % 7));
                let layout = Layout::from_size_align(size, align).unwrap();
                let block = unsafe { heap.alloc(layout) };
                assert!(!block.is_null() && block.addr().is_multiple_of(align));
                fill(block, size, value);
                blocks.push((block, layout, value));
            }
            for (block, layout, value) in &mut blocks {
                let size = layout.size() * 3 / 2 + 1;
                let grown = unsafe { heap.realloc(*block, *layout, size) };
                assert!(holds(grown, layout.size(), *value), "{layout:?}");
                (*block, *layout) = (grown, Layout::from_size_align(size, layout.align()).unwrap());
                fill(*block, size, *value);
            }
            for (block, layout, value) in blocks {
                assert!(holds(block, layout.size(), value), "{layout:?}");
                unsafe { heap.dealloc(block, layout) };
            }
        }
        let layout = Layout::new::<[u64; 4]>();
        let block = unsafe { heap.alloc_zeroed(layout) }.addr();
        std::thread::spawn(move || unsafe {
            Heap::new().dealloc(core::ptr::with_exposed_provenance_mut(block), layout)
        })
        .join()
        .unwrap();
        let zeroed = unsafe { heap.alloc_zeroed(layout) };
        assert!(holds(zeroed, layout.size(), 0));
    }
}
