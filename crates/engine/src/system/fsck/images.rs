//! Images and layers: rows against each other, and against the directories.
//!
//! A layer is kept unpacked, and its digest is that of the archive it came in, so its files cannot be hashed again. What
//! can be verified is verified: the configuration is what the image's id says, it names the layers that are recorded, and
//! each layer's name in the store follows from the digests of all below it.

use bulkhead_image::Digest;
use bulkhead_image::config::ImageDocument;

use super::{Look, names};
use crate::error::EngineError;
use crate::store::LAYER_ROOT;

pub(super) fn check(look: &mut Look<'_>) -> Result<(), EngineError> {
    layers(look)?;
    let mut layers = look.engine.store()?.image_layers()?;
    for image in look.engine.store()?.list_images()? {
        let object = format!("image {}", image.id);
        let found = Digest::of(image.config_json.as_bytes()).hex();
        if found != image.id {
            let message = format!("the configuration of image {} is another one: its digest is {found}", image.id);
            look.found("image-digest", object.clone(), message);
            continue;
        }
        if let Err(e) = ImageDocument::parse(&image.id, image.config_json.as_bytes()) {
            let message = format!("the configuration of image {} cannot be used: {e}", image.id);
            look.found("image-config", object.clone(), message);
            continue;
        }
        let recorded = layers.remove(&image.id).unwrap_or_default();
        if let Some(wrong) = wrong_layer(&image.config_json, &recorded) {
            look.found("image-layers", object, format!("the layers of image {} are wrong: {wrong}", image.id));
        }
    }
    Ok(())
}

/// What is wrong with the recorded (chain id, diff id) pairs, beside the configuration.
fn wrong_layer(config: &str, recorded: &[(String, String)]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
    let named = config.pointer("/rootfs/diff_ids").and_then(|v| v.as_array()).cloned().unwrap_or_default();
    if named.len() != recorded.len() {
        return Some(format!("its configuration names {}, and {} are recorded", named.len(), recorded.len()));
    }
    let mut below: Option<Digest> = None;
    for (position, (named, (chain, diff))) in named.iter().zip(recorded).enumerate() {
        let named = named.as_str().unwrap_or_default();
        if named.strip_prefix("sha256:").unwrap_or(named) != diff {
            return Some(format!("layer {position} is {diff}, and its configuration names {named}"));
        }
        let Ok(digest) = Digest::from_hex(diff) else { return Some(format!("layer {position} has no digest")) };
        let expected = Digest::chain(below.as_ref(), &digest);
        if expected.hex() != *chain {
            return Some(format!("layer {position} is kept as {chain}, and its digests give {}", expected.hex()));
        }
        below = Some(expected);
    }
    None
}

fn layers(look: &mut Look<'_>) -> Result<(), EngineError> {
    let directory = look.engine.paths.layers();
    let on_disk = names(&directory);
    let uses = look.engine.store()?.layer_uses()?;
    for (chain, layer) in &uses {
        if !directory.join(chain).join(LAYER_ROOT).is_dir() {
            let message =
                format!("the files of layer {chain} are gone; remove the images that have it, and load them again");
            look.found("layer-missing", format!("layer {chain}"), message);
        }
        if layer.images == 0 {
            let message = format!("layer {chain} is recorded, and no image has it");
            look.found("layer-unused", format!("layer {chain}"), message);
        }
    }
    for name in on_disk.iter().filter(|name| !uses.contains_key(*name)) {
        let message = format!("{:?} belongs to no image", directory.join(name));
        look.repairable("layer-stray", format!("layers/{name}"), message, |engine| {
            crate::images::clear_strays(engine)?;
            Ok(Some("removed it".to_owned()))
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bulkhead_image::Digest;

    use super::wrong_layer;

    #[test]
    fn layers_are_held_against_the_configuration_and_each_other() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let config = format!(r#"{{"rootfs":{{"diff_ids":["{a}","{b}"]}}}}"#);
        let chain = Digest::chain(Some(&a), &b);
        let good = vec![(a.hex(), a.hex()), (chain.hex(), b.hex())];
        assert_eq!(wrong_layer(&config, &good), None);
        assert!(wrong_layer(&config, &good[..1]).unwrap().contains("names 2"));
        let swapped = vec![(a.hex(), b.hex()), (chain.hex(), a.hex())];
        assert!(wrong_layer(&config, &swapped).unwrap().contains("layer 0"));
        let kept_wrong = vec![(a.hex(), a.hex()), (b.hex(), b.hex())];
        assert!(wrong_layer(&config, &kept_wrong).unwrap().contains("digests give"));
    }
}
