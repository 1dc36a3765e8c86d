//! `bulkhead system df`.

use clap::Args;
use serde_json::{Value, json};

use super::super::{Entry, flags_of, images, ps};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, ContainerSummary, DiskUsage, State, Which};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "df",
    about: "Show what images, containers and volumes take on disk",
    footer: "Examples:\n  bulkhead system df\n  bulkhead system df -v\n  bulkhead system df --format '{{.Type}}: {{.Size}}'",
    flags: Flags::Anywhere,
    build: DfFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct DfFlags {
    /// Show each of them
    #[arg(short, long)]
    verbose: bool,
    /// "json", or a template like '{{.Type}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

fn execute(words: &DfFlags) -> Result<u8, CliError> {
    let format = Format::listing(words.format.as_deref())?;
    let usage = wire::disk_usage()?;
    let containers = wire::containers(Which::All, true)?;
    let text = match words.verbose {
        false => {
            let table = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
            let format = format.map_or_else(|| Format::parse(table), Ok)?;
            format.render(&summary(&usage, &containers), header)?
        }
        true => verbose(&usage, &containers, format.as_ref(), human::now())?,
    };
    output::text(&text).map(|()| 0)
}

fn line(kind: &str, total: usize, active: usize, size: u64, reclaimable: u64) -> Value {
    let share = (u128::from(reclaimable) * 100).checked_div(u128::from(size));
    let share = share.map_or_else(String::new, |share| format!(" ({share}%)"));
    json!({
        "Type": kind,
        "TotalCount": total.to_string(),
        "Active": active.to_string(),
        "Size": human::size(size),
        "Reclaimable": format!("{}{share}", human::size(reclaimable)),
    })
}

fn runs(container: &ContainerSummary) -> bool {
    matches!(container.state, State::Running { .. } | State::Paused { .. } | State::Restarting { .. })
}

fn summary(usage: &DiskUsage, containers: &[ContainerSummary]) -> Vec<Value> {
    let own = |wanted: &dyn Fn(&ContainerSummary) -> bool| -> u64 {
        let sizes = containers.iter().filter(|c| wanted(c)).filter_map(|c| c.size);
        sizes.fold(0, |sum, (own, _)| sum.saturating_add(own))
    };
    let volumes = |wanted: &dyn Fn(u64) -> bool| -> u64 {
        usage.volumes.iter().filter(|v| wanted(v.links)).fold(0, |sum, v| sum.saturating_add(v.size))
    };
    let used_images = usage.images.iter().filter(|image| image.containers > 0).count();
    let used_volumes = usage.volumes.iter().filter(|volume| volume.links > 0).count();
    vec![
        line("Images", usage.images.len(), used_images, usage.layers, usage.reclaimable_layers),
        line(
            "Containers",
            containers.len(),
            containers.iter().filter(|c| runs(c)).count(),
            own(&|_| true),
            own(&|c| !runs(c)),
        ),
        line("Local Volumes", usage.volumes.len(), used_volumes, volumes(&|_| true), volumes(&|links| links == 0)),
        line("Build Cache", 0, 0, 0, 0),
    ]
}

fn header(field: &str) -> String {
    match field {
        "TotalCount" => "TOTAL".to_owned(),
        "ID" => "IMAGE ID".to_owned(),
        "CreatedSince" | "RunningFor" => "CREATED".to_owned(),
        "SharedSize" => "SHARED SIZE".to_owned(),
        "UniqueSize" => "UNIQUE SIZE".to_owned(),
        "LocalVolumes" => "LOCAL VOLUMES".to_owned(),
        "ContainerID" => "CONTAINER ID".to_owned(),
        "VolumeName" => "VOLUME NAME".to_owned(),
        other => other.to_uppercase(),
    }
}

fn image_rows(usage: &DiskUsage, now: i64) -> Vec<Value> {
    let rows = usage.images.iter().flat_map(|image| {
        let names: Vec<(String, String)> = match image.references.is_empty() {
            true => vec![("<none>".to_owned(), "<none>".to_owned())],
            false => image.references.iter().map(|r| images::split(images::familiar(r))).collect(),
        };
        names.into_iter().map(move |(repository, tag)| {
            json!({
                "Repository": repository,
                "Tag": tag,
                "ID": image.id.chars().take(12).collect::<String>(),
                "CreatedSince": format!("{} ago", human::duration(now.saturating_sub(image.created))),
                "Size": human::size(image.size),
                "SharedSize": human::size(image.shared),
                "UniqueSize": human::size(image.unique),
                "Containers": image.containers.to_string(),
            })
        })
    });
    rows.collect()
}

fn container_rows(containers: &[ContainerSummary], now: i64) -> Vec<Value> {
    let rows = containers.iter().map(|container| {
        let mut row = ps::row(container, &ps::status(container, now), false, now);
        let volumes = container.mounts.iter().filter(|mount| !mount.starts_with('/')).count();
        if let Some(map) = row.as_object_mut() {
            map.insert("LocalVolumes".to_owned(), json!(volumes.to_string()));
            map.insert("ContainerID".to_owned(), map.get("ID").cloned().unwrap_or_default());
            map.insert("Size".to_owned(), json!(human::size(container.size.map_or(0, |(own, _)| own))));
        }
        row
    });
    rows.collect()
}

fn verbose(
    usage: &DiskUsage,
    containers: &[ContainerSummary],
    format: Option<&Format>,
    now: i64,
) -> Result<String, CliError> {
    let images = image_rows(usage, now);
    let containers = container_rows(containers, now);
    let volumes: Vec<Value> = usage
        .volumes
        .iter()
        .map(|v| json!({ "VolumeName": v.name, "Name": v.name, "Links": v.links.to_string(), "Size": human::size(v.size) }))
        .collect();
    if let Some(format) = format {
        let all = json!({ "Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": [] });
        return format.render(&[all], str::to_owned);
    }
    let table = |columns: &str, rows: &[Value]| Format::parse(&format!("table {columns}"))?.render(rows, header);
    let images = table(
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
        &images,
    )?;
    let containers = table(
        "{{.ContainerID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
        &containers,
    )?;
    let volumes = table("{{.VolumeName}}\t{{.Links}}\t{{.Size}}", &volumes)?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\n\
         Local Volumes space usage:\n\n{volumes}\nBuild cache usage: 0B\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_percents_and_nothing_has_none() {
        let line = |size, free| line("Images", 2, 1, size, free)["Reclaimable"].as_str().unwrap().to_owned();
        assert_eq!(line(3_000_000, 2_000_000), "2MB (66%)");
        assert_eq!(line(0, 0), "0B");
        let text = verbose(&DiskUsage::default(), &[], None, 0).unwrap();
        assert!(text.starts_with("Images space usage:\n\nREPOSITORY   TAG       IMAGE ID   CREATED   SIZE"), "{text}");
    }
}
