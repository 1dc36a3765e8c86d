//! The first instructions of the program, before its own addresses are set right and before any library.
//!
//! A binary of this size touches forty pages to set its addresses right, each by an exception of its own, and a command
//! that comes near a container begins twice: the second time from where nobody can write it (CVE-2019-5736). So the
//! kernel is given an entry of ours in front of the C library's. It has the pages made by one call, and where the words
//! are those of an OCI runtime's command that comes near a container, it goes on from the protected copy at once.
//!
//! Nothing here may use what is not set right yet: no table of pointers, no function of a library, no message. What
//! cannot be done is left to the program itself, which does all of it again and says why.

use core::sync::atomic::{AtomicBool, Ordering};

use libc::{Elf64_Ehdr as FileHeader, Elf64_Phdr as Header};

use crate::mount::MountAttr;

/// Set where the first instructions have found the program on a read-only mount.
static READ_ONLY: AtomicBool = AtomicBool::new(false);

/// Whether this program was found to run from a read-only mount when it began. `false` says nothing.
#[must_use]
pub fn began_read_only() -> bool {
    READ_ONLY.load(Ordering::Relaxed)
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl bulkhead_entry",
    ".type bulkhead_entry, @function",
    "bulkhead_entry:",
    // What the kernel or a dynamic linker left is handed on as it is: the stack, and a function to call at the end.
    "mov rdi, rsp",
    "push rdx",
    "push rdx",
    "call {front}",
    "pop rdx",
    "pop rdx",
    "jmp _start",
    ".size bulkhead_entry, . - bulkhead_entry",
    front = sym front,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl bulkhead_entry",
    ".type bulkhead_entry, %function",
    "bulkhead_entry:",
    "str x0, [sp, #-16]!",
    "add x0, sp, #16",
    "bl {front}",
    "ldr x0, [sp], #16",
    "b _start",
    ".size bulkhead_entry, . - bulkhead_entry",
    front = sym front,
);

/// A system call, with what it takes and gives as the kernel has it.
///
/// # Safety
/// What the call reads and writes must be there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
    let value: isize;
    // SAFETY: the registers are those of the kernel's convention; it changes no others.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => value,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    value
}

/// A system call, with what it takes and gives as the kernel has it.
///
/// # Safety
/// What the call reads and writes must be there.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
    let value: isize;
    // SAFETY: the registers are those of the kernel's convention; it changes no others.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => value,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4],
            options(nostack),
        );
    }
    value
}

/// A text of the kernel's, which ends with a zero.
#[derive(Clone, Copy)]
struct Text(*const u8);

impl Text {
    /// A byte of it; no one before it is the zero at the end. Read so that no compiler makes a library's function of
    /// what is done with it.
    #[inline(always)]
    fn byte(self, at: usize) -> u8 {
        // SAFETY: at most the zero at the end of a text that lives as long as the process.
        unsafe { self.0.wrapping_add(at).read_volatile() }
    }

    /// Whether it begins with these bytes, the last of which may be the zero at the end.
    #[inline(always)]
    fn is<const N: usize>(self, word: &[u8; N]) -> bool {
        let mut at = 0;
        while at < N && self.byte(at) == word[at] {
            at += 1;
        }
        at == N
    }

    /// The part behind its last slash.
    #[inline(always)]
    fn file_name(self) -> Self {
        let (mut at, mut name) = (0, self);
        loop {
            match self.byte(at) {
                0 => return name,
                b'/' => name = Self(self.0.wrapping_add(at + 1)),
                _ => {}
            }
            at += 1;
        }
    }
}

/// What the kernel gives a program: its words and its environment, each ended by a null, and a list of its own.
struct Given {
    words: usize,
    args: *const Text,
}

impl Given {
    #[inline(always)]
    fn word(&self, at: usize) -> Option<Text> {
        // SAFETY: there are as many.
        (at < self.words).then(|| unsafe { self.args.wrapping_add(at).read() })
    }

    #[inline(always)]
    fn environment(&self) -> *const Text {
        self.args.wrapping_add(self.words + 1)
    }

    /// The kernel's own list (`getauxval(3)`).
    #[inline(always)]
    fn list(&self) -> *const [usize; 2] {
        let mut at = self.environment();
        loop {
            // SAFETY: none of those before was the null at the end.
            let text = unsafe { at.read() };
            at = at.wrapping_add(1);
            if text.0.is_null() {
                return at.cast();
            }
        }
    }

