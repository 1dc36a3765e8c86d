//! From words to a tree. Names of functions and variables are known when this is done.

use super::ast::{Choice, Command, Node, Operand, Pipeline, Range};
use super::funcs::{self, Func};
use super::lex::{self, Kind, Token};
use serde_json::Value;

/// How deep blocks and parentheses may stand in each other.
pub(super) const DEEPEST: usize = 64;
/// The longest template, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    loops: usize,
    variables: Vec<String>,
}

/// What ended a list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    End,
    Else,
    Over,
}

/// Understands a template; the error says what is wrong with it.
pub(super) fn parse(source: &str, escapes: bool) -> Result<Vec<Node>, String> {
    if source.len() > LONGEST {
        return Err(format!("a template has {LONGEST} bytes at most"));
    }
    let tokens = lex::lex(source, escapes)?;
    let mut parser = Parser { source, tokens, next: 0, depth: 0, loops: 0, variables: vec![String::new()] };
    match parser.nodes()? {
        (nodes, Stop::Over) => Ok(nodes),
        (_, Stop::End) => Err("{{end}} has no block to end".to_owned()),
        (_, Stop::Else) => Err("{{else}} stands outside of a block".to_owned()),
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn spaced(&self) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.spaced)
    }

    fn take(&mut self) -> Option<Kind> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token.kind.clone())
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Kind::Word(found)) if found == word);
        self.next += usize::from(found);
        found
    }

    fn close(&mut self, what: &str) -> Result<(), String> {
        match self.take() {
            Some(Kind::Close) => Ok(()),
            _ => Err(format!("{what} takes nothing more")),
        }
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("blocks and parentheses may be {DEEPEST} deep"));
        }
        let found = inside(self);
        self.depth -= 1;
        found
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), String> {
        let mut nodes = Vec::new();
        while let Some(kind) = self.take() {
            if let Kind::Text(text) = kind {
                nodes.push(Node::Text(text));
                continue;
            }
            // Anything else begins with `{{`.
            let Some(Kind::Word(word)) = self.peek().cloned() else {
                nodes.push(Node::Action(self.whole_pipeline(1)?));
                continue;
            };
            self.next += 1;
            match word.as_str() {
                "end" => {
                    self.close("{{end}}")?;
                    return Ok((nodes, Stop::End));
                }
                // What follows `else` is for the block to read.
                "else" => return Ok((nodes, Stop::Else)),
                "if" | "with" => {
                    let choice = self.deeper(|parser| parser.choice(&word))?;
                    nodes.push(Node::Choice(choice));
                }
                "range" => {
                    let range = self.deeper(Self::range)?;
                    nodes.push(Node::Range(range));
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(format!("{{{{{word}}}}} stands outside of {{{{range}}}}"));
                    }
                    self.close(&format!("{{{{{word}}}}}"))?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => {
                    return Err(format!("{{{{{word}}}}} is not supported: a format is one template"));
                }
                _ => {
                    self.next -= 1;
                    nodes.push(Node::Action(self.whole_pipeline(1)?));
                }
            }
        }
        Ok((nodes, Stop::Over))
    }

    fn choice(&mut self, word: &str) -> Result<Choice, String> {
        let outer = self.variables.len();
        let mut choice = Choice { with: word == "with", arms: Vec::new(), otherwise: Vec::new() };
        let open = || format!("{{{{{word}}}}} has no {{{{end}}}}");
        loop {
            let pipeline = self.whole_pipeline(1)?;
            let before = self.variables.len();
            let (body, stop) = self.nodes()?;
            self.variables.truncate(before);
            choice.arms.push((pipeline, body));
            match stop {
                Stop::Over => return Err(open()),
                Stop::End => break,
                Stop::Else if self.take_word(word) => {}
                Stop::Else => {
                    choice.otherwise = self.rest_after_else(&open())?;
                    break;
                }
            }
        }
        self.variables.truncate(outer);
        Ok(choice)
    }

    fn rest_after_else(&mut self, open: &str) -> Result<Vec<Node>, String> {
        self.close("{{else}}")?;
        let before = self.variables.len();
        let (nodes, stop) = self.nodes()?;
        self.variables.truncate(before);
        match stop {
            Stop::End => Ok(nodes),
            Stop::Else => Err("{{else}} stands behind {{else}}".to_owned()),
            Stop::Over => Err(open.to_owned()),
        }
    }

    fn range(&mut self) -> Result<Range, String> {
        let outer = self.variables.len();
        let over = self.whole_pipeline(2)?;
        self.loops += 1;
        let (body, stop) = self.nodes()?;
        self.loops -= 1;
        self.variables.truncate(outer);
        let open = "{{range}} has no {{end}}";
        let otherwise = match stop {
            Stop::End => Vec::new(),
            Stop::Else => self.rest_after_else(open)?,
            Stop::Over => return Err(open.to_owned()),
        };
        Ok(Range { over, body, otherwise })
    }

    /// A pipeline up to `}}`, with at most `most` variables; two of them are for `range`.
    fn whole_pipeline(&mut self, most: usize) -> Result<Pipeline, String> {
        let pipeline = self.pipeline(most)?;
        match self.take() {
            Some(Kind::Close) => Ok(pipeline),
            Some(Kind::Right) => Err("a \")\" has no \"(\"".to_owned()),
            Some(kind) => Err(format!("{} is not expected", describe(&kind))),
            None => Err("an action is not closed".to_owned()),
        }
    }

    fn pipeline(&mut self, most: usize) -> Result<Pipeline, String> {
        let (names, declares) = self.variables(most)?;
        let mut commands = Vec::new();
        loop {
            let command = self.command(!commands.is_empty())?;
            // A value cannot take what the pipe hands on.
            let takes = matches!(command.head, Operand::Function(_) | Operand::Field(_) | Operand::Variable(..));
            if !commands.is_empty() && !takes {
                return Err(format!("{:?} cannot stand behind a \"|\"", command.source));
            }
            commands.push(command);
            if !matches!(self.peek(), Some(Kind::Pipe)) {
                break;
            }
            self.next += 1;
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        }
        Ok(Pipeline { names, declares, commands })
    }

    /// `$a, $b :=` and the like, if it stands here.
    fn variables(&mut self, most: usize) -> Result<(Vec<String>, bool), String> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Kind::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            names.push(name);
            match self.peek() {
                Some(Kind::Comma) => self.next += 1,
                Some(kind @ (Kind::Declare | Kind::Assign)) => {
                    let declares = *kind == Kind::Declare;
                    self.next += 1;
                    if names.len() > most {
                        return Err(format!("{} variables are too many here", names.len()));
                    }
                    if let Some(name) = names.iter().find(|name| name.is_empty() || !declares && !self.knows(name)) {
                        return Err(format!("the variable ${name} cannot be set"));
                    }
                    return Ok((names, declares));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn knows(&self, name: &str) -> bool {
        self.variables.iter().any(|known| known == name)
    }

    /// An operand or a call; `piped`: it gets one argument more.
    fn command(&mut self, piped: bool) -> Result<Command, String> {
        let from = self.tokens.get(self.next).map_or(self.source.len(), |token| token.at);
        let head = self.operand()?;
        let mut args = Vec::new();
        while !matches!(self.peek(), None | Some(Kind::Close | Kind::Pipe | Kind::Right)) {
            if !self.spaced() {
                let what = self.peek().map(describe).unwrap_or_default();
                return Err(format!("{what} needs a space before it"));
            }
            let arg = self.operand()?;
            if let Operand::Function(func) = &arg {
                func.check(0)?;
            }
            args.push(arg);
        }
        let to = self.tokens.get(self.next).map_or(self.source.len(), |token| token.at);
        let source = self.source.get(from..to).unwrap_or_default().trim().to_owned();
        match &head {
            Operand::Function(_) | Operand::Field(_) | Operand::Variable(..) => {}
            _ if args.is_empty() => {}
            _ => return Err(format!("{source:?} begins with a value, and a value takes no arguments")),
        }
        if let Operand::Function(func) = &head {
            func.check(args.len() + usize::from(piped))?;
        }
        Ok(Command { source, head, args })
    }

    /// `.A.B` behind something.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while let Some(Kind::Field(name)) = self.peek().cloned() {
            if self.spaced() {
                break;
            }
            self.next += 1;
            fields.push(name);
        }
        fields
    }

    fn operand(&mut self) -> Result<Operand, String> {
        Ok(match self.take() {
            Some(Kind::Dot) => Operand::Dot,
            Some(Kind::Field(first)) => {
                let mut path = vec![first];
                path.extend(self.fields());
                Operand::Field(path)
            }
            Some(Kind::Variable(name)) => {
                if !self.knows(&name) {
                    return Err(format!("the variable ${name} is not set"));
                }
                Operand::Variable(name, self.fields())
            }
            Some(Kind::Literal(value)) => Operand::Literal(value),
            Some(Kind::Word(word)) => match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Nil,
                name => Operand::Function(Func::find(name).ok_or_else(|| funcs::unknown(name))?),
            },
            Some(Kind::Left) => {
                let inside = self.deeper(|parser| {
                    let pipeline = parser.pipeline(0)?;
                    match parser.take() {
                        Some(Kind::Right) => Ok(pipeline),
                        _ => Err("a \"(\" is not closed".to_owned()),
                    }
                })?;
                Operand::Group(Box::new(inside), self.fields())
            }
            Some(Kind::Close) => return Err("a value is missing before \"}}\"".to_owned()),
            Some(kind) => return Err(format!("{} is not a value", describe(&kind))),
            None => return Err("an action is not closed".to_owned()),
        })
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Text(text) => format!("{text:?}"),
        Kind::Open => "\"{{\"".to_owned(),
        Kind::Close => "\"}}\"".to_owned(),
        Kind::Dot => "\".\"".to_owned(),
        Kind::Field(name) => format!("\".{name}\""),
        Kind::Variable(name) => format!("\"${name}\""),
        Kind::Word(word) => format!("{word:?}"),
        Kind::Literal(value) => value.to_string(),
        Kind::Pipe => "\"|\"".to_owned(),
        Kind::Left => "\"(\"".to_owned(),
        Kind::Right => "\")\"".to_owned(),
        Kind::Comma => "\",\"".to_owned(),
        Kind::Declare => "\":=\"".to_owned(),
        Kind::Assign => "\"=\"".to_owned(),
    }
}
