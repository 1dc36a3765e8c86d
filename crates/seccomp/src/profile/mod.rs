//! Profiles as people write them: names of calls, conditions, comments.

mod error;
mod json;
mod read;

pub use error::ProfileError;
pub use json::ProfileText;

use crate::action::Action;
use crate::filter::Op;
use crate::syscalls::is_known_anywhere;
use std::borrow::Cow;

/// Longest profile text that is read. Docker's own is below 20 KiB.
pub const MAX_PROFILE_BYTES: usize = 1024 * 1024;
/// Most rules in a profile.
pub const MAX_RULES: usize = 10_000;
/// Most conditions in one rule.
pub const MAX_ARGS_PER_RULE: usize = 64;

/// One comparison as written in a profile; its width follows from the call, see
/// [`crate::argument_is_int`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arg {
    /// Index of the argument, 0 to 5.
    pub index: u8,
    /// The comparison.
    pub op: Op,
    /// The value compared with, or the mask of [`Op::MaskedEq`].
    pub value: u64,
    /// The expected result of [`Op::MaskedEq`].
    pub value_two: u64,
}

/// When a rule applies (`includes`) or does not (`excludes`). Empty lists do not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFilter {
    /// Capabilities. `includes` needs all of them, `excludes` is met by any.
    pub caps: Vec<String>,
    /// Native machines in Docker's spelling (`amd64`, `arm64`), any of them.
    pub arches: Vec<String>,
    /// Oldest kernel.
    pub min_kernel: Option<(u32, u32)>,
}

impl RuleFilter {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Name of a call: a reference where some ABI has it, so that profiles full of known names cost little.
pub type Name = Cow<'static, str>;

/// One rule of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRule {
    /// Calls the rule is about.
    pub names: Vec<Name>,
    /// What to do.
    pub action: Action,
    /// Conditions on arguments; none means always.
    pub args: Vec<Arg>,
    /// What must hold for the rule to apply.
    pub includes: RuleFilter,
    /// What must not hold.
    pub excludes: RuleFilter,
    /// Why the rule exists.
    pub comment: String,
}

/// One line of Docker's `archMap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchMapEntry {
    /// Native machine, `SCMP_ARCH_…`.
    pub architecture: String,
    /// Further ABIs to accept on it.
    pub sub_architectures: Vec<String>,
}

/// Which ABIs besides the native one a profile is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Architectures {
    /// None.
    Native,
    /// The OCI form: a list of `SCMP_ARCH_…` names.
    Listed(Vec<String>),
    /// Docker's form: a list by native machine.
    Map(Vec<ArchMapEntry>),
}

/// Flags for loading the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilterFlag {
    /// `SECCOMP_FILTER_FLAG_TSYNC`.
    Tsync,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    Log,
    /// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`; gives up mitigations against speculation.
    SpecAllow,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
    WaitKillableRecv,
}

/// A seccomp profile: what a person wrote, checked but not yet tied to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub(crate) default_action: Action,
    pub(crate) architectures: Architectures,
    pub(crate) rules: Vec<ProfileRule>,
    pub(crate) flags: Vec<FilterFlag>,
    pub(crate) listener_path: Option<String>,
    pub(crate) listener_metadata: Option<String>,
}

/// The words that a profile may have, each list sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Actions.
    pub actions: Vec<&'static str>,
    /// Comparisons of arguments.
    pub operators: Vec<&'static str>,
    /// Architectures; those without a call table have no effect.
    pub architectures: Vec<&'static str>,
    /// Flags for loading the filter, and what they mean.
    pub flags: Vec<(&'static str, FilterFlag)>,
}

impl Words {
    /// All of them.
    #[must_use]
    pub fn known() -> Self {
        let mut words = Self {
            actions: read::ACTIONS.to_vec(),
            operators: json::OPS.iter().map(|(word, _)| *word).collect(),
            architectures: crate::arch::PROFILE_NAMES.to_vec(),
            flags: json::FLAGS.to_vec(),
        };
        words.operators.sort_unstable();
        words.architectures.sort_unstable();
        words.flags.sort_unstable_by_key(|(word, _)| *word);
        words
    }
}

impl Profile {
    pub(crate) fn from_rules(default_action: Action, architectures: Architectures, rules: Vec<ProfileRule>) -> Self {
        Self { default_action, architectures, rules, flags: Vec::new(), listener_path: None, listener_metadata: None }
    }

    /// Reads Docker's JSON format or the `linux.seccomp` object of the OCI runtime specification.
    ///
    /// # Errors
    /// Anything unknown is refused with its place and what would be accepted, except names of
    /// system calls: shipped profiles name calls of every machine, see [`Profile::unknown_calls`].
    /// So is [`Action::Notify`]: whoever has a listener reads with [`Profile::from_text`].
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        read::from_json(text)
    }

    /// As [`Profile::from_json`], of what has the shape already; [`Action::Notify`] is taken.
    ///
    /// # Errors
    /// As [`Profile::from_json`].
    pub fn from_text(text: &ProfileText) -> Result<Self, ProfileError> {
        read::from_text(text)
    }

    /// Writes the profile in Docker's format.
    ///
    /// The text is meant for [`Profile::from_json`]. The shipped profiles rely on rules being
    /// tried in order and end many calls with a rule that always holds ("otherwise"); engines on
    /// libseccomp have no order among conditional rules and would take such a text differently.
    ///
    /// # Errors
    /// Only if the JSON writer fails.
    pub fn to_json(&self) -> Result<String, ProfileError> {
        json::to_json(self)
    }

    /// What happens to a call without a rule.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// The ABIs beside the native one.
    #[must_use]
    pub fn architectures(&self) -> &Architectures {
        &self.architectures
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[ProfileRule] {
        &self.rules
    }

    /// Flags for loading the filter.
    #[must_use]
    pub fn flags(&self) -> &[FilterFlag] {
        &self.flags
    }

    /// Socket that gets the listener of [`Action::Notify`], and what goes to it as well.
    #[must_use]
    pub fn listener(&self) -> (Option<&str>, Option<&str>) {
        (self.listener_path.as_deref(), self.listener_metadata.as_deref())
    }

    /// Names that no call table has, sorted. Harmless when they allow something, worth a warning
    /// when they refuse something.
    #[must_use]
    pub fn unknown_calls(&self) -> Vec<&str> {
        let names = self.rules.iter().flat_map(|rule| &rule.names);
        let mut unknown: Vec<&str> = names.map(|name| name.as_ref()).filter(|name| !is_known_anywhere(name)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }
}
