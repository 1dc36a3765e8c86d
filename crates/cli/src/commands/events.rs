//! `bulkhead events`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of, images};
use crate::error::CliError;
use crate::flags::{self, Needed, time};
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, Event, EventKind};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "events",
    about: "Show what happens to containers, images and volumes",
    footer: "Examples:\n  bulkhead events -f container=web\n  bulkhead events --since 10m --until 0s --format json",
    flags: Flags::Anywhere,
    build: EventsFlags::augment_args,
    run: |matches| execute(&flags_of::<EventsFlags>(matches)?.into_request(human::now())?),
};

#[derive(Debug, Args)]
struct EventsFlags {
    /// Begin with what happened since a time (2026-01-02T15:04:05Z) or a duration ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show only what fits: container=, image=, volume=, network=, daemon=, event=, type=, label= or scope=; may be
    /// repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template like '{{.Action}}' [default: text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// One condition. Those of one key are alternatives but for labels; different keys must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    key: Key,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// An object of this kind, by id, name, or the start of one.
    Object(EventKind),
    Image,
    Event,
    Type,
    Label,
    Scope,
}

/// What to show, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct EventsRequest {
    /// Nanoseconds since 1970; `None`: what comes only.
    since: Option<i64>,
    /// Nanoseconds since 1970; `None`: without end.
    until: Option<i64>,
    filters: Vec<Filter>,
    /// `None`: Docker's text.
    format: Option<Format>,
}

impl EventsFlags {
    fn into_request(self, now: i64) -> Result<EventsRequest, CliError> {
        let at = |flag: &str, text: Option<&str>| flags::optionally_meant(flag, text, |text| time::since(text, now));
        // The whole event has the names that programs know, its fields those of the template.
        let whole = |text: &str| text.replace(' ', "") == "{{json.}}";
        let format = self.format.as_deref().map(|text| if whole(text) { "json" } else { text });
        Ok(EventsRequest {
            since: at("--since", self.since.as_deref())?,
            until: at("--until", self.until.as_deref())?,
            filters: self.filter.iter().map(|text| flags::meant("--filter", text, filter)).collect::<Result<_, _>>()?,
            format: format.filter(|text| !text.is_empty()).map(Format::parse).transpose()?,
        })
    }
}

fn filter(text: &str) -> Result<Filter, Needed> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is needed, like event=die")?;
    let key = match key {
        "container" => Key::Object(EventKind::Container),
        "volume" => Key::Object(EventKind::Volume),
        "network" => Key::Object(EventKind::Network),
        "daemon" => Key::Object(EventKind::Daemon),
        "image" => Key::Image,
        "event" => Key::Event,
        "type" if ["container", "image", "volume", "network", "daemon"].contains(&value) => Key::Type,
        "type" => return Err("the type must be container, image, volume, network or daemon".into()),
        "label" => Key::Label,
        "scope" if ["local", "swarm"].contains(&value) => Key::Scope,
        "scope" => return Err("the scope must be local".into()),
        _ => {
            return Err("the key must be container, image, volume, network, daemon, event, type, label or scope".into());
        }
    };
    Ok(Filter { key, value: value.to_owned() })
}

/// The word that a kind of object has in events.
fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Container => "container",
        EventKind::Image => "image",
        EventKind::Volume => "volume",
        EventKind::Network => "network",
        EventKind::Daemon => "daemon",
    }
}

impl Filter {
    fn fits(&self, event: &Event) -> bool {
        let value = self.value.as_str();
        let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
        match self.key {
            Key::Object(kind) => {
                let starts = |text: &str| text.starts_with(value);
                event.kind == kind && (starts(&event.actor.id) || attribute("name").is_some_and(starts))
            }
            Key::Image => {
                let name = if event.kind == EventKind::Image { "name" } else { "image" };
                let same = |text: &str| {
                    let (text, value) = (images::familiar(text), images::familiar(value));
                    let bare = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map(|(bare, _)| bare);
                    text == value || bare == Some(value)
                };
                (event.kind == EventKind::Image && same(&event.actor.id)) || attribute(name).is_some_and(same)
            }
            Key::Event => {
                // What is done by these is a part of their name.
                let open = ["health_status", "exec_create", "exec_start"].contains(&value);
                event.action == value || (open && event.action.starts_with(value))
            }
            Key::Type => kind(event.kind) == value,
            Key::Label => match value.split_once('=') {
                Some((key, value)) => attribute(key) == Some(value),
                None => attribute(value).is_some(),
            },
            Key::Scope => event.scope == value,
        }
    }
}

/// Whether an event is to be shown.
fn fits(filters: &[Filter], event: &Event) -> bool {
    filters.iter().all(|one| match one.key {
        Key::Label => one.fits(event),
        key => filters.iter().filter(|other| other.key == key).any(|other| other.fits(event)),
    })
}

