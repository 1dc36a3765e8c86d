//! The graph in words, one line for each thing.

use crate::output::escape;
use crate::wire::{Between, Graph, GraphMember, GraphNetwork, Out};

/// Draws it.
pub(super) fn draw(graph: &Graph) -> String {
    let mut all: Vec<String> = graph.networks.iter().map(network).collect();
    if !graph.apart.is_empty() {
        let width = widest(graph.apart.iter().map(|(name, _)| name.as_str()));
        let line = |(name, instead): &(String, String)| format!("  {name:<width$}  --network {instead}\n");
        all.push(format!("on no network\n{}", graph.apart.iter().map(line).collect::<String>()));
    }
    escape::lines(&all.join("\n")).into_owned()
}

fn widest<'a>(all: impl Iterator<Item = &'a str>) -> usize {
    all.map(|text| text.chars().count()).max().unwrap_or(0)
}

fn network(network: &GraphNetwork) -> String {
    let between = match network.between {
        Between::Nothing => "members do not reach each other",
        Between::Everything => "members reach each other",
        Between::Stated if network.flows.is_empty() => "nothing passes between members",
        Between::Stated => "members reach each other by these flows",
    };
    let mut text = format!("{} ({}): {between}\n", network.name, network.kind);
    let width = widest(network.members.iter().map(|m| m.name.as_str()));
    for member in &network.members {
        text.push_str(&described(member, width));
    }
    if network.members.is_empty() {
        text.push_str("  nobody is on it\n");
    }
    for flow in &network.flows {
        let missing = if flow.known { "" } else { "  (not there yet)" };
        text.push_str(&format!("  {} -> {}  {}{missing}\n", flow.from, flow.to, flow.what));
    }
    for member in &network.members {
        for (name, other) in &member.links {
            text.push_str(&format!("  {} calls {other}  {name}\n", member.name));
        }
    }
    for member in &network.members {
        for (at, inner) in &member.ports {
            text.push_str(&format!("  {at} -> {}  {inner}\n", member.name));
        }
    }
    for member in &network.members {
        match &member.out {
            Out::Nothing => {}
            Out::Everything => text.push_str(&format!("  {} -> outside  any\n", member.name)),
            Out::Listed(list) => {
                list.iter().for_each(|to| text.push_str(&format!("  {} -> outside  {to}\n", member.name)));
            }
        }
    }
    text
}

fn described(member: &GraphMember, width: usize) -> String {
    let at = if member.addresses.is_empty() { "does not run".to_owned() } else { member.addresses.join(" ") };
    let names = if member.aliases.is_empty() { String::new() } else { format!("  also {}", member.aliases.join(", ")) };
    format!("  {:<width$}  {at}{names}\n", member.name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn everything_has_its_line() {
        let text = draw(&example());
        let shop = text.split("shop (").nth(1).unwrap();
        assert_eq!(
            shop,
            "bridge 10.88.1.0/24): members reach each other by these flows\n\
             \x20 cache  does not run\n\
             \x20 db     10.88.1.2  also store\n\
             \x20 web    10.88.1.3\n\
             \x20 web -> cache  6379/tcp\n\
             \x20 web -> db  5432/tcp\n\
             \x20 worker -> db  5432/tcp  (not there yet)\n\
             \x20 web calls db  data\n\
             \x20 127.0.0.1:8080 -> web  80/tcp\n\
             \x20 cache -> outside  any\n\
             \x20 web -> outside  203.0.113.7:443/tcp\n\
             \x20 web -> outside  [2001:db8::]/32\n\
             \non no network\n  alone  --network none\n"
        );
        assert!(text.contains("empty (bridge 10.88.0.0/24): members reach each other\n  nobody is on it\n"));
    }

    #[test]
    fn no_name_drives_the_terminal() {
        let mut graph = example();
        graph.networks[0].members[0].name = "a\x1b[31mb".to_owned();
        assert!(!draw(&graph).contains('\x1b'));
    }
}
