//! `system df`: what images, containers and volumes take on disk.

use crate::engine::Engine;
use crate::error::EngineError;

/// What an image takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUsage {
    /// 64 hex digits.
    pub id: String,
    /// Canonical references.
    pub references: Vec<String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Unpacked bytes of all its layers.
    pub size: u64,
    /// Bytes of layers that other images have too.
    pub shared: u64,
    /// Bytes of layers that no other image has.
    pub unique: u64,
    /// Containers that were made of it.
    pub containers: u64,
}

/// What a volume takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// Containers that have it.
    pub links: u64,
    /// Bytes on disk.
    pub size: u64,
}

/// What images and volumes take. Containers are listed with their sizes by [`crate::containers::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Every image, the newest first.
    pub images: Vec<ImageUsage>,
    /// Bytes of all layers, each counted once.
    pub layers: u64,
    /// Bytes of the layers that only images without a container have.
    pub reclaimable_layers: u64,
    /// Every volume.
    pub volumes: Vec<VolumeUsage>,
}

/// Adds it up.
///
/// # Errors
/// What the store says.
pub fn df(engine: &Engine) -> Result<DiskUsage, EngineError> {
    engine.recover()?;
    let store = engine.store()?;
    let layers = store.layer_uses()?;
    let users = store.image_users()?;
    let images = store.list_images()?.into_iter().map(|image| {
        let mut usage = ImageUsage {
            containers: users.get(&image.id).copied().unwrap_or(0),
            id: image.id,
            references: image.references,
            created: image.created,
            ..ImageUsage::default()
        };
        for layer in image.layers.iter().filter_map(|chain| layers.get(chain)) {
            let part = if layer.images > 1 { &mut usage.shared } else { &mut usage.unique };
            *part = part.saturating_add(layer.bytes);
        }
        usage.size = usage.shared.saturating_add(usage.unique);
        usage
    });
    let images = images.collect();
    let sum = |wanted: &dyn Fn(&crate::store::LayerUse) -> bool| {
        layers.values().filter(|l| wanted(l)).fold(0_u64, |sum, l| sum.saturating_add(l.bytes))
    };
    Ok(DiskUsage {
        images,
        layers: sum(&|_| true),
        reclaimable_layers: sum(&|layer| layer.active_images == 0),
        volumes: volumes(engine)?,
    })
}

fn volumes(engine: &Engine) -> Result<Vec<VolumeUsage>, EngineError> {
    let all = crate::volumes::usage(engine)?.into_iter();
    let links = |users: usize| u64::try_from(users).unwrap_or(u64::MAX);
    Ok(all
        .map(|one| VolumeUsage { links: links(one.volume.users.len()), name: one.volume.record.name, size: one.bytes })
        .collect())
}
