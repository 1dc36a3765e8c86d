//! Carries a template out over one object, within bounds.

use serde_json::Value;

use super::ast::{Choice, Command, Node, Operand, Pipeline, Range};
use super::funcs::{Func, LARGEST};
use super::value::{self, Val};
use crate::error::CliError;

/// Actions that a template may take for one object.
const MOST_STEPS: usize = 1_000_000;
/// The largest number that `range` counts to.
const FARTHEST: usize = 100_000;

/// Gives the title of a field.
type Header<'a> = &'a dyn Fn(&str) -> String;

struct Run<'a> {
    root: Val<'a>,
    variables: Vec<(&'a str, Val<'a>)>,
    out: String,
    steps: usize,
    header: Option<Header<'a>>,
}

/// Where to go on behind a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// The text for one object.
pub(super) fn render<'a>(nodes: &'a [Node], object: &'a Value) -> Result<String, CliError> {
    let root = Val::borrowed(object);
    let mut run = Run { root: root.clone(), variables: Vec::new(), out: String::new(), steps: 0, header: None };
    run.nodes(nodes, &root)?;
    Ok(run.out)
}

/// The titles: the template over an object whose fields hold their own titles.
pub(super) fn titles<'a>(nodes: &'a [Node], header: Header<'a>) -> Result<String, CliError> {
    let root = Val::missing();
    let mut run = Run { root: root.clone(), variables: Vec::new(), out: String::new(), steps: 0, header: Some(header) };
    run.nodes(nodes, &root)?;
    Ok(run.out)
}

