//! `bulkhead network graph`.

mod svg;
mod text;

use std::path::PathBuf;

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;
use crate::wire;

/// The command.
pub const ENTRY_GRAPH: Entry = Entry {
    name: "graph",
    about: "Show networks, their containers, what may flow between them, ports and ways out",
    footer: "The picture stands alone, and follows the reader's choice of light or dark.\n\n\
             Examples:\n  bulkhead network graph\n  bulkhead network graph shop\n  bulkhead network graph -o networks.svg",
    flags: Flags::Anywhere,
    build: GraphFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct GraphFlags {
    /// text or svg [default: svg for a file that ends in .svg, else text]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Write to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only these networks, by name [default: all]
    #[arg(value_name = "NETWORK")]
    networks: Vec<String>,
}

impl GraphFlags {
    /// Whether a picture is wanted.
    fn picture(&self) -> Result<bool, CliError> {
        match self.format.as_deref() {
            Some("text") => Ok(false),
            Some("svg") => Ok(true),
            Some(other) => Err(CliError::invalid("--format", other, "text or svg is needed")),
            None => Ok(self.output.as_ref().is_some_and(|file| file.extension().is_some_and(|end| end == "svg"))),
        }
    }
}

fn execute(words: &GraphFlags) -> Result<u8, CliError> {
    let picture = words.picture()?;
    let mut graph = wire::graph()?;
    if let Some(unknown) = words.networks.iter().find(|name| !graph.networks.iter().any(|n| n.name == **name)) {
        let known: Vec<&str> = graph.networks.iter().map(|n| n.name.as_str()).collect();
        return Err(CliError::failed(format!("network {unknown} not found"))
            .with_hint(format!("known are: {}", known.join(", "))));
    }
    if !words.networks.is_empty() {
        graph.networks.retain(|network| words.networks.contains(&network.name));
        graph.apart.clear();
    }
    let drawn = if picture { svg::draw(&graph) } else { text::draw(&graph) };
    match &words.output {
        None => output::text(&drawn)?,
        Some(file) => std::fs::write(file, drawn)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", file.display())))?,
    }
    Ok(0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::{Between, Graph, GraphFlow, GraphMember, GraphNetwork, Out};

    /// A shop, a default network and one that nobody is on.
    pub(super) fn example() -> Graph {
        let text = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let member = |name: &str, address: &str, out: Out| GraphMember {
            name: name.to_owned(),
            addresses: if address.is_empty() { Vec::new() } else { text(&[address]) },
            aliases: Vec::new(),
            links: Vec::new(),
            ports: Vec::new(),
            out,
        };
        let flow = |from: &str, to: &str, what: &str, known| GraphFlow {
            from: from.to_owned(),
            to: to.to_owned(),
            what: what.to_owned(),
            known,
        };
        let mut web = member("web", "10.88.1.3", Out::Listed(text(&["203.0.113.7:443/tcp", "[2001:db8::]/32"])));
        web.ports = vec![("127.0.0.1:8080".to_owned(), "80/tcp".to_owned())];
        web.links = vec![("data".to_owned(), "db".to_owned())];
        let mut db = member("db", "10.88.1.2", Out::Nothing);
        db.aliases = text(&["store"]);
        let shop = GraphNetwork {
            name: "shop".to_owned(),
            kind: "bridge 10.88.1.0/24".to_owned(),
            between: Between::Stated,
            members: vec![member("cache", "", Out::Everything), db, web],
            flows: vec![
                flow("web", "cache", "6379/tcp", true),
                flow("web", "db", "5432/tcp", true),
                flow("worker", "db", "5432/tcp", false),
            ],
        };
        let net = |name: &str, between, members| GraphNetwork {
            name: name.to_owned(),
            kind: "bridge 10.88.0.0/24".to_owned(),
            between,
            members,
            flows: Vec::new(),
        };
        let one = member("one<&\"'>", "10.88.0.2", Out::Everything);
        let two = member("a_name_that_is_much_longer_than_there_is_room_for", "10.88.0.3", Out::Everything);
        Graph {
            networks: vec![
                net("bridge", Between::Nothing, vec![one.clone(), two.clone()]),
                net("empty", Between::Everything, Vec::new()),
                net("open", Between::Everything, vec![one, two]),
                shop,
            ],
            apart: vec![("alone".to_owned(), "none".to_owned())],
        }
    }

    fn picture(words: &[&str]) -> Result<bool, String> {
        let matches = crate::commands::parsed(&ENTRY_GRAPH, words).unwrap();
        flags_of::<GraphFlags>(&matches).unwrap().picture().map_err(|e| e.message)
    }

    #[test]
    fn a_file_says_what_it_is_by_its_end() {
        assert_eq!(
            (picture(&[]), picture(&["-o", "a.svg"]), picture(&["-o", "a.txt"])),
            (Ok(false), Ok(true), Ok(false))
        );
        assert_eq!((picture(&["--format", "svg"]), picture(&["--format=text", "-o", "a.svg"])), (Ok(true), Ok(false)));
        assert!(picture(&["--format", "png"]).unwrap_err().contains("\"png\" for --format"));
    }
}
