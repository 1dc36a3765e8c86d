//! `linux.seccomp`, compiled.

use bulkhead_seccomp::{Action, Arch, Context, FilterFlag, Profile, ProfileText, Program, syscall_number};

use super::config::Linux;
use crate::facts::HostFacts;
use crate::plan::PlanError;

/// A system call filter, and how it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The instructions.
    pub program: Program,
    /// Flags for loading it.
    pub flags: Vec<FilterFlag>,
    /// It asks somebody: the descriptor goes to the socket of `linux.seccomp.listenerPath`.
    pub listener: bool,
    /// It allows what a process needs that waits for its start: so the listener can be given when the container is made,
    /// as other runtimes do. Else the filter is loaded when it starts.
    pub early: bool,
}

/// What a process calls between a filter that is loaded early and its program, but for the program's own start.
const WAITING: [&str; 6] = ["rt_sigaction", "rt_sigprocmask", "close_range", "close", "accept4", "recvmsg"];

/// The call that hands the listener over, when the filter is in force already.
const HAND_OVER: &str = "sendmsg";

/// Compiles the filter of a config; nothing where it has none, or an object without a default and without rules. One
/// that allows everything is a filter too: it still ends what comes through an ABI that it does not list.
///
/// # Errors
/// What cannot be understood or enforced, by its place.
pub fn filter(linux: &Linux, facts: &HostFacts) -> Result<Option<Filter>, PlanError> {
    let Some(text) = linux.seccomp.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let Some(arch) = Arch::native() else {
        return Err(PlanError::Unsupported {
            what: "linux.seccomp".to_owned(),
            reason: format!("no filters are made for {}", std::env::consts::ARCH),
        });
    };
    of(text, &Context { arch, caps: 0, kernel: facts.kernel }).map(Some)
}

fn of(text: &ProfileText, context: &Context) -> Result<Filter, PlanError> {
    let profile = Profile::from_text(text).map_err(|e| refuse(&e))?;
    let resolved = profile.resolve(context).map_err(|e| refuse(&e))?;
    let listener = asks(&profile)?;
    let always = |name: &str| {
        let number = syscall_number(context.arch, name).unwrap_or_default();
        let rules = resolved.arch(context.arch).map(|part| part.rules(number)).unwrap_or_default();
        let always = rules.iter().any(|rule| rule.conditions.is_empty());
        rules.iter().all(|rule| rule.action.permits()) && (always || resolved.default_action().permits())
    };
    if listener {
        if text.listener_path().is_none() {
            let reason = "SCMP_ACT_NOTIFY needs the socket of whoever answers";
            return Err(PlanError::invalid("linux.seccomp.listenerPath", "", reason));
        }
        if !always(HAND_OVER) {
            let reason = "it must be allowed with any arguments: by it the listener of SCMP_ACT_NOTIFY is handed over";
            return Err(PlanError::invalid("linux.seccomp.syscalls", HAND_OVER, reason));
        }
    }
    let program = bulkhead_seccomp::compile(&resolved).map_err(|e| refuse(&e))?;
    let early = listener && WAITING.iter().all(|name| always(name));
    let mut flags = profile.flags().to_vec();
    if !text.lists_flags() {
        // Callers who say nothing of flags expect this one of an OCI runtime; an empty list is none.
        flags.push(FilterFlag::SpecAllow);
    }
    Ok(Filter { program, flags, listener, early })
}

/// With the reason below it: what is not JSON says more there.
fn refuse(error: &dyn std::error::Error) -> PlanError {
    let reason = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    PlanError::invalid("linux.seccomp", "", reason)
}

/// Whether anything is asked. Some calls cannot be: the process makes them before anybody can answer, or whoever answers
/// makes them to answer.
fn asks(profile: &Profile) -> Result<bool, PlanError> {
    if profile.default_action() == Action::Notify {
        let reason = "as the default it asks about the calls that hand the listener over; name the calls instead";
        return Err(PlanError::invalid("linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY", reason));
    }
    let mut asks = false;
    for rule in profile.rules().iter().filter(|rule| rule.action == Action::Notify) {
        asks = true;
        if let Some(name) = rule.names.iter().find(|name| matches!(name.as_ref(), HAND_OVER | "write")) {
            let reason = format!(
                "SCMP_ACT_NOTIFY cannot be used for the {name} syscall: it is needed before anybody can answer"
            );
            return Err(PlanError::invalid("linux.seccomp.syscalls", name.as_ref(), reason));
        }
    }
    Ok(asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Context = Context { arch: Arch::X86_64, caps: 0, kernel: (6, 1) };

    fn plan(json: &str) -> Result<Filter, String> {
        of(&serde_json::from_str(json).unwrap(), &X86_64).map_err(|e| e.to_string())
    }

    #[test]
    fn a_filter_that_asks_needs_somebody_who_answers() {
        let notify = |path: &str, default: &str, rules: &str| {
            plan(&format!(r#"{{"defaultAction":"SCMP_ACT_{default}","listenerPath":"{path}","syscalls":[{rules}]}}"#))
        };
        let rule = |name: &str, action: &str| format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_{action}"}}"#);
        let mkdir = rule("mkdir", "NOTIFY");
        let early = notify("/run/s", "ALLOW", &mkdir).unwrap();
        assert!(early.listener && early.early);
        // What waits would ask, or be refused: it is loaded late.
        for action in ["NOTIFY", "ERRNO"] {
            let late = notify("/run/s", "ALLOW", &format!("{mkdir},{}", rule("accept4", action))).unwrap();
            assert!(late.listener && !late.early, "{action}");
        }
        for (flags, loaded) in [("", vec![FilterFlag::SpecAllow]), (r#","flags":[]"#, vec![])] {
            assert_eq!(plan(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{flags}}}"#)).unwrap().flags, loaded);
        }
        assert!(
            !notify("/run/s", "ALLOW", &rule("mkdir", "ERRNO")).unwrap().listener,
            "the path alone changes nothing"
        );
        let sending = format!("{mkdir},{}", rule("sendmsg", "ALLOW"));
        assert!(notify("/run/s", "ERRNO", &sending).unwrap().listener);
        for (got, field, value) in [
            (notify("", "ALLOW", &mkdir), "linux.seccomp.listenerPath", "needs the socket"),
            (notify("/run/s", "NOTIFY", &mkdir), "linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"),
            (notify("/run/s", "ERRNO", &mkdir), "linux.seccomp.syscalls", "sendmsg"),
            (notify("/run/s", "ALLOW", &rule("write", "NOTIFY")), "linux.seccomp.syscalls", "write"),
            (notify("/run/s", "ALLOW", &rule("sendmsg", "NOTIFY")), "linux.seccomp.syscalls", "sendmsg"),
            (plan(r#"{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#), "linux.seccomp", "defaultAction"),
        ] {
            let message = got.unwrap_err();
            assert!(message.contains(field) && message.contains(value), "{field} {value}: {message}");
        }
    }
}
