//! Names in completions: the scripts ask the program for them.

use clap::Command;

/// What the words of a command name, by the placeholder of its first word.
const KINDS: [(&str, &str); 5] =
    [("CONTAINER", "container"), ("IMAGE", "image"), ("NETWORK", "network"), ("VOLUME", "volume"), ("NAME", "object")];

/// A command whose words are names.
struct Named {
    /// `rm`, `container rm`.
    path: String,
    /// Container, image, network, volume or object.
    kind: &'static str,
    /// Only the first word is a name.
    first: bool,
    /// Flags that take a value, which is no name.
    valued: String,
}

/// The commands whose words are names, in all their names.
fn named() -> Vec<Named> {
    let mut found = Vec::new();
    for command in super::tree().get_subcommands() {
        found.extend(of(command.get_name(), command));
        for verb in command.get_subcommands() {
            for name in std::iter::once(verb.get_name()).chain(verb.get_visible_aliases()) {
                found.extend(of(&format!("{} {name}", command.get_name()), verb));
            }
        }
    }
    found
}

fn of(path: &str, command: &Command) -> Option<Named> {
    let word = command.get_positionals().next()?;
    let placeholder = word.get_value_names()?.first()?.as_str();
    // What is made has no name yet.
    if matches!(path, "volume create" | "network create") {
        return None;
    }
    let kind = KINDS.iter().find(|(known, _)| placeholder == *known).map(|(_, kind)| *kind)?;
    let many = word.get_num_args().is_some_and(|count| count.max_values() > 1)
        || matches!(word.get_action(), clap::ArgAction::Append);
    let mut valued = Vec::new();
    for flag in command.get_opts().filter(|flag| flag.get_action().takes_values()) {
        valued.extend(flag.get_long_and_visible_aliases().unwrap_or_default().iter().map(|long| format!("--{long}")));
        valued.extend(flag.get_short().map(|short| format!("-{short}")));
    }
    Some(Named { path: path.to_owned(), kind, first: !many, valued: valued.join(" ") })
}

/// Shell functions that print names, one a line.
const POSIX: &str = r#"
__bulkhead_names() {
    case "$1" in
    container) bulkhead ps -a --format '{{.Names}}' ;;
    image) bulkhead images -f dangling=false --format '{{.Repository}}:{{.Tag}}' ;;
    network) bulkhead network ls --format '{{.Name}}' ;;
    volume) bulkhead volume ls -q ;;
    object) __bulkhead_names container; __bulkhead_names image ;;
    esac 2>/dev/null
}
"#;

/// The script with names, for bash.
pub(super) fn bash(script: &str) -> String {
    let groups: Vec<&str> = super::groups::ALL.iter().map(|group| group.name).collect();
    let mut cases = String::new();
    for one in named() {
        let (path, kind, first, valued) = (&one.path, one.kind, u8::from(one.first), &one.valued);
        cases.push_str(&format!("    \"{path}\") kind={kind} first={first} valued=\" {valued} \" ;;\n"));
    }
    let tail = BASH.replace("@GROUPS@", &groups.join("|")).replace("@CASES@", cases.trim_end());
    format!("{script}{POSIX}{tail}")
}

const BASH: &str = r#"
__bulkhead_complete() {
    _bulkhead "$@"
    local cur=${COMP_WORDS[COMP_CWORD]} path=${COMP_WORDS[1]} at=1 kind= first=0 valued= words=0 i word kept=()
    [[ $cur == -* ]] && return
    case $path in @GROUPS@) path="$path ${COMP_WORDS[2]}" at=2 ;; esac
    (( COMP_CWORD > at )) || return
    # Flags are offered to who begins one, and placeholders to nobody.
    for word in "${COMPREPLY[@]}"; do
        [[ $word == [-\<\[]* ]] || kept+=("$word")
    done
    COMPREPLY=("${kept[@]}")
    case $path in
@CASES@
    esac
    [[ -n $kind ]] || return
    for (( i = at + 1; i < COMP_CWORD; i++ )); do
        word=${COMP_WORDS[i]}
        if [[ $valued == *" $word "* ]]; then
            (( ++i < COMP_CWORD )) || return
        elif [[ $word != -* ]]; then
            (( ++words ))
        fi
    done
    (( first && words > 0 )) && { COMPREPLY=(); return; }
    # A colon begins a word of its own in bash: what stands before it is typed already.
    local typed=$cur before=
    for (( i = COMP_CWORD; i > at + 1; i-- )); do
        [[ ${COMP_WORDS[i]} == : || ${COMP_WORDS[i - 1]} == : ]] || break
        before=${COMP_WORDS[i - 1]}$before
    done
    [[ $cur == : ]] && typed=
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(__bulkhead_names "$kind")" -- "$before$cur"))
    [[ -n $before || $cur == : ]] && COMPREPLY=("${COMPREPLY[@]#"${before}${cur%"$typed"}"}")
}

