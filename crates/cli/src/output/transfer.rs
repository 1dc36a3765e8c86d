//! Layers on their way: a line for each that is redrawn on a terminal, plain lines of what became of them elsewhere.

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use bulkhead_engine::images::registry::Step;

use super::{escape, human};

/// Characters of a bar.
const BAR: usize = 30;
/// Between two lines about the whole, where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Layer {
    name: String,
    total: Option<u64>,
    done: u64,
    became: &'static str,
}

/// Shows the steps of a pull or push.
#[derive(Debug)]
pub struct Transfer {
    quiet: bool,
    to_stderr: bool,
    terminal: bool,
    /// What a layer does while its bytes go over the network.
    verb: &'static str,
    layers: Vec<Layer>,
    /// Lines that stand on the terminal now.
    drawn: usize,
    told: Instant,
}

impl Transfer {
    /// On standard output; nothing but warnings with `quiet`.
    #[must_use]
    pub fn on_stdout(quiet: bool, verb: &'static str) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { quiet, to_stderr: false, terminal, verb, layers: Vec::new(), drawn: 0, told: Instant::now() }
    }

    /// On standard error, of a pull.
    #[must_use]
    pub fn on_stderr(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { to_stderr: true, terminal, ..Self::on_stdout(quiet, "Downloading") }
    }

    /// Takes a step.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Note(text) => {
                self.end();
                super::note(&format!("warning: {text}"));
            }
            _ if self.quiet => {}
            Step::Said(text) => {
                self.end();
                self.write(&format!("{}\n", escape::cell(text)));
            }
            Step::Layers(all) => self.begin(all),
            Step::Moved(index, bytes) => {
                if let Some(layer) = self.layers.get_mut(*index) {
                    (layer.done, layer.became) = (*bytes, self.verb);
                }
            }
            Step::Became(index, text) => self.became(*index, text),
            Step::Tick => self.tick(),
        }
    }

    /// Leaves what stands there as it is.
    pub fn end(&mut self) {
        if self.drawn > 0 {
            self.draw();
        }
        self.layers.clear();
        self.drawn = 0;
    }

    fn begin(&mut self, all: &[(String, Option<u64>)]) {
        self.end();
        let pulls = self.verb == "Downloading";
        let layer = |(name, total): &(String, Option<u64>)| Layer {
            name: name.clone(),
            total: *total,
            done: 0,
            became: match total {
                Some(_) => "Waiting",
                None if pulls => "Already exists",
                None => "Waiting",
            },
        };
        self.layers = all.iter().map(layer).collect();
        if self.terminal {
            self.draw();
        } else if pulls {
            let line = |layer: &Layer| match layer.total {
                Some(_) => format!("{}: Pulling fs layer\n", layer.name),
                None => format!("{}: Already exists\n", layer.name),
            };
            let text: String = self.layers.iter().map(line).collect();
            self.write(&text);
        }
    }

    fn became(&mut self, index: usize, text: &'static str) {
        let Some(layer) = self.layers.get_mut(index) else { return };
        if layer.became == "Already exists" {
            return;
        }
        layer.became = text;
        let line = format!("{}: {text}\n", layer.name);
        if self.terminal {
            self.draw();
        } else {
            self.write(&line);
        }
    }

    fn tick(&mut self) {
        if self.terminal {
            self.draw();
        } else if self.told.elapsed() >= LINE && self.layers.iter().any(|layer| layer.became == self.verb) {
            self.told = Instant::now();
            let done: u64 = self.layers.iter().map(|layer| layer.done).sum();
            let total: u64 = self.layers.iter().filter_map(|layer| layer.total).sum();
            self.write(&format!("{} {} of {}\n", self.verb, human::size(done), human::size(total)));
        }
    }

    fn line(&self, layer: &Layer) -> String {
        let Some(total) = layer.total.filter(|total| *total > 0 && layer.became == self.verb) else {
            return format!("{}: {}", layer.name, layer.became);
        };
        let part = u128::from(layer.done.min(total)) * 30 / u128::from(total);
        let full = usize::try_from(part).unwrap_or(BAR).min(BAR);
        let head = if full < BAR { ">" } else { "" };
        let rest = " ".repeat(BAR - full - head.len());
        let (done, all) = (human::size(layer.done), human::size(total));
        format!("{}: {} [{}{head}{rest}] {done}/{all}", layer.name, layer.became, "=".repeat(full))
    }

    fn draw(&mut self) {
        let (columns, rows) = self.room();
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        // More than fit cannot be redrawn: the first ones are done first, so the last ones are shown.
        let from = self.layers.len().saturating_sub(rows);
        let lines: Vec<String> = self.layers.iter().skip(from).map(|layer| self.line(layer)).collect();
        for line in &lines {
            text.push_str(&format!("\r{}\x1b[K\n", human::ellipsis(line, columns)));
        }
        self.drawn = lines.len();
        self.write(&text);
    }

    fn room(&self) -> (usize, usize) {
        let size = if self.to_stderr {
            rustix::termios::tcgetwinsize(std::io::stderr())
        } else {
            rustix::termios::tcgetwinsize(std::io::stdout())
        };
        let size = size.ok().filter(|size| size.ws_col > 1 && size.ws_row > 2);
        size.map_or((79, 23), |size| (usize::from(size.ws_col) - 1, usize::from(size.ws_row) - 1))
    }

    fn write(&self, text: &str) {
        // Whoever does not listen does not want to know; the result is told apart from this.
        if self.to_stderr {
            drop(std::io::stderr().lock().write_all(text.as_bytes()));
        } else {
            let mut out = std::io::stdout().lock();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bar_while_bytes_go() {
        let mut show = Transfer::on_stdout(false, "Downloading");
        show.terminal = true;
        let layer = |done, became| Layer { name: "abc".into(), total: Some(1000), done, became };
        assert_eq!(show.line(&layer(0, "Waiting")), "abc: Waiting");
        let half = show.line(&layer(500, "Downloading"));
        assert_eq!(half, format!("abc: Downloading [{}>{}] 500B/1kB", "=".repeat(15), " ".repeat(14)));
        let full = show.line(&layer(5000, "Downloading"));
        assert!(full.contains(&format!("[{}]", "=".repeat(30))), "{full}");
        assert_eq!(show.line(&layer(1000, "Pull complete")), "abc: Pull complete");
    }
}