    /// Whether the words are those of a command of an OCI runtime that comes near a container. One that merely has such
    /// a word begins twice for nothing, and then does what it does.
    #[inline(always)]
    fn comes_near(&self) -> bool {
        let (Some(name), Some(first)) = (self.word(0), self.word(1)) else { return false };
        if !name.file_name().is(b"bulkhead-runc\0") && !first.is(b"oci\0") {
            return false;
        }
        let mut at = 1;
        while let Some(word) = self.word(at) {
            if word.is(b"create\0") || word.is(b"run\0") || word.is(b"exec\0") {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Whether the program runs from a read-only mount. If not, it goes on from a copy of its mount that is, and this
    /// does not return; it does where there is no right to that.
    #[inline(always)]
    fn is_protected(&self) -> bool {
        /// `ST_RDONLY` of `statvfs(3)`.
        const ST_RDONLY: i64 = 1;
        let (here, path) = (libc::AT_FDCWD as usize, c"/proc/self/exe".as_ptr().addr());
        // SAFETY: opens a file by a text that ends with a zero.
        let own = unsafe { call(libc::SYS_openat, [here, path, (libc::O_PATH | libc::O_CLOEXEC) as usize, 0, 0]) };
        let Ok(own) = usize::try_from(own) else { return false };
        let mut stat = core::mem::MaybeUninit::<rustix::fs::StatFs>::zeroed();
        // SAFETY: the kernel fills the structure.
        let looked = unsafe { call(libc::SYS_fstatfs, [own, stat.as_mut_ptr().addr(), 0, 0, 0]) };
        // SAFETY: it was zeroed, and has plain numbers only.
        let flags = unsafe { stat.assume_init() }.f_flags;
        let read_only = looked == 0 && flags & ST_RDONLY != 0;
        if !read_only {
            self.go_on(own);
        }
        close(own);
        read_only
    }

    /// Goes on from a read-only copy of the mount of `own`. Comes back where that cannot be.
    #[inline(always)]
    fn go_on(&self, own: usize) {
        const SIZE: usize = core::mem::size_of::<MountAttr>();
        let (empty, at_empty) = (c"".as_ptr().addr(), libc::AT_EMPTY_PATH as usize);
        let copy = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize | at_empty;
        // SAFETY: takes a descriptor and a text that ends with a zero.
        let tree = unsafe { call(libc::SYS_open_tree, [own, empty, copy, 0, 0]) };
        let Ok(tree) = usize::try_from(tree) else { return };
        let attr = MountAttr::EXECUTABLE;
        // SAFETY: the structure is alive during the call, and has the size that is said.
        let set = unsafe { call(libc::SYS_mount_setattr, [tree, empty, at_empty, (&raw const attr).addr(), SIZE]) };
        if set == 0 {
            let (args, env) = (self.args.addr(), self.environment().addr());
            // SAFETY: the lists are what the kernel gave this program; it comes back only when it did not begin anew.
            unsafe { call(libc::SYS_execveat, [tree, empty, args, env, at_empty]) };
        }
        close(tree);
    }
}

#[inline(always)]
fn close(fd: usize) {
    // SAFETY: one that was opened here.
    unsafe { call(libc::SYS_close, [fd, 0, 0, 0, 0]) };
}

/// Has the kernel make the pages of what this program writes, all at once.
#[inline(always)]
fn make_pages(mut list: *const [usize; 2]) {
    /// `MADV_POPULATE_WRITE` of `madvise(2)`, Linux 5.14.
    const POPULATE: usize = 23;
    const PAGE: usize = 4096;
    let (mut headers, mut count) = (core::ptr::null::<Header>(), 0);
    loop {
        // SAFETY: the list ends with a zero, which is the last that is read.
        let [kind, value] = unsafe { list.read() };
        match kind as u64 {
            libc::AT_NULL => break,
            libc::AT_PHDR => headers = core::ptr::with_exposed_provenance(value),
            libc::AT_PHNUM => count = value,
            _ => {}
        }
        list = list.wrapping_add(1);
    }
    // They follow the header of the file, with which its first part begins.
    let mut base = headers.addr().wrapping_sub(core::mem::size_of::<FileHeader>());
    let mut first = true;
    for at in 0..count {
        // SAFETY: there are as many.
        let header = unsafe { headers.wrapping_add(at).read() };
        if header.p_type != libc::PT_LOAD {
            continue;
        }
        let (place, size) = (header.p_vaddr as usize, header.p_memsz as usize);
        if first {
            base = base.wrapping_sub(place);
            first = false;
        }
        if header.p_flags & libc::PF_W != 0 {
            let start = base.wrapping_add(place);
            let end = start.wrapping_add(size).wrapping_add(PAGE - 1) & !(PAGE - 1);
            let start = start & !(PAGE - 1);
            // SAFETY: pages of this program; their content stays what it is.
            unsafe { call(libc::SYS_madvise, [start, end.wrapping_sub(start), POPULATE, 0, 0]) };
        }
    }
}

/// What is done first; `stack` is what the kernel gave, see `execve(2)`.
extern "C" fn front(stack: *const usize) {
    // SAFETY: the number of words comes first; the entry alone calls this, with the kernel's stack.
    let words = unsafe { stack.read() };
    let given = Given { words, args: stack.wrapping_add(1).cast() };
    if given.comes_near() && given.is_protected() {
        READ_ONLY.store(true, Ordering::Relaxed);
    }
    make_pages(given.list());
}
