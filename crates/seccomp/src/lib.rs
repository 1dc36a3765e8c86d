//! Seccomp profiles for bulkhead: read, resolve, compile, explain.
//!
//! The crate is pure: text or a table goes in, a classic BPF program or a description comes out.
//! It never talks to the kernel.
//!
//! ```text
//! JSON text ─► Profile ─► Filter ─► Program
//!              names      numbers   BPF instructions
//!              (profile)  (resolve) (compile)
//! ```
//!
//! * [`Profile`] is what a person wrote: names, conditions on capabilities and kernel, comments.
//! * [`Filter`] is what holds for one container: numbers of one machine family and ordered rules.
//! * [`Program`] is what the kernel runs.
//!
//! [`matcher::verdict`] gives the meaning of a filter in the plainest possible way, [`vm::run`]
//! executes a program; tests hold the two against each other.

mod action;
mod arch;
mod args;
pub mod caps;
pub mod compile;
pub mod defaults;
mod errno;
pub mod explain;
mod filter;
mod index;
pub mod matcher;
mod profile;
mod program;
mod resolve;
mod syscalls;
pub mod vm;

pub use action::{Action, MAX_ERRNO};
pub use arch::{Arch, X32_BIT};
pub use args::{argument_is_int, argument_name};
pub use compile::{CompileError, compile};
pub use filter::{ArchFilter, CallRules, Condition, Filter, Op, Rule, SyscallData, Width};
pub use profile::{
    ArchMapEntry, Architectures, Arg, FilterFlag, MAX_ARGS_PER_RULE, MAX_PROFILE_BYTES, MAX_RULES, Name, Profile,
    ProfileError, ProfileRule, ProfileText, RuleFilter, Words,
};
pub use program::{CheckError, Insn, MAX_INSNS, Program};
pub use resolve::{Context, ResolveError};
pub use syscalls::{syscall_name, syscall_number, syscalls};
