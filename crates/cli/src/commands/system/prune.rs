//! `container prune`, `image prune` and `system prune`.

use std::io::{BufRead as _, Write as _};

use clap::Args;

use super::super::{Entry, flags_of};
use crate::error::{self, CliError, FAILED};
use crate::flags::{self, Needed, time};
use crate::line::Flags;
use crate::output::{self, human};
use crate::wire::{self, ImageRemoval, PruneFilter, Pruned};

/// `container prune`.
pub const CONTAINER: Entry = Entry {
    name: "prune",
    about: "Remove all containers that do not run",
    footer: "Examples:\n  bulkhead container prune\n  bulkhead container prune -f --filter until=24h",
    flags: Flags::Anywhere,
    build: ContainerFlags::augment_args,
    run: |matches| {
        let words: ContainerFlags = flags_of(matches)?;
        let filter = filter(&words.filter, human::now())?;
        let prune = || wire::prune_containers(&filter);
        go("WARNING! This will remove all stopped containers.\n", words.force, prune)
    },
};

/// `image prune`.
pub const IMAGE: Entry = Entry {
    about: "Remove images that nobody uses",
    footer: "Examples:\n  bulkhead image prune\n  bulkhead image prune -a --filter label!=keep",
    build: ImageFlags::augment_args,
    run: |matches| {
        let words: ImageFlags = flags_of(matches)?;
        let filter = filter(&words.filter, human::now())?;
        let warning = match words.all {
            true => "WARNING! This will remove all images without at least one container associated to them.\n",
            false => "WARNING! This will remove all dangling images.\n",
        };
        go(warning, words.force, || wire::prune_images(words.all, &filter))
    },
    ..CONTAINER
};

/// `system prune`.
pub const SYSTEM: Entry = Entry {
    about: "Remove containers that do not run, and networks and images that nobody uses",
    footer: "Examples:\n  bulkhead system prune\n  bulkhead system prune -a --volumes -f",
    build: SystemFlags::augment_args,
    run: |matches| {
        let words: SystemFlags = flags_of(matches)?;
        let filter = filter(&words.filter, human::now())?;
        if words.volumes && filter.until.is_some() {
            let error = CliError::failed("the \"until\" filter is not supported with --volumes");
            return Err(
                error.with_hint("nobody knows when a volume was last used; run 'bulkhead volume prune' by itself")
            );
        }
        go(&warning(&words), words.force, || everything(&words, &filter))
    },
    ..CONTAINER
};

