//! What a container must be to be shown: every filter of Docker's `ps`.

use crate::commands::images;
use crate::error::{CliError, FAILED};
use crate::flags::filter::{self, Label, Pattern, pair, unknown_key, wrong};
use crate::wire::{ContainerSummary, State};

const KEYS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume",
];
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// One filter. Filters of one kind are alternatives, but for labels; different kinds must all fit.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// A regular expression that the name fits, with or without a slash before it.
    Name(Pattern),
    /// A regular expression that the id fits.
    Id(Pattern),
    /// State in a word.
    Status(String),
    /// Exit code of a container that has ended.
    Exited(i64),
    /// Health in a word.
    Health(String),
    /// A label.
    Label(Label),
    /// An image by reference or start of its id.
    Ancestor(String),
    /// Made before this container.
    Before(String),
    /// Made after this container.
    Since(String),
    /// A volume's name, a bind's source, or where one of them is mounted.
    Volume(String),
    /// A network.
    Network(String),
    /// Ports of the host, as first, last and protocol.
    Publish(Ports),
    /// Ports of the container.
    Expose(Ports),
    /// Part of a swarm's task, which no container here is.
    IsTask(bool),
}

/// A range of ports and its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Ports {
    /// `80`, `80/udp`, `8000-8010/tcp`.
    fn parse(text: &str) -> Option<Ports> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        let known = ["tcp", "udp", "sctp"].contains(&protocol);
        (known && first <= last).then(|| Ports { first, last, protocol: protocol.to_owned() })
    }

    fn meets(&self, other: &Ports) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }
}

/// Ports of the host and of the container in `127.0.0.1:8080->80/tcp` or `80/tcp`.
fn ports_of(shown: &str) -> (Option<Ports>, Option<Ports>) {
    match shown.split_once("->") {
        None => (None, Ports::parse(shown)),
        Some((host, container)) => {
            let protocol = container.split_once('/').map_or("tcp", |(_, protocol)| protocol);
            let port = host.rsplit_once(':').map_or(host, |(_, port)| port);
            (Ports::parse(&format!("{port}/{protocol}")), Ports::parse(container))
        }
    }
}

impl Filter {
    /// Understands `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// Another form (125), a key or a value that there is not (1).
    pub fn parse(text: &str) -> Result<Filter, CliError> {
        let (key, value) = pair(text)?;
        let owned = || value.to_owned();
        let ports =
            || Ports::parse(value).ok_or_else(|| wrong(text, "a port like 80, 80/udp or 8000-8010/tcp is needed"));
        Ok(match key {
            "name" => Filter::Name(Pattern::parse(text, value)?),
            "id" => Filter::Id(Pattern::parse(text, value)?),
            "status" if STATES.contains(&value) => Filter::Status(owned()),
            "status" => return Err(wrong(text, format!("the state must be one of {}", STATES.join(", ")))),
            "health" if HEALTHS.contains(&value) => Filter::Health(owned()),
            "health" => return Err(wrong(text, format!("the health must be one of {}", HEALTHS.join(", ")))),
            "exited" => {
                let code = value.parse().map_err(|_| wrong(text, "an exit code is needed"))?;
                Filter::Exited(code)
            }
            "label" => Filter::Label(Label::parse(value)),
            "ancestor" => Filter::Ancestor(owned()),
            "before" => Filter::Before(owned()),
            "since" => Filter::Since(owned()),
            "volume" => Filter::Volume(owned()),
            "network" => Filter::Network(owned()),
            "publish" => Filter::Publish(ports()?),
            "expose" => Filter::Expose(ports()?),
            "is-task" => match crate::flags::boolean(value) {
                Some(task) => Filter::IsTask(task),
                None => return Err(wrong(text, "true or false is needed")),
            },
            _ => return Err(unknown_key(text, &KEYS)),
        })
    }

    fn fits(&self, container: &ContainerSummary, all: &[ContainerSummary]) -> Result<bool, CliError> {
        Ok(match self {
            Filter::Name(pattern) => pattern.fits(&container.name) || pattern.fits(&format!("/{}", container.name)),
            Filter::Id(pattern) => pattern.fits(&container.id),
            Filter::Status(state) => super::state_word(container.state) == state,
            Filter::Exited(wanted) => {
                matches!(container.state, State::Exited { code, .. } if i64::from(code) == *wanted)
            }
            Filter::Health(health) => container.health.as_deref().unwrap_or("none") == health,
            Filter::Label(label) => label.fits(&container.labels),
            Filter::Ancestor(image) => descends(container, image),
            Filter::Before(name) => container.created < find(all, name)?.created,
            Filter::Since(name) => container.created > find(all, name)?.created,
            Filter::Volume(name) => container.mounts.contains(name) || container.targets.contains(name),
            Filter::Network(name) => container.networks.contains(name),
            Filter::Publish(ports) => container.ports.iter().any(|p| ports_of(p).0.is_some_and(|p| p.meets(ports))),
            Filter::Expose(ports) => container.ports.iter().any(|p| ports_of(p).1.is_some_and(|p| p.meets(ports))),
            Filter::IsTask(task) => !task,
        })
    }
}

/// Whether a container is to be shown.
///
/// # Errors
///
/// A filter names a container that there is not.
pub(super) fn all_fit(
    filters: &[Filter],
    container: &ContainerSummary,
    all: &[ContainerSummary],
) -> Result<bool, CliError> {
    let is_label = |filter: &Filter| matches!(filter, Filter::Label(_));
    filter::all_fit(filters, is_label, |filter| filter.fits(container, all))
}

/// Makes sure that the containers exist that `before` and `since` name, even when nothing is listed.
///
/// # Errors
///
/// One does not.
pub(super) fn check(filters: &[Filter], all: &[ContainerSummary]) -> Result<(), CliError> {
    for filter in filters {
        if let Filter::Before(name) | Filter::Since(name) = filter {
            find(all, name)?;
        }
    }
    Ok(())
}

fn find<'a>(all: &'a [ContainerSummary], name: &str) -> Result<&'a ContainerSummary, CliError> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    if let Some(found) = all.iter().find(|container| container.name == plain || container.id == plain) {
        return Ok(found);
    }
    let mut starts = all.iter().filter(|container| !plain.is_empty() && container.id.starts_with(plain));
    match (starts.next(), starts.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => {
            Err(CliError::failed(format!("several containers have an id that starts with {plain:?}")))
        }
        (None, _) => Err(CliError::usage(format!("No such container: {name}")).with_code(FAILED)),
    }
}

fn descends(container: &ContainerSummary, image: &str) -> bool {
    let id = image.strip_prefix("sha256:").unwrap_or(image);
    let by_id = !id.is_empty() && container.image_id.as_ref().is_some_and(|known| known.starts_with(id));
    let bare = |text: &str| {
        let text = images::familiar(text);
        text.strip_suffix(":latest").unwrap_or(text).to_owned()
    };
    by_id || bare(&container.image) == bare(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_they_are_shown() {
        let ports = |text: &str| Ports::parse(text);
        assert_eq!(ports_of("127.0.0.1:8080->80/udp"), (ports("8080/udp"), ports("80/udp")));
        assert_eq!(ports_of("[::]:8000-8002->90-92/tcp"), (ports("8000-8002"), ports("90-92")));
        assert_eq!(ports_of("443/tcp"), (None, ports("443")));
        for wrong in ["", "x", "90-80", "70000", "80/icmp"] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
        assert!(ports("8000-8010").unwrap().meets(&ports("8010-9000").unwrap()));
        assert!(!ports("80/udp").unwrap().meets(&ports("80").unwrap()));
    }
}
