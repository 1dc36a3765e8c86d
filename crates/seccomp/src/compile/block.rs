//! Verdicts of calls, shared between calls that have the same rules.

use super::CompileError;
use super::asm::{Asm, Label};
use crate::action::Action;
use crate::filter::{Condition, Op, Rule, Width};
use crate::program::{JEQ, JGE, JGT, JSET};
use std::collections::BTreeMap;

/// Index of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BodyId(usize);

/// Rules in order, then what happens if none holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Body {
    rules: Vec<Rule>,
    otherwise: Action,
}

/// All verdicts of a program.
#[derive(Default)]
pub(super) struct Bodies {
    bodies: Vec<(Body, Option<Label>)>,
    plain: Vec<(Action, BodyId)>,
    known: BTreeMap<Body, BodyId>,
}

impl Bodies {
    /// The verdict that does not look at arguments.
    pub(super) fn plain(&mut self, action: Action) -> BodyId {
        if let Some((_, id)) = self.plain.iter().find(|(known, _)| *known == action) {
            return *id;
        }
        let id = self.push(Body { rules: Vec::new(), otherwise: action });
        self.plain.push((action, id));
        id
    }

    /// The verdict of a rule list, reduced to what can make a difference.
    pub(super) fn call(&mut self, rules: &[Rule], default: Action) -> BodyId {
        if let [Rule { action, conditions }] = rules
            && conditions.is_empty()
        {
            return self.plain(*action);
        }
        let mut otherwise = default;
        let mut kept: Vec<Rule> = Vec::new();
        for rule in rules {
            if rule.conditions.iter().any(|c| c.constant() == Some(false)) {
                continue;
            }
            let open = rule.conditions.iter().filter(|c| c.constant().is_none());
            let conditions: Vec<Condition> = open.copied().collect();
            if conditions.is_empty() {
                otherwise = rule.action;
                break;
            }
            kept.push(Rule { action: rule.action, conditions });
        }
        while kept.last().is_some_and(|rule| rule.action == otherwise) {
            kept.pop();
        }
        if kept.is_empty() {
            return self.plain(otherwise);
        }
        let body = Body { rules: kept, otherwise };
        if let Some(id) = self.known.get(&body) {
            return *id;
        }
        let id = self.push(body.clone());
        self.known.insert(body, id);
        id
    }

    fn push(&mut self, body: Body) -> BodyId {
        self.bodies.push((body, None));
        BodyId(self.bodies.len() - 1)
    }

    /// The place of a verdict in the program; written when first asked for.
    pub(super) fn emit(&mut self, asm: &mut Asm, id: BodyId) -> Result<Label, CompileError> {
        let Some((body, place)) = self.bodies.get_mut(id.0) else {
            return asm.ret(Action::KillProcess);
        };
        if let Some(label) = place {
            return Ok(*label);
        }
        let entry = emit_body(asm, body)?;
        let label = entry.enter(asm, None)?;
        *place = Some(label);
        Ok(label)
    }
}

/// What the accumulator holds: a word of the call data, all of it or masked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Loaded {
    word: u32,
    mask: u32,
}

impl Loaded {
    fn whole(word: u32) -> Self {
        Self { word, mask: u32::MAX }
    }
}

/// Code that expects something certain in the accumulator.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    label: Label,
    needs: Option<Loaded>,
}

impl Entry {
    /// A label for callers that have `has` in the accumulator.
    fn enter(self, asm: &mut Asm, has: Option<Loaded>) -> Result<Label, CompileError> {
        let Some(needs) = self.needs.filter(|_| self.needs != has) else {
            return Ok(self.label);
        };
        let masked = match needs.mask {
            u32::MAX => self.label,
            mask => asm.and(mask, self.label)?,
        };
        if has == Some(Loaded::whole(needs.word)) { Ok(masked) } else { asm.load(needs.word, masked) }
    }
}

fn emit_body(asm: &mut Asm, body: &Body) -> Result<Entry, CompileError> {
    let exit =
        |asm: &mut Asm, action| -> Result<Entry, CompileError> { Ok(Entry { label: asm.ret(action)?, needs: None }) };
    let mut next = exit(asm, body.otherwise)?;
    for rule in body.rules.iter().rev() {
        let mut yes = exit(asm, rule.action)?;
        for condition in rule.conditions.iter().rev() {
            yes = test(asm, condition, yes, next)?;
        }
        next = yes;
    }
    Ok(next)
}

/// A condition; `yes` and `no` are where to go on.
fn test(asm: &mut Asm, condition: &Condition, yes: Entry, no: Entry) -> Result<Entry, CompileError> {
    if yes == no {
        return Ok(yes);
    }
    match condition.constant() {
        Some(true) => return Ok(yes),
        Some(false) => return Ok(no),
        None => {}
    }
    if condition.arg > 5 {
        return Err(CompileError::Argument(condition.arg));
    }
    // The other three operators are these three with the answers swapped.
    let (op, yes, no) = match condition.op {
        Op::Ne => (Op::Eq, no, yes),
        Op::Lt => (Op::Ge, no, yes),
        Op::Le => (Op::Gt, no, yes),
        op => (op, yes, no),
    };
    let low_word = 16 + 8 * u32::from(condition.arg);
    let [high, low] = halves(condition.value);
    let [high_two, low_two] = halves(condition.value_two);
    let low_part = test_word(asm, low_word, op, [low, low_two], yes, no)?;
    if condition.width == Width::W32 {
        return Ok(low_part);
    }
    let high_word = low_word + 4;
    match op {
        Op::Gt | Op::Ge => {
            // Above zero and equal to zero leave no third case.
            let equal = if high == 0 { low_part } else { test_word(asm, high_word, Op::Eq, [high, 0], low_part, no)? };
            test_word(asm, high_word, Op::Gt, [high, 0], yes, equal)
        }
        op => test_word(asm, high_word, op, [high, high_two], low_part, no),
    }
}

/// A condition on one 32-bit word; `op` is one of `Eq`, `Ge`, `Gt`, `MaskedEq`.
fn test_word(
    asm: &mut Asm,
    word: u32,
    op: Op,
    [value, expected]: [u32; 2],
    yes: Entry,
    no: Entry,
) -> Result<Entry, CompileError> {
    let (code, mask, value, yes, no) = match op {
        Op::Ge if value == 0 => return Ok(yes),
        Op::Gt if value == u32::MAX => return Ok(no),
        Op::MaskedEq if value == 0 => return Ok(yes),
        Op::Ge => (JGE, u32::MAX, value, yes, no),
        Op::Gt => (JGT, u32::MAX, value, yes, no),
        Op::MaskedEq if expected == 0 => (JSET, u32::MAX, value, no, yes),
        Op::MaskedEq if expected == value && value.is_power_of_two() => (JSET, u32::MAX, value, yes, no),
        Op::MaskedEq => (JEQ, value, expected, yes, no),
        _ => (JEQ, u32::MAX, value, yes, no),
    };
    let needs = Some(Loaded { word, mask });
    let (yes, no) = (yes.enter(asm, needs)?, no.enter(asm, needs)?);
    Ok(Entry { label: asm.jump(code, value, yes, no)?, needs })
}

fn halves(value: u64) -> [u32; 2] {
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
    [half(value >> 32), half(value)]
}