#[derive(Debug, Args)]
struct ContainerFlags {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, Args)]
struct ImageFlags {
    /// Also images with a reference, when no container was made of them
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

#[derive(Debug, Args)]
struct SystemFlags {
    /// Also images with a reference, when no container was made of them
    #[arg(short, long)]
    all: bool,
    /// Anonymous volumes that no container has, too
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

pub(in crate::commands) fn filter(texts: &[String], now: i64) -> Result<PruneFilter, CliError> {
    let mut filter = PruneFilter::default();
    let pair = |text: &str| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    let mut add = |text: &str| -> Result<(), Needed> {
        let needed = "until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE] is needed";
        let (key, value) = text.split_once('=').ok_or(needed)?;
        match key {
            "until" if filter.until.is_some() => return Err("one until= is enough".into()),
            "until" => filter.until = Some(time::since(value, now)?),
            "label" => filter.labels.push(pair(value)),
            "label!" => filter.without.push(pair(value)),
            _ => return Err(needed.into()),
        }
        Ok(())
    };
    texts.iter().try_for_each(|text| flags::meant("--filter", text, &mut add))?;
    Ok(filter)
}

fn warning(words: &SystemFlags) -> String {
    let mut text =
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
            .to_owned();
    if words.volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(match words.all {
        true => "  - all images without at least one container associated to them\n",
        false => "  - all dangling images\n",
    });
    if !words.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        words.filter.iter().for_each(|filter| text.push_str(&format!("  - {filter}\n")));
    }
    text.push('\n');
    text
}

/// Containers first: they hold networks, volumes and images.
fn everything(words: &SystemFlags, filter: &PruneFilter) -> Result<Pruned, CliError> {
    let mut all = wire::prune_containers(filter)?;
    all.networks = wire::prune_networks(filter)?;
    let mut more = vec![];
    if words.volumes {
        more.push(wire::prune_anonymous_volumes(filter)?);
    }
    more.push(wire::prune_images(words.all, filter)?);
    for one in more {
        all.volumes.extend(one.volumes);
        all.images.extend(one.images);
        all.failed.extend(one.failed);
        all.bytes = all.bytes.saturating_add(one.bytes);
    }
    Ok(all)
}

/// Asks, prunes and says what is gone. Without a yes nothing is.
fn go(warning: &str, force: bool, prune: impl FnOnce() -> Result<Pruned, CliError>) -> Result<u8, CliError> {
    if !force {
        output::raw(warning.as_bytes())?;
        if !confirmed()? {
            output::raw(b"Total reclaimed space: 0B\n")?;
            return Ok(0);
        }
    }
    let pruned = prune()?;
    output::raw(told(&pruned).as_bytes())?;
    for failed in &pruned.failed {
        error::print(&CliError::failed(format!("cannot remove {failed}")));
    }
    Ok(if pruned.failed.is_empty() { 0 } else { FAILED })
}

/// The answer is read from standard input, whatever that is; its end is a no.
pub(in crate::commands) fn confirmed() -> Result<bool, CliError> {
    output::raw(b"Are you sure you want to continue? [y/N] ")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| CliError::failed(format!("cannot read the answer from standard input: {e}")))?;
    std::io::stdout().flush().map_err(|e| output::failed(&e))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Docker's lines.
fn told(pruned: &Pruned) -> String {
    let mut text = String::new();
    let mut list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text.push_str(&format!("Deleted {title}:\n{}\n\n", lines.join("\n")));
        }
    };
    let images: Vec<String> = pruned
        .images
        .iter()
        .map(|one| match one {
            ImageRemoval::Untagged(reference) => format!("untagged: {}", super::super::images::familiar(reference)),
            ImageRemoval::Deleted(id) => format!("deleted: sha256:{id}"),
        })
        .collect();
    list("Containers", &pruned.containers);
    list("Networks", &pruned.networks);
    list("Volumes", &pruned.volumes);
    list("Images", &images);
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(pruned.bytes)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_told_as_docker_does() {
        let pruned = Pruned {
            containers: vec!["ab".to_owned(), "cd".to_owned()],
            images: vec![
                ImageRemoval::Untagged("docker.io/library/web:1".to_owned()),
                ImageRemoval::Deleted("00".to_owned()),
            ],
            bytes: 1500,
            ..Pruned::default()
        };
        let text = "Deleted Containers:\nab\ncd\n\nDeleted Images:\nuntagged: web:1\ndeleted: sha256:00\n\n\
                    Total reclaimed space: 1.5kB\n";
        assert_eq!(told(&pruned), text);
        assert_eq!(told(&Pruned::default()), "Total reclaimed space: 0B\n");
    }

    #[test]
    fn filters_are_read() {
        let read = |texts: &[&str]| filter(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(), 10_000_000_000);
        let made = read(&["until=4s", "label=a", "label=b=c=d", "label!=e"]).unwrap();
        assert_eq!(made.until, Some(6_000_000_000));
        assert_eq!(made.labels, [("a".to_owned(), None), ("b".to_owned(), Some("c=d".to_owned()))]);
        assert_eq!(made.without, [("e".to_owned(), None)]);
        for wrong in [&["x=1"][..], &["until=soon"], &["until=1s", "until=2s"], &["label"]] {
            assert_eq!(read(wrong).unwrap_err().code, 1, "{wrong:?}");
        }
    }
}