complete -F __bulkhead_complete -o bashdefault -o default bulkhead
"#;

/// The script with names, for zsh: the words of a command are completed by a function of their kind.
pub(super) fn zsh(script: &str) -> String {
    let mut lines: Vec<String> = script.lines().map(str::to_owned).collect();
    for line in &mut lines {
        let word = line.trim_start_matches(['\'', '*', ':']);
        let Some((id, _)) = word.split_once(" -- ").filter(|_| line.starts_with('\'')) else { continue };
        let kind = match id {
            "container" | "containers" => "container",
            "image" | "images" => "image",
            "network" | "networks" => "network",
            "volume" | "volumes" => "volume",
            "names" => "object",
            _ => continue,
        };
        if let Some(start) = line.strip_suffix(":_default' \\") {
            *line = format!("{start}:__bulkhead_{kind}' \\");
        }
    }
    let script = lines.join("\n") + "\n";
    let (head, rest) = script.split_once('\n').unwrap_or((&script, ""));
    let functions: String = ["container", "image", "network", "volume", "object"]
        .iter()
        .map(|kind| {
            format!(
                "__bulkhead_{kind}() {{\n    local -a names\n    names=(${{(f)\"$(__bulkhead_names {kind})\"}})\n    compadd -a names\n}}\n"
            )
        })
        .collect();
    format!("{head}\n{POSIX}{functions}{rest}")
}

/// The script with names, for fish.
pub(super) fn fish(script: &str) -> String {
    let mut text = format!("{script}{FISH}");
    for one in named() {
        let (first, verb) = one.path.split_once(' ').map_or((one.path.as_str(), None), |(f, v)| (f, Some(v)));
        let mut when = format!("__fish_bulkhead_using_subcommand {first}");
        if let Some(verb) = verb {
            when.push_str(&format!("; and __fish_seen_subcommand_from {verb}"));
        }
        let files = if one.first { "" } else { " -f" };
        text.push_str(&format!("complete -c bulkhead -n \"{when}\"{files} -a \"(__bulkhead_names {})\"\n", one.kind));
    }
    text
}

const FISH: &str = r#"
function __bulkhead_names
    switch $argv[1]
        case container
            bulkhead ps -a --format '{{.Names}}\t{{.Status}}' 2>/dev/null
        case image
            bulkhead images -f dangling=false --format '{{.Repository}}:{{.Tag}}' 2>/dev/null
        case network
            bulkhead network ls --format '{{.Name}}' 2>/dev/null
        case volume
            bulkhead volume ls -q 2>/dev/null
        case object
            __bulkhead_names container
            __bulkhead_names image
    end
end

"#;

#[cfg(test)]
mod tests {
    use super::*;
    use clap_complete::Shell;

    #[test]
    fn commands_with_names_are_found_by_their_definitions() {
        let found = named();
        let kind = |path: &str| found.iter().find(|one| one.path == path).map(|one| (one.kind, one.first));
        assert_eq!(kind("rm"), Some(("container", false)));
        assert_eq!(kind("container remove"), Some(("container", false)));
        assert_eq!(kind("exec"), Some(("container", true)));
        assert_eq!(kind("run"), Some(("image", true)));
        assert_eq!(kind("image rm"), Some(("image", false)));
        assert_eq!(kind("inspect"), Some(("object", false)));
        assert_eq!(kind("load"), None);
        let stop = found.iter().find(|one| one.path == "stop").unwrap();
        assert_eq!(stop.valued, "--signal -s --time --timeout -t");
    }

    #[test]
    fn every_shell_asks_for_names() {
        for (shell, asks) in [
            (Shell::Bash, "\"container rm\") kind=container first=0"),
            (Shell::Zsh, "ids or starts of ids:__bulkhead_container' \\"),
            (Shell::Fish, "using_subcommand container; and __fish_seen_subcommand_from rm\" -f -a"),
        ] {
            assert!(super::super::script(shell).contains(asks), "{shell}");
        }
    }
}
