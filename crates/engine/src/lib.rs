//! The application: containers, images, the store and the monitor.

mod bare;
pub mod config;
pub mod containers;
mod deep;
mod engine;
mod error;
pub mod events;
pub mod files;
mod filters;
pub mod frame;
mod ids;
pub mod images;
mod init;
mod layout;
pub mod monitor;
pub mod networks;
mod progress;
mod protect;
pub mod request;
mod resolve;
mod sharing;
pub mod store;
pub mod system;
pub mod volumes;

pub use bare::sandbox;
pub use engine::Engine;
pub use error::EngineError;
pub use init::init;
pub use layout::{ExitState, Layout, RunState, now};
pub use progress::Progress;
