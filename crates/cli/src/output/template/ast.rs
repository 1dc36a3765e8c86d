//! What a template is made of.

use serde_json::Value;

use super::funcs::Func;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Printed as it is.
    Text(String),
    /// `{{…}}`: printed, unless it sets a variable.
    Action(Pipeline),
    /// `{{if}}` and `{{with}}`.
    Choice(Choice),
    /// `{{range}}`.
    Range(Range),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// The first arm whose pipeline is true, or else the rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// The value becomes the dot.
    pub(super) with: bool,
    pub(super) arms: Vec<(Pipeline, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

/// The body for each element, or else the rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Range {
    pub(super) over: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `a | b | c`, perhaps kept in variables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    /// Variables before `:=` or `=`.
    pub(super) names: Vec<String>,
    /// `:=`: the variables are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand, or a function and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    /// As written, for messages.
    pub(super) source: String,
    pub(super) head: Operand,
    pub(super) args: Vec<Operand>,
}

/// A value, with the fields that are taken of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Dot,
    Nil,
    Literal(Value),
    /// `.A.B`.
    Field(Vec<String>),
    /// `$name.A.B`; the empty name is the object itself.
    Variable(String, Vec<String>),
    Function(Func),
    /// `(…).A.B`.
    Group(Box<Pipeline>, Vec<String>),
}
