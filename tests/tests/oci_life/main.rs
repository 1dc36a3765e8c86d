//! The life of containers of the OCI runtime, without an engine: what each command says, and what the config asks for.

mod callers;
mod exe;
mod exec;
mod hooks;
mod host;
mod killed;
mod mounts;
mod process;
mod words;
