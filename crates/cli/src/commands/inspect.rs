//! `bulkhead inspect`.

use clap::Args;
use serde_json::Value;

use super::{Entry, flags_of};
use crate::error::{self, CliError, FAILED};
use crate::line::Flags;
use crate::output::{self, template::Format};
use crate::{flags, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "inspect",
    about: "Show everything about containers, images, volumes and networks, as JSON",
    footer: "Examples:\n  bulkhead inspect web\n  bulkhead inspect -f '{{.State.Status}}' web",
    flags: Flags::Anywhere,
    build: InspectFlags::augment_args,
    run: |matches| execute(&flags_of::<InspectFlags>(matches)?.into_request()?),
};

/// `container inspect`.
pub const CONTAINER: Entry = Entry {
    about: "Show everything about containers, as JSON",
    footer: "Examples:\n  bulkhead container inspect web",
    build: ContainerFlags::augment_args,
    run: |matches| {
        let ContainerFlags { format, size, names } = flags_of(matches)?;
        let request = OneKindFlags { format, names }.into_request(Kind::Container)?;
        execute(&InspectRequest { size, ..request })
    },
    ..ENTRY
};

/// `image inspect`.
pub const IMAGE: Entry = Entry {
    about: "Show everything about images, as JSON",
    footer: "Examples:\n  bulkhead image inspect alpine\n  bulkhead image inspect --remote alpine:3.20",
    build: ImageFlags::augment_args,
    run: |matches| {
        let ImageFlags { format, remote, platform, names } = flags_of(matches)?;
        let remote = match (remote, platform) {
            (true, platform) => Some(platform),
            (false, None) => None,
            (false, Some(_)) => return Err(CliError::usage("--platform goes with --remote")),
        };
        let request = OneKindFlags { format, names }.into_request(Kind::Image)?;
        execute(&InspectRequest { remote, ..request })
    },
    ..CONTAINER
};

#[derive(Debug, Args)]
struct InspectFlags {
    /// "json", or a template like '{{.State.Pid}}' [default: indented JSON]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Look for this only: container, image, volume or network [default: each in turn]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Show the sizes of containers: what they wrote, and that with their image
    #[arg(short, long)]
    size: bool,
    /// Names, references, ids or starts of ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// The flags of `container inspect`.
#[derive(Debug, Args)]
struct ContainerFlags {
    /// "json", or a template like '{{.Id}}' [default: indented JSON]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show sizes: what it wrote, and that with its image
    #[arg(short, long)]
    size: bool,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
}

/// The flags of `image inspect`.
#[derive(Debug, Args)]
struct ImageFlags {
    /// "json", or a template like '{{.Id}}' [default: indented JSON]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Ask the registry, and fetch nothing but the manifest and the configuration
    #[arg(long)]
    remote: bool,
    /// With --remote: the image for this platform, like linux/arm64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Names, references, ids or starts of ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct OneKindFlags {
    /// "json", or a template like '{{.Id}}' [default: indented JSON]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, references, ids or starts of ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl OneKindFlags {
    fn into_request(self, kind: Kind) -> Result<InspectRequest, CliError> {
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        Ok(InspectRequest { names: self.names, kind, format, size: false, remote: None })
    }
}

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Containers first, then images.
    Any,
    /// Containers only.
    Container,
    /// Images only.
    Image,
    /// Volumes only.
    Volume,
    /// Networks only.
    Network,
}

/// What to show.
#[derive(Debug, Clone, PartialEq)]
pub struct InspectRequest {
    /// Names as written.
    pub names: Vec<String>,
    /// What to look for.
    pub kind: Kind,
    /// How to print; `None`: a JSON list.
    pub format: Option<Format>,
    /// Show the sizes of containers.
    pub size: bool,
    /// Ask registries for images, for this platform if one is given.
    pub remote: Option<Option<String>>,
}

impl InspectFlags {
    fn into_request(self) -> Result<InspectRequest, CliError> {
        let kind = flags::optionally_meant("--type", self.kind.as_deref(), |text| match text {
            "container" => Ok(Kind::Container),
            "image" => Ok(Kind::Image),
            "volume" => Ok(Kind::Volume),
            "network" => Ok(Kind::Network),
            _ => Err("container, image, volume or network is needed".into()),
        })?;
        let format = self.format.as_deref().map(Format::parse).transpose()?;
        let kind = kind.unwrap_or(Kind::Any);
        Ok(InspectRequest { names: self.names, kind, format, size: self.size, remote: None })
    }
}

/// Prints what was found, and an error for each name that was not; returns 1 for those.
///
/// # Errors
///
/// A template field that does not exist, and those of standard output.
pub fn execute(request: &InspectRequest) -> Result<u8, CliError> {
    let mut code = 0;
    let mut found = Vec::new();
    for name in &request.names {
        match look(name, request) {
            Ok(value) => found.push(value),
            Err(error) => {
                error::print(&error);
                code = FAILED;
            }
        }
    }
    match &request.format {
        // The list is printed when it is empty too: a program that reads it gets JSON in every case.
        None => {
            let text = serde_json::to_string_pretty(&Value::Array(found))
                .map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))?;
            output::line(&text)?;
        }
        Some(Format::Json) => output::line(&Value::Array(found).to_string())?,
        Some(format) => {
            let text = format.render(&found, str::to_owned)?;
            if !found.is_empty() {
                output::line(text.strip_suffix('\n').unwrap_or(&text))?;
            }
        }
    }
    Ok(code)
}

fn look(name: &str, request: &InspectRequest) -> Result<Value, CliError> {
    let kind = request.kind;
    if let Some(platform) = &request.remote {
        return wire::registry::remote(name, platform.as_deref());
    }
    if matches!(kind, Kind::Any | Kind::Container)
        && let Some(value) = wire::inspect_container(name, request.size)?
    {
        return Ok(value);
    }
    if matches!(kind, Kind::Any | Kind::Image)
        && let Some(value) = wire::inspect_image(name)?
    {
        return Ok(value);
    }
    if matches!(kind, Kind::Any | Kind::Volume)
        && let Some(value) = wire::inspect_volume(name)?
    {
        return Ok(value);
    }
    if matches!(kind, Kind::Any | Kind::Network)
        && let Some(value) = wire::inspect_network(name)?
    {
        return Ok(value);
    }
    Err(CliError::failed(match kind {
        Kind::Any => format!("No such object: {name}"),
        Kind::Container => format!("No such container: {name}"),
        Kind::Image => format!("No such image: {name}"),
        Kind::Volume => format!("get {name}: no such volume"),
        Kind::Network => format!("network {name} not found"),
    }))
}
