//! The runtime core: what must hold becomes a plan, the plan is verified, made ready, and carried out.
//!
//! ```text
//! SandboxSpec + HostFacts ──plan──► SandboxPlan ──verify──► arm ──clone3──► apply ──► execve
//!       (what must hold)             (ordered steps)                 (child: one loop, no decisions)
//! ```

mod apply;
mod arm;
pub mod cgroup;
mod error;
mod excursion;
mod explain;
pub mod facts;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
pub mod join;
pub mod maps;
pub mod mountinfo;
pub mod nest;
pub mod netdev;
pub mod oci;
pub mod plan;
mod protocol;
pub mod rdt;
mod share;
mod shift;
pub mod spec;
pub mod step;
pub mod supervise;
pub mod systemd;
pub mod verify;
pub mod worker;

pub use arm::Stdio;
pub use error::{Kind, StartError};
