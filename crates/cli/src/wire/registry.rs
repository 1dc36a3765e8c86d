//! Calls about registries.

use bulkhead_engine::EngineError;
use bulkhead_engine::images::registry as engine_registry;
use bulkhead_engine::images::{self as engine_images, Platform};
use bulkhead_engine::request::ContainerRequest;

pub use bulkhead_engine::images::registry::{Pulled, Pushed, Remote, Step, Stored};

use super::{Pull, RunOptions, engine, failed, told};
use crate::error::{CliError, USAGE};
use crate::output;
use crate::output::transfer::Transfer;

pub(super) fn platform(text: Option<&str>) -> Result<Option<Platform>, CliError> {
    let read = |text: &str| {
        let needed = "a platform like linux/amd64 or linux/arm64/v8 is needed";
        Platform::parse(text).ok_or_else(|| CliError::invalid("--platform", text, needed))
    };
    text.map(read).transpose()
}

/// Brings an image; every tag of its repository with `all`.
///
/// # Errors
///
/// What the engine says.
pub fn pull(
    reference: &str,
    on: Option<&str>,
    all: bool,
    watch: &mut dyn FnMut(&Step),
) -> Result<Vec<Pulled>, CliError> {
    let request = engine_registry::PullRequest { reference: reference.to_owned(), platform: platform(on)? };
    let engine = engine()?;
    if all {
        return engine_registry::pull_all(engine, &request, watch).map_err(failed);
    }
    engine_registry::pull(engine, &request, watch).map(|one| vec![one]).map_err(failed)
}

/// Sends an image; every tag of its repository with `all`.
///
/// # Errors
///
/// What the engine says.
pub fn push(reference: &str, all: bool, watch: &mut dyn FnMut(&Step)) -> Result<Vec<Pushed>, CliError> {
    engine_registry::push(engine()?, reference, all, watch).map_err(failed)
}

/// Checks user and password with a registry and keeps them; without them checks those that are kept.
///
/// # Errors
///
/// What the engine says.
pub fn login(registry: Option<&str>, given: Option<(String, String)>) -> Result<Option<Stored>, CliError> {
    engine_registry::login(engine()?, registry, given).map_err(failed)
}

/// Whether there are credentials for a registry.
///
/// # Errors
///
/// What the engine says.
pub fn has_login(registry: Option<&str>) -> Result<bool, CliError> {
    engine_registry::has_login(engine()?, registry).map_err(failed)
}

/// Forgets the credentials of a registry; its name, and whether there were any.
///
/// # Errors
///
/// What the engine says.
pub fn logout(registry: Option<&str>) -> Result<(String, bool), CliError> {
    engine_registry::logout(engine()?, registry).map_err(failed)
}

/// What a reference names in its registry: a manifest or an index.
///
/// # Errors
///
/// What the engine says.
pub fn manifest(reference: &str) -> Result<Remote, CliError> {
    engine_registry::manifest(engine()?, reference).map_err(failed)
}

/// An image of a registry in the form of Docker's `inspect`.
///
/// # Errors
///
/// What the engine says.
pub fn remote(reference: &str, on: Option<&str>) -> Result<serde_json::Value, CliError> {
    engine_registry::remote(engine()?, reference, platform(on)?.as_ref()).map_err(failed)
}

/// Sees to it that the image of a new container is there, as `--pull` has it. What is told goes to standard error:
/// standard output is the program's.
///
/// # Errors
///
/// What the engine says; exit code 125.
pub(super) fn ensure(request: &ContainerRequest, options: &RunOptions) -> Result<(), CliError> {
    let engine = engine()?;
    let unpulled = |error: EngineError| told(&error, USAGE);
    let on = request.platform.as_deref();
    let there = || engine_images::is_there(engine, &request.image, on).map_err(unpulled);
    let wanted = match options.pull {
        Pull::Never => false,
        Pull::Missing => !there()?,
        Pull::Always => request.image != engine_images::HOST,
    };
    if !wanted {
        return Ok(());
    }
    if !options.quiet && options.pull == Pull::Missing {
        output::note(&format!("Unable to find image '{}' locally", written(&request.image)));
    }
    let mut show = Transfer::on_stderr(options.quiet);
    let wish = engine_registry::PullRequest { reference: request.image.clone(), platform: platform(on)? };
    let pulled = engine_registry::pull(engine, &wish, &mut |step| show.step(step));
    show.end();
    let pulled = pulled.map_err(|e| {
        let error = unpulled(e);
        let known = error.hint.is_some();
        if known { error } else { error.with_hint(super::WAYS) }
    })?;
    if !options.quiet {
        output::note(&format!("Digest: {}", pulled.digest));
        output::note(&crate::commands::pull::status(&pulled));
    }
    Ok(())
}

/// With the tag that is meant when none is written.
fn written(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}