/// Prints events until the time that was given, or until it is interrupted.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &EventsRequest) -> Result<u8, CliError> {
    // As Docker: what was is shown when a time was given.
    let past = request.since.is_some() || request.until.is_some();
    // What is written in the last moment has a time before its end.
    let late = i64::try_from(Duration::from_millis(20).as_nanos()).unwrap_or(0);
    let more = || request.until.is_none_or(|until| human::now() < until.saturating_add(late));
    wire::events(past, more, |event| {
        let inside =
            request.since.is_none_or(|s| event.time_nano >= s) && request.until.is_none_or(|u| event.time_nano <= u);
        if inside && fits(&request.filters, &event) { print(&event, request.format.as_ref()) } else { Ok(()) }
    })?;
    Ok(0)
}

fn print(event: &Event, format: Option<&Format>) -> Result<(), CliError> {
    match format {
        None => output::line(&text(event)),
        Some(Format::Json) => output::line(&whole(event).to_string()),
        Some(format) => {
            let text = format.render(&[fields(event)], str::to_owned)?;
            output::line(text.strip_suffix('\n').unwrap_or(&text))
        }
    }
}

/// `2026-… container start ID (image=…, name=…)`; a line end in an attribute would make two events of one.
fn text(event: &Event) -> String {
    let time = human::rfc3339(event.time_nano);
    let mut line = format!("{time} {} {} {}", kind(event.kind), event.action, event.actor.id);
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !attributes.is_empty() {
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    output::escape::cell(&line).into_owned()
}

/// The image of a container's event, where old clients look for it.
fn from(event: &Event) -> String {
    let name = if event.kind == EventKind::Image { "name" } else { "image" };
    event.actor.attributes.get(name).cloned().unwrap_or_default()
}

/// An event as Docker's API writes it.
fn whole(event: &Event) -> Value {
    let mut value = json!({
        "Type": kind(event.kind),
        "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
        "scope": event.scope,
        "time": event.time,
        "timeNano": event.time_nano,
    });
    if let (EventKind::Container | EventKind::Image, Some(map)) = (event.kind, value.as_object_mut()) {
        map.insert("status".to_owned(), json!(event.action));
        map.insert("id".to_owned(), json!(event.actor.id));
        map.insert("from".to_owned(), json!(from(event)));
    }
    value
}

/// The fields of a template.
fn fields(event: &Event) -> Value {
    json!({
        "Type": kind(event.kind),
        "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
        "Status": event.action,
        "ID": event.actor.id,
        "From": from(event),
        "Scope": event.scope,
        "Time": event.time,
        "TimeNano": event.time_nano,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let mut event = Event::new(EventKind::Container, "health_status: healthy", "abc123")
            .with("image", "docker.io/library/web:1")
            .with("name", "front")
            .with("tier", "a");
        event.time_nano = 1_700_000_000 * human::SECOND + 5;
        event.time = 1_700_000_000;
        event
    }

    fn shown(words: &[&str]) -> bool {
        let flags = flags_of::<EventsFlags>(&crate::commands::parsed(&ENTRY, words).unwrap()).unwrap();
        fits(&flags.into_request(0).unwrap().filters, &event())
    }

    #[test]
    fn the_line_is_dockers() {
        assert_eq!(
            text(&event()),
            "2023-11-14T22:13:20.000000005Z container health_status: healthy abc123 \
             (image=docker.io/library/web:1, name=front, tier=a)"
        );
        assert!(text(&event().with("x", "a\nb")).contains("x=a\\nb"));
        assert_eq!(whole(&event())["from"], "docker.io/library/web:1");
        assert_eq!(whole(&event())["timeNano"], 1_700_000_000_000_000_005_i64);
    }

    #[test]
    fn one_of_a_key_and_all_keys_must_fit() {
        for words in [
            &["-f", "container=front"][..],
            &["-f", "container=abc"],
            &["-f", "container=x", "-f", "container=fro"],
            &["-f", "image=web"],
            &["-f", "image=web:1"],
            &["-f", "event=health_status"],
            &["-f", "type=container", "-f", "scope=local", "-f", "label=tier=a", "-f", "label=name"],
            &[],
        ] {
            assert!(shown(words), "{words:?}");
        }
        for words in [
            &["-f", "container=back"][..],
            &["-f", "volume=front"],
            &["-f", "image=we"],
            &["-f", "event=die"],
            &["-f", "label=tier=b"],
            &["-f", "label=tier=a", "-f", "label=none"],
            &["-f", "type=image"],
            &["-f", "container=front", "-f", "event=start"],
        ] {
            assert!(!shown(words), "{words:?}");
        }
        assert!(filter("colour=red").is_err() && filter("type=x").is_err() && filter("event").is_err());
    }
}