fn failed(source: &str, what: impl std::fmt::Display) -> CliError {
    CliError::failed(format!("template: {what} (at <{source}>)"))
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &'a [Node], dot: &Val<'a>) -> Result<Flow, CliError> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => self.print(text)?,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.names.is_empty() { self.print(&value.print())? } else { Flow::Next }
                }
                Node::Choice(choice) => self.choice(choice, dot)?,
                Node::Range(range) => self.range(range, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn step(&mut self) -> Result<(), CliError> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(CliError::failed(format!("template: it takes more than {MOST_STEPS} steps for one object")));
        }
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<Flow, CliError> {
        if self.out.len() + text.len() > LARGEST {
            return Err(CliError::failed(format!("template: it prints more than {LARGEST} bytes for one object")));
        }
        self.out.push_str(text);
        Ok(Flow::Next)
    }

    fn choice(&mut self, choice: &'a Choice, dot: &Val<'a>) -> Result<Flow, CliError> {
        let outer = self.variables.len();
        let mut chosen = (choice.otherwise.as_slice(), dot.clone());
        for (pipeline, body) in &choice.arms {
            let value = self.pipeline(pipeline, dot)?;
            if value.truth() {
                chosen = (body, if choice.with { value } else { dot.clone() });
                break;
            }
        }
        let (body, dot) = chosen;
        let flow = self.nodes(body, &dot)?;
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn range(&mut self, range: &'a Range, dot: &Val<'a>) -> Result<Flow, CliError> {
        let outer = self.variables.len();
        let over = self.command_chain(&range.over, dot)?;
        if self.header.is_some() {
            return self.print(&over.print());
        }
        let elements = match over.count() {
            Some(count) if count <= FARTHEST => (0..count).map(|n| (Val::owned(n), Val::owned(n))).collect(),
            _ => over.elements().ok_or_else(|| {
                let source = range.over.commands.last().map_or("", |command| command.source.as_str());
                failed(source, format!("{} has no elements to range over", value::kind(over.json.as_deref())))
            })?,
        };
        if elements.is_empty() {
            return self.nodes(&range.otherwise, dot);
        }
        for (key, element) in elements {
            self.step()?;
            match range.over.names.as_slice() {
                [one] => self.set(one, element.clone(), range.over.declares),
                [first, second] => {
                    self.set(first, key, range.over.declares);
                    self.set(second, element.clone(), range.over.declares);
                }
                _ => {}
            }
            let flow = self.nodes(&range.body, &element)?;
            self.variables.truncate(outer);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &'a str, value: Val<'a>, declares: bool) {
        let known = if declares { None } else { self.variables.iter_mut().rev().find(|(known, _)| *known == name) };
        match known {
            Some((_, known)) => *known = value,
            None => self.variables.push((name, value)),
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Val<'a>) -> Result<Val<'a>, CliError> {
        let value = self.command_chain(pipeline, dot)?;
        for name in &pipeline.names {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    fn command_chain(&mut self, pipeline: &'a Pipeline, dot: &Val<'a>) -> Result<Val<'a>, CliError> {
        let mut handed = None;
        for command in &pipeline.commands {
            handed = Some(self.command(command, dot, handed)?);
        }
        Ok(handed.unwrap_or_else(Val::missing))
    }

    fn command(&mut self, command: &'a Command, dot: &Val<'a>, handed: Option<Val<'a>>) -> Result<Val<'a>, CliError> {
        let source = command.source.as_str();
        let Operand::Function(func) = &command.head else {
            return match (command.args.is_empty(), &handed) {
                (true, None) => self.operand(&command.head, dot, source),
                _ => self.method(command, dot, handed),
            };
        };
        if matches!(func, Func::And | Func::Or) {
            // The first value that decides is the answer, and what follows it is not looked at.
            let stops = *func == Func::Or;
            let mut value = Val::missing();
            for arg in &command.args {
                value = self.operand(arg, dot, source)?;
                if value.truth() == stops {
                    return Ok(value);
                }
            }
            return Ok(handed.unwrap_or(value));
        }
        let mut args = Vec::with_capacity(command.args.len() + 1);
        for arg in &command.args {
            args.push(self.operand(arg, dot, source)?);
        }
        args.extend(handed);
        if self.header.is_some() && func.keeps_title() {
            return Ok(args.into_iter().next().unwrap_or_else(Val::missing));
        }
        func.call(args).map_err(|what| failed(source, what))
    }

    /// `.Label "key"`: the only field that takes an argument.
    fn method(&mut self, command: &'a Command, dot: &Val<'a>, handed: Option<Val<'a>>) -> Result<Val<'a>, CliError> {
        let source = command.source.as_str();
        let refused = || failed(source, "a value takes no arguments");
        let Operand::Field(path) = &command.head else { return Err(refused()) };
        let ([name], true) = (path.as_slice(), command.args.len() + usize::from(handed.is_some()) == 1) else {
            return Err(refused());
        };
        if name != "Label" {
            return Err(refused());
        }
        let key = match (command.args.first(), handed) {
            (Some(arg), _) => self.operand(arg, dot, source)?,
            (None, Some(value)) => value,
            (None, None) => return Err(refused()),
        };
        let key = key.text().ok_or_else(|| failed(source, "the name of a label is a text"))?;
        if let Some(header) = self.header {
            return Ok(Val::owned(header(key.rsplit('.').next().unwrap_or(key))));
        }
        let labels = dot.value().and_then(|object| object.get(super::LABELS));
        let labels = labels.ok_or_else(|| failed(source, "there is no field \"Label\""))?;
        Ok(Val::owned(labels.get(key).and_then(Value::as_str).unwrap_or_default()))
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Val<'a>, source: &str) -> Result<Val<'a>, CliError> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Val::missing()),
            Operand::Literal(value) => Ok(Val::borrowed(value)),
            Operand::Field(path) => self.fields(dot.clone(), path, source),
            Operand::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = if name.is_empty() {
                    self.root.clone()
                } else {
                    known.map_or_else(Val::missing, |(_, v)| v.clone())
                };
                self.fields(value, path, source)
            }
            Operand::Function(func) => func.call(Vec::new()).map_err(|what| failed(source, what)),
            Operand::Group(pipeline, path) => {
                self.step()?;
                let value = self.command_chain(pipeline, dot)?;
                self.fields(value, path, source)
            }
        }
    }

    fn fields(&self, value: Val<'a>, path: &'a [String], source: &str) -> Result<Val<'a>, CliError> {
        if let (Some(header), Some(last)) = (self.header, path.last()) {
            return Ok(Val::owned(header(last)));
        }
        let mut at = value;
        for name in path {
            at = at.field(name).map_err(|known| {
                let error = failed(source, format!("there is no field {name:?}"));
                if known.is_empty() { error } else { error.with_hint(format!("there are {}", known.join(", "))) }
            })?;
        }
        Ok(at)
    }
}
