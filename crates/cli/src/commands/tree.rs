//! `bulkhead image tree`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::images::{self, TreeImage, TreeLayer};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "tree",
    about: "Show the layers of images, their sizes, and what is shared",
    footer: "Examples:\n  bulkhead image tree\n  bulkhead image tree --format json alpine",
    flags: Flags::Anywhere,
    build: TreeFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct TreeFlags {
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// "json", or a template like '{{.Size}}' [default: a tree]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// References, ids or starts of ids [default: every image]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

fn execute(flags: &TreeFlags) -> Result<u8, CliError> {
    let format = flags.format.as_deref().map(Format::parse).transpose()?;
    let found = images::tree(&flags.images)?;
    match format {
        None => output::text(&found.iter().map(|image| text(image, flags.no_trunc)).collect::<String>())?,
        Some(Format::Json) => output::line(&Value::Array(found.iter().map(document).collect()).to_string())?,
        Some(format) => {
            let rows: Vec<Value> = found.iter().map(document).collect();
            output::text(&format.render(&rows, str::to_owned)?)?;
        }
    }
    Ok(0)
}

fn text(image: &TreeImage, whole: bool) -> String {
    let short = |id: &str| if whole { format!("sha256:{id}") } else { id.chars().take(12).collect() };
    let names: Vec<&str> = image.references.iter().map(|name| super::images::familiar(name)).collect();
    let names = if names.is_empty() { "<none>".to_owned() } else { names.join(", ") };
    let own = image.layers.iter().filter(|layer| layer.images < 2).fold(0_u64, |all, l| all.saturating_add(l.size));
    let mut out = format!("{names}  {}  {}, {} its own\n", short(&image.id), human::size(image.size), human::size(own));
    for (at, layer) in image.layers.iter().enumerate().rev() {
        let branch = if at == 0 { "└─" } else { "├─" };
        let shared = match layer.images {
            0 | 1 => String::new(),
            2 => "  shared with 1 image".to_owned(),
            n => format!("  shared with {} images", n - 1),
        };
        out.push_str(&format!("{branch} {}  {}{shared}\n", short(&layer.chain_id), human::size(layer.size)));
    }
    out
}

fn document(image: &TreeImage) -> Value {
    let layer = |layer: &TreeLayer| {
        json!({
            "ChainId": format!("sha256:{}", layer.chain_id),
            "DiffId": layer.diff_id,
            "Size": layer.size,
            "Images": layer.images,
            "Shared": layer.images > 1,
        })
    };
    json!({
        "Id": format!("sha256:{}", image.id),
        "RepoTags": image.references,
        "Size": image.size,
        "Layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_layer_is_on_top_and_what_is_shared_is_said() {
        let layer =
            |digit: &str, size, images| TreeLayer { chain_id: digit.repeat(64), size, images, ..TreeLayer::default() };
        let image = TreeImage {
            id: "c".repeat(64),
            references: vec!["docker.io/library/a:1".into()],
            size: 3000,
            layers: vec![layer("1", 2000, 3), layer("2", 1000, 1)],
        };
        assert_eq!(
            text(&image, false),
            "a:1  cccccccccccc  3kB, 1kB its own\n├─ 222222222222  1kB\n└─ 111111111111  2kB  shared with 2 images\n"
        );
        assert!(text(&TreeImage::default(), true).starts_with("<none>  sha256:"));
        let json = document(&image);
        assert_eq!((&json["Layers"][0]["Shared"], &json["Layers"][1]["Size"]), (&json!(true), &json!(1000)));
    }
}
