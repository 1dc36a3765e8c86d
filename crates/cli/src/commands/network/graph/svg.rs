//! The graph as a picture: each network a card, each member a column under its name, each flow an arrow in a row of its own
//! between two columns. The host is the first column, the outside the last. Nothing overlaps, however much there is.

use std::fmt::Write as _;

use crate::wire::{Between, Graph, GraphMember, GraphNetwork, Out};

/// Pixels of a column, of a row, of a card's margin.
const COLUMN: usize = 176;
const ROW: usize = 34;
const MARGIN: usize = 24;
/// Pixels of a member's box, and of what is above the first row of a card.
const BOX: (usize, usize) = (156, 52);
const TITLE: usize = 64;
/// Characters of a name that a box has room for, of a line below it, and of a label of an arrow over one column.
const NAME: usize = 18;
const LINE: usize = 22;
const LABEL: usize = 24;

const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;fill:#1f2328}\
.page{fill:#ffffff}.card{fill:#f6f8fa;stroke:#d0d7de}.box{fill:#ffffff;stroke:#0969da;stroke-width:1.5}\
.off{stroke:#8c959f;stroke-dasharray:4 3}.edge{fill:#eaeef2;stroke:#8c959f}.life{stroke:#d0d7de}\
.title{font-size:15px;font-weight:bold}.soft{fill:#59636e;font-size:11px}.arrow{fill:none;stroke-width:1.5}\
.flow{stroke:#0969da;fill:#0969da}.port{stroke:#1a7f37;fill:#1a7f37}.out{stroke:#9a6700;fill:#9a6700}\
.none{stroke:#8c959f;fill:#8c959f}.none.arrow{stroke-dasharray:4 3}text.flow,text.port,text.out,text.none{stroke:none}\
.arrow.flow,.arrow.port,.arrow.out,.arrow.none{fill:none}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.card{fill:#151b23;stroke:#3d444d}\
.box{fill:#0d1117;stroke:#4493f8}.off{stroke:#656c76}.edge{fill:#212830;stroke:#656c76}.life{stroke:#3d444d}\
.soft{fill:#9198a1}.flow{stroke:#4493f8;fill:#4493f8}.port{stroke:#3fb950;fill:#3fb950}.out{stroke:#d29922;fill:#d29922}\
.none{stroke:#656c76;fill:#9198a1}}";

/// Text as it may stand in XML: nothing of it is markup, and what XML cannot hold is a sign for that.
fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            '\'' => all.push_str("&#39;"),
            // Marks that turn the direction of text hide words.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                all.push('\u{fffd}');
            }
            c if c.is_control() => all.push('\u{fffd}'),
            c => all.push(c),
        }
    }
    all
}

/// The text, or its beginning.
fn short(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A row of a card: from which column to which one, and what.
struct Arrow {
    class: &'static str,
    from: usize,
    to: usize,
    label: String,
    both: bool,
}

/// Draws it.
pub(super) fn draw(graph: &Graph) -> String {
    let mut body = String::new();
    let (mut width, mut y) = (6 * COLUMN, MARGIN);
    for network in &graph.networks {
        let (drawn, size) = card(network, y);
        body.push_str(&drawn);
        width = width.max(size.0 + 2 * MARGIN);
        y += size.1 + MARGIN;
    }
    if !graph.apart.is_empty() {
        let all: Vec<String> = graph.apart.iter().map(|(name, instead)| format!("{name} ({instead})")).collect();
        text(&mut body, (MARGIN, y + 12), "soft", "start", &format!("on no network: {}", all.join(", ")), usize::MAX);
        y += MARGIN;
    }
    let height = y.max(2 * MARGIN);
    let names: Vec<&str> = graph.networks.iter().map(|n| n.name.as_str()).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>Networks of containers</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n",
        escaped(&names.join(", "))
    )
}

/// One line of text; the whole of it is in its title when there is no room.
fn text(into: &mut String, (x, y): (usize, usize), class: &str, anchor: &str, words: &str, room: usize) {
    let shown = short(words, room);
    let title = if shown == words { String::new() } else { format!("<title>{}</title>", escaped(words)) };
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    // A string takes what is written to it.
    let _written =
        writeln!(into, "<text x=\"{x}\" y=\"{y}\"{class} text-anchor=\"{anchor}\">{title}{}</text>", escaped(&shown));
}

/// Centre of a column: 0 is the host, then members, then the outside.
fn centre(column: usize) -> usize {
    MARGIN + COLUMN / 2 + column * COLUMN
}

fn card(network: &GraphNetwork, top: usize) -> (String, (usize, usize)) {
    // Who is in a flow and not on the network has a column too.
    let mut columns: Vec<(&str, Option<&GraphMember>)> =
        network.members.iter().map(|m| (m.name.as_str(), Some(m))).collect();
    for flow in &network.flows {
        for end in [flow.from.as_str(), flow.to.as_str()] {
            if !columns.iter().any(|(name, _)| *name == end) {
                columns.push((end, None));
            }
        }
    }
    let arrows = arrows(network, &columns);
    let rows = arrows.len().max(1);
    let width = (columns.len() + 2) * COLUMN;
    let height = TITLE + BOX.1 + 14 + rows * ROW + 10;
    let mut all = String::new();
    let _written = writeln!(
        all,
        "<rect class=\"card\" x=\"{MARGIN}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"10\"/>"
    );
    let says = match network.between {
        Between::Nothing => "members do not reach each other",
        Between::Everything => "members reach each other",
        Between::Stated if network.flows.is_empty() => "nothing passes between members",
        Between::Stated => "members reach each other by the flows below",
    };
    text(&mut all, (MARGIN + 16, top + 26), "title", "start", &network.name, 60);
    let kind = format!("{} · {says}", network.kind);
    text(&mut all, (MARGIN + 16, top + 46), "soft", "start", &kind, columns.len() * LABEL + 2 * LABEL);
    let (boxes, first) = (top + TITLE, top + TITLE + BOX.1 + 14);
    heads(&mut all, &columns, boxes, first + rows * ROW);
    for (row, arrow) in arrows.iter().enumerate() {
        draw_arrow(&mut all, arrow, first + row * ROW + ROW / 2 + 8);
    }
    if arrows.is_empty() {
        text(&mut all, (centre(0) + BOX.0 / 2, first + ROW / 2 + 8), "soft", "start", "nothing flows", LABEL);
    }
    (all, (width, height))
}

/// The boxes on top and the lines below them.
fn heads(all: &mut String, columns: &[(&str, Option<&GraphMember>)], top: usize, bottom: usize) {
    let last = columns.len() + 1;
    for column in 0..=last {
        let (x, y) = (centre(column), top + BOX.1);
        let _written = writeln!(all, "<line class=\"life\" x1=\"{x}\" y1=\"{y}\" x2=\"{x}\" y2=\"{bottom}\"/>");
    }
    for (column, name) in [(0, "host"), (last, "outside")] {
        rect(all, "edge", column, top);
        text(all, (centre(column), top + 31), "", "middle", name, NAME);
    }
    for (at, (name, member)) in columns.iter().enumerate() {
        let runs = member.is_some_and(|m| !m.addresses.is_empty());
        rect(all, if runs { "box" } else { "box off" }, at + 1, top);
        text(all, (centre(at + 1), top + 23), "", "middle", name, NAME);
        let below = match member {
            None => "not there yet".to_owned(),
            Some(m) if m.addresses.is_empty() => "does not run".to_owned(),
            Some(m) if m.aliases.is_empty() => m.addresses.join(" "),
            Some(m) => format!("{} · {}", m.addresses.join(" "), m.aliases.join(" ")),
        };
        text(all, (centre(at + 1), top + 41), "soft", "middle", &below, LINE);
    }
}

fn rect(all: &mut String, class: &str, column: usize, top: usize) {
    let x = centre(column) - BOX.0 / 2;
    let _written = writeln!(
        all,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
        BOX.0, BOX.1
    );
}

/// Ports, then flows, then ways out.
fn arrows(network: &GraphNetwork, columns: &[(&str, Option<&GraphMember>)]) -> Vec<Arrow> {
    let at = |name: &str| columns.iter().position(|(known, _)| *known == name).map_or(0, |index| index + 1);
    let outside = columns.len() + 1;
    let mut all = Vec::new();
    for member in &network.members {
        for (host, inner) in &member.ports {
            let label = format!("{host} → {inner}");
            all.push(Arrow { class: "port", from: 0, to: at(&member.name), label, both: false });
        }
    }
    if network.between == Between::Everything && network.members.len() > 1 {
        let label = "any, each with each".to_owned();
        all.push(Arrow { class: "flow", from: 1, to: network.members.len(), label, both: true });
    }
    for flow in &network.flows {
        let class = if flow.known { "flow" } else { "none" };
        all.push(Arrow { class, from: at(&flow.from), to: at(&flow.to), label: flow.what.clone(), both: false });
    }
    for member in &network.members {
        for (name, other) in member.links.iter().filter(|(_, other)| columns.iter().any(|(known, _)| known == other)) {
            let label = format!("calls it {name}");
            all.push(Arrow { class: "none", from: at(&member.name), to: at(other), label, both: false });
        }
    }
    let mut out = |member: &GraphMember, label: String| {
        all.push(Arrow { class: "out", from: at(&member.name), to: outside, label, both: false });
    };
    for member in &network.members {
        match &member.out {
            Out::Nothing => {}
            Out::Everything => out(member, "any".to_owned()),
            Out::Listed(list) => list.iter().for_each(|to| out(member, to.clone())),
        }
    }
    all
}

fn draw_arrow(all: &mut String, arrow: &Arrow, y: usize) {
    let Arrow { class, from, to, label, both } = arrow;
    let (x1, x2) = (centre(*from), centre(*to));
    let right = x2 >= x1;
    // The line ends where its head begins.
    let (begin, end) = match (right, both) {
        (true, false) => (x1, x2 - 8),
        (true, true) => (x1 + 8, x2 - 8),
        (false, _) => (x1, x2 + 8),
    };
    let _written = writeln!(all, "<path class=\"arrow {class}\" d=\"M{begin} {y}H{end}\"/>");
    let mut head = |tip: usize, right: bool| {
        let back = if right { tip - 9 } else { tip + 9 };
        let _written = writeln!(all, "<path class=\"{class}\" d=\"M{tip} {y}L{back} {}V{}Z\"/>", y - 4, y + 4);
    };
    head(x2, right);
    if *both {
        head(x1, false);
    } else {
        let _written = writeln!(all, "<circle class=\"{class}\" cx=\"{x1}\" cy=\"{y}\" r=\"3.5\"/>");
    }
    let span = from.abs_diff(*to).max(1);
    // Where the arrow begins, so that its owner is seen at once.
    let (x, anchor) = if right { (x1 + 12, "start") } else { (x1 - 12, "end") };
    text(all, (x, y - 6), class, anchor, label, span * LABEL - 2);
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn a_picture_is_whole_and_the_same_each_time() {
        let svg = draw(&example());
        assert_eq!(svg, draw(&example()));
        assert!(
            svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n") && svg.contains("prefers-color-scheme:dark")
        );
        for (element, count) in [("<rect class=\"card\"", 4), ("class=\"box", 8), ("class=\"arrow port\"", 1)] {
            assert_eq!(svg.matches(element).count(), count, "{element}");
        }
        // What nobody is yet is there, and drawn as such.
        assert!(svg.contains(">worker<") && svg.contains("not there yet") && svg.contains("arrow none"));
        assert!(
            svg.contains(">calls it data<") && svg.contains(">5432/tcp<") && svg.contains(">127.0.0.1:8080 → 80/tcp<")
        );
        // Nothing is loaded from elsewhere and nothing runs.
        assert!(!svg.contains("href") && !svg.contains("<script") && !svg.contains("url("));
    }

    #[test]
    fn no_text_is_markup() {
        let svg = draw(&example());
        assert!(svg.contains("one&lt;&amp;&quot;&#39;&gt;") && !svg.contains("one<&"));
        assert_eq!(escaped("a\0b\u{202e}c\u{1b}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        // What has no room is whole in its title.
        let long = "a_name_that_is_much_longer_than_there_is_room_for";
        assert!(svg.contains(&format!("<title>{long}</title>")) && svg.contains("a_name_that_is_mu…"));
    }
}
