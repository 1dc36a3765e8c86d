//! `commit`: an image of a container's image and of what the container changed.

use bulkhead_image::config::{Commit, ImageDocument};
use bulkhead_image::{Digest, ImageConfig};

use super::diff::{layers_of, own_mount_points};
use super::freeze::Frozen;
use super::{container_event, spec_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::files::{Files, Helper, Life, Streams, Task, pipe, settle};
use crate::images::{self, Staging, worker};
use crate::layout::{Layout, now};
use crate::request::ContainerRequest;
use crate::store::{NewImage, NewLayer};

/// What is said about the new image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// Name, id or unique prefix of the container.
    pub container: String,
    /// Reference as written.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Comment.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Hold the container still meanwhile.
    pub pause: bool,
}

/// Settings of a container: its image's, and what its request has of its own.
fn config_of(request: &ContainerRequest, image: &ImageConfig) -> ImageConfig {
    let mut config = image.clone();
    crate::resolve::merge_env(&mut config.env, &request.env);
    if let Some(entrypoint) = &request.entrypoint {
        config.entrypoint.clone_from(entrypoint);
        config.cmd.clone_from(&request.args);
    } else if !request.args.is_empty() {
        config.cmd.clone_from(&request.args);
    }
    config.labels.extend(request.labels.iter().cloned());
    for (from, to) in [
        (&request.user, &mut config.user),
        (&request.workdir, &mut config.workdir),
        (&request.stop_signal, &mut config.stop_signal),
    ] {
        if let Some(value) = from {
            to.clone_from(value);
        }
    }
    config
}

/// Makes the image; returns its id (64 hex digits).
///
/// # Errors
/// A container of the built-in image, a change that is not understood, what cannot be read or written. Nothing is kept
/// then.
pub fn commit(engine: &Engine, request: &CommitRequest) -> Result<String, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(&request.container)?;
    let reference = request.reference.as_deref().map(images::checked_reference).transpose()?;
    if let Some(reference) = &reference {
        images::trust::may_name(engine, None, reference)?;
    }
    let Some(image_id) = record.image_id.clone() else {
        return Err(EngineError::refused(
            format!("making an image of {:?}", record.name),
            "it is a container of the built-in image host, whose programs are this machine's own and in no layer",
        ));
    };
    let spec = spec_of(&record)?;
    let parent = engine.store()?.resolve_image(&image_id, None)?;
    let failed = |e: bulkhead_image::ImageError| EngineError::Image(e.to_string());
    let document = ImageDocument::parse("configuration of the image", parent.config_json.as_bytes()).map_err(failed)?;
    let config = config_of(&record.request, &document.config);
    let words: Vec<&str> = config.entrypoint.iter().chain(&config.cmd).map(String::as_str).collect();
    let wanted = Commit {
        parent: parent.config_json.clone(),
        created_by: words.join(" "),
        config,
        changes: request.changes.clone(),
        author: request.author.clone(),
        message: request.message.clone(),
        created: super::inspect::time(now()),
    };
    wanted.check().map_err(failed)?;
    let staging = Staging::new(engine)?;
    let below = document.diff_ids.iter().fold(None, |below: Option<Digest>, d| Some(Digest::chain(below.as_ref(), d)));
    let layer = changes(engine, &record, &spec, request.pause, &staging, below.as_ref())?;
    let config_json = wanted.document(layer.as_ref().map(|l| &l.diff_id)).map_err(failed)?;
    let id = Digest::of(config_json.as_bytes()).to_string();
    let mut layers: Vec<NewLayer> = parent
        .layers
        .iter()
        .zip(&document.diff_ids)
        // They are there already, with their figures.
        .map(|(chain, diff)| NewLayer { chain_id: chain.clone(), diff_id: diff.to_string(), ..NewLayer::default() })
        .collect();
    layers.extend(layer.as_ref().map(images::new_layer));
    let size = parent.size.saturating_add(layer.as_ref().map_or(0, |l| l.bytes_unpacked));
    let new = NewImage {
        id: id.clone(),
        config_json,
        created: now(),
        size,
        layers,
        references: reference.into_iter().collect(),
        ..NewImage::default()
    };
    images::record(engine, &staging.path, &new)?;
    container_event(engine, &record, "commit");
    Ok(id.trim_start_matches("sha256:").to_owned())
}

/// Packs the upper directory in one confined process and unpacks it as a layer in another, so that what is stored is what
/// the archive says, whoever made it.
fn changes(
    engine: &Engine,
    record: &crate::store::ContainerRecord,
    spec: &bulkhead_sandbox::spec::SandboxSpec,
    pause: bool,
    staging: &Staging<'_>,
    below: Option<&Digest>,
) -> Result<Option<bulkhead_image::LayerReport>, EngineError> {
    let layout = Layout::new(&engine.paths, &record.id);
    let (_, upper) = layers_of(spec)?;
    let frozen = match (Life::of(&layout), layout.read_state()) {
        (Life::Running(_), Some(state)) if pause => Frozen::new(&state, &staging.path)?,
        _ => None,
    };
    let files = Files::Layers { directories: vec![(upper, false)], ids: spec.ids.clone() };
    let (read, write) = pipe()?;
    let streams = Streams { input: None, output: Some(write) };
    let skip = own_mount_points(spec);
    let helper = Helper::start(engine, &files, streams, |_| Task::Upper { skip })?;
    let stored = worker::change(engine, &staging.path, read, below);
    let packed = helper.finish();
    drop(frozen);
    settle(stored, packed).map(|(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_container_win_and_nothing_else_comes_in() {
        let image = ImageConfig {
            env: vec!["PATH=/bin".into(), "A=1".into()],
            entrypoint: vec!["/e".into()],
            cmd: vec!["c".into()],
            ..ImageConfig::default()
        };
        let plain = config_of(&ContainerRequest::default(), &image);
        assert_eq!(plain, image);
        let request = ContainerRequest {
            env: vec!["A=2".into(), "B=3".into()],
            args: vec!["x".into()],
            labels: vec![("k".into(), "v".into())],
            user: Some("1".into()),
            ..ContainerRequest::default()
        };
        let own = config_of(&request, &image);
        assert_eq!(own.env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!((own.entrypoint, own.cmd, own.user.as_str()), (vec!["/e".to_owned()], vec!["x".to_owned()], "1"));
        // An entry point of one's own takes the image's command away.
        let request = ContainerRequest { entrypoint: Some(vec!["/own".into()]), ..ContainerRequest::default() };
        assert!(config_of(&request, &image).cmd.is_empty());
    }
}
