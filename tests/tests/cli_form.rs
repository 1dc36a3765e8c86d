//! The form of the command line: groups, help, formats, filters, exit codes, completions, manual pages, progress.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, Said, binary, eventually};

#[test]
fn a_group_has_the_commands_under_dockers_names() {
    let bench = Bench::new();
    let id = bench.say(&["container", "run", "-d", "--name", "one", "host", "sleep", "100"]).ok();
    for words in
        [&["ps", "-q"][..], &["container", "ls", "-q"], &["container", "ps", "-q"], &["container", "list", "-q"]]
    {
        assert_eq!(bench.say(words).ok(), format!("{}\n", &id[..12]), "{words:?}");
    }
    assert_eq!(bench.say(&["container", "inspect", "-f", "{{.Name}}", "one"]).ok(), "/one\n");
    assert!(bench.say(&["image", "inspect", "one"]).fails(1).contains("No such image: one"));
    assert_eq!(bench.say(&["container", "exec", "one", "sh", "-c", "echo $0 --help", "x"]).ok(), "x --help\n");
    assert_eq!(bench.say(&["image", "ls", "-q"]).ok(), "");
    assert!(bench.say(&["system", "info"]).ok().contains("Version: "));
    assert_eq!(bench.say(&["container", "stop", "-t", "0", "one"]).ok(), "one\n");
    assert_eq!(bench.say(&["container", "rm", "one"]).ok(), "one\n");
}

#[test]
fn help_and_guesses_go_down_into_groups() {
    let bench = Bench::new();
    let says = |words: &[&str]| bench.say(words).ok();
    assert!(says(&["help"]).contains("\nGroups:\n"));
    assert_eq!(says(&["container"]), says(&["container", "--help"]));
    assert_eq!(says(&["help", "container"]), says(&["container", "help"]));
    assert_eq!(says(&["help", "container", "ls"]), says(&["container", "ls", "--help"]));
    assert!(says(&["container", "ls", "--help"]).contains("Usage: bulkhead container ls"));
    let hint = |words: &[&str], code: i32| bench.say(words).fails(code);
    assert!(hint(&["container", "lss"], 1).contains("did you mean 'bulkhead container ls'?"));
    assert!(hint(&["imgae"], 1).contains("did you mean 'bulkhead image'?"));
    assert!(
        hint(&["image", "rm", "--frce", "x"], 125).contains("did you mean --force?; see 'bulkhead image rm --help'")
    );
    assert!(hint(&["help", "container", "lss"], 1).contains("container ls"));
}

/// The codes of Docker's command line, looked up with its own program.
#[test]
fn mistakes_exit_as_dockers_do() {
    let bench = Bench::new();
    for (code, words) in [
        (125, &["ps", "--nope"][..]),
        (125, &["container", "ls", "--nope"]),
        (125, &["ps", "-f", "x"]),
        (125, &["ps", "-n", "x"]),
        (125, &["stop", "-t", "x", "y"]),
        (125, &["kill", "-s"]),
        (125, &["run", "--memory=x", "y"]),
        (125, &["run", "-e"]),
        (1, &["ps", "-f", "colour=red"]),
        (1, &["ps", "--format", "{{.A"]),
        (1, &["images", "--format", "{{nope .ID}}"]),
        (1, &["run"]),
        (1, &["rm"]),
        (1, &["ps", "extra"]),
        (1, &["logs", "a", "b"]),
        (1, &["nope"]),
        (1, &["container", "nope"]),
        (64, &["inspect", "-f", "{{.A", "x"]),
        (64, &["version", "-f", "{{.A"]),
        (64, &["info", "-f", "{{.A"]),
        (64, &["events", "--format", "{{.A"]),
        (64, &["config", "show", "--format", "{{.A"]),
        (0, &["container"]),
    ] {
        let said = bench.say(words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        assert_eq!(
            said.err.lines().filter(|line| line.starts_with("bulkhead: ")).count(),
            usize::from(code != 0),
            "{said:?}"
        );
        assert!(code == 0 || said.out.is_empty(), "{said:?}");
    }
}

#[test]
fn formats_of_lists_and_objects() {
    let bench = Bench::new();
    bench.start(&["--name", "one", "-l", "tier=front", "-l", "a.b=c"], "sleep 100");
    let ps = |format: &str| bench.say(&["ps", "--format", format]).ok();
    assert_eq!(ps("{{.Names}}\\t{{upper .State}}"), "one\tRUNNING\n");
    assert_eq!(ps("{{.Label \"tier\"}} {{if eq .State \"running\"}}up{{else}}down{{end}}"), "front up\n");
    assert_eq!(ps("{{range $i, $l := split .Labels \",\"}}{{if $i}};{{end}}{{$l}}{{end}}"), "tier=front;a.b=c\n");
    assert_eq!(ps("table {{.Names}}\\t{{.State}}"), "NAMES     STATE\none       running\n");
    let json: serde_json::Value = serde_json::from_str(&ps("{{json .}}")).unwrap();
    assert_eq!(json["Names"], "one");
    assert!(json.get("(labels)").is_none(), "{json}");
    let wrong = bench.say(&["ps", "--format", "{{.Nope}}"]).fails(1);
    assert!(wrong.contains("\"Nope\"") && wrong.contains("there are Command, "), "{wrong}");
    let show = |format: &str| bench.say(&["inspect", "-f", format, "one"]);
    assert_eq!(
        show("{{.Config.Labels.tier}} {{.Config.Labels.none}} {{index .Config.Labels \"none\"}}|").ok(),
        "front <no value> |\n"
    );
    assert_eq!(show("{{.Config.Labels}}\\t").ok(), "map[a.b:c tier:front]\\t\n");
    assert_eq!(show("{{with .State}}{{.Status}} {{printf \"%05d\" .ExitCode}}{{end}}").ok(), "running 00000\n");
    assert!(show("{{.State.Nope}}").fails(1).contains("\"Nope\""));
}

#[test]
fn filters_of_ps() {
    let bench = Bench::new();
    bench.start(&["--name", "web-1", "--tmpfs", "/t"], "sleep 100");
    bench.start(&["--name", "db", "-v", "/usr:/mnt:ro"], "exit 3");
    assert!(eventually(5, || bench.state("db").0 == "exited"));
    let names = |filter: &str| bench.say(&["ps", "-a", "-f", filter, "--format", "{{.Names}}"]).ok();
    assert_eq!(names("name=^web-[0-9]$"), "web-1\n");
    assert_eq!(names("name=^/db$"), "db\n");
    assert_eq!(names("exited=3"), "db\n");
    assert_eq!(names("since=web-1"), "db\n");
    assert_eq!(names("before=db"), "web-1\n");
    // The one that is named does not run; of those that fit, only what runs is shown.
    assert_eq!(bench.say(&["ps", "-f", "before=db", "--format", "{{.Names}}"]).ok(), "web-1\n");
    assert_eq!(bench.say(&["ps", "-q", "-f", "since=db"]).ok(), "");
    assert_eq!(names("volume=/mnt"), "db\n");
    assert_eq!(names("volume=/usr"), "db\n");
    assert_eq!(names("network=bridge"), "db\nweb-1\n");
    assert_eq!(names("health=none"), "db\nweb-1\n");
    assert_eq!(names("is-task=true"), "");
    assert!(bench.say(&["ps", "-f", "since=nobody"]).fails(1).contains("nobody"));
    let wrong = bench.say(&["ps", "-f", "stats=up"]).fails(1);
    assert!(
        wrong.contains("\"stats=up\"") && wrong.contains("is-task") && wrong.contains("did you mean status?"),
        "{wrong}"
    );
}

/// Runs a script with a shell, with the program on its path.
fn shell(bench: &Bench, program: &str, args: &[&str], script: &str) -> Said {
    let bin = bench.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let link = bin.join("bulkhead");
    if !link.exists() {
        std::os::unix::fs::symlink(binary(), &link).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program);
    child.args(args).envs(bench.env()).env("PATH", path).env("HOME", bench.path("")).stdin(Stdio::piped());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the shell starts");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn completion_in_bash_knows_commands_flags_and_names() {
    let bench = Bench::new();
    bench.start(&["--name", "web-1"], "sleep 100");
    bench.start(&["--name", "web-2"], "sleep 100");
    let complete = |words: &[&str]| {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "eval \"$(bulkhead completion bash)\" || exit 9\ntype __bulkhead_complete >/dev/null || exit 8\n\
             COMP_WORDS=({}); COMP_CWORD={}\n__bulkhead_complete bulkhead '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            quoted.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let said = shell(&bench, "bash", &["--norc", "--noprofile"], &script);
        assert_eq!(said.err, "", "{words:?}");
        let out = said.ok();
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |words: &[&str], wanted: &[&str]| {
        let found = complete(words);
        assert!(wanted.iter().all(|one| found.iter().any(|f| f == one)), "{words:?}: {found:?}");
        found
    };
    has(&["bulkhead", ""], &["run", "container", "image", "completion", "man"]);
    has(&["bulkhead", "container", ""], &["ls", "rm", "inspect"]);
    has(&["bulkhead", "container", "ls", "--no"], &["--no-trunc"]);
    assert_eq!(
        complete(&["bulkhead", "stop", ""]),
        ["web-1", "web-2"].map(str::to_owned).iter().rev().cloned().collect::<Vec<_>>()
    );
    assert_eq!(has(&["bulkhead", "rm", "-f", "web-1", "web-"], &["web-1", "web-2"]).len(), 2);
    has(&["bulkhead", "container", "remove", "we"], &["web-1"]);
    has(&["bulkhead", "exec", "-e", "A", ""], &["web-1"]);
    // Behind the container come words of a program, and behind a flag its value.
    assert_eq!(complete(&["bulkhead", "exec", "web-1", ""]), [""]);
    assert!(!complete(&["bulkhead", "stop", "--signal", ""]).iter().any(|found| found.starts_with("web-")));
}

#[test]
fn completion_in_bash_knows_tags() {
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    bench.say(&["import", archive.to_str().unwrap(), "my/base:1.2"]).ok();
    let script = |words: &str, at: usize, cur: &str| {
        format!(
            "eval \"$(bulkhead completion bash)\"; COMP_WORDS=({words}); COMP_CWORD={at}\n\
             __bulkhead_complete bulkhead '{cur}' rmi; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        )
    };
    let says = |script: String| shell(&bench, "bash", &["--norc", "--noprofile"], &script).ok();
    assert_eq!(says(script("bulkhead rmi my", 2, "my")), "my/base:1.2\n");
    // Bash has taken the word apart at its colon.
    assert_eq!(says(script("bulkhead rmi my/base : 1", 4, "1")), "1.2\n");
    assert_eq!(says(script("bulkhead rmi my/base :", 3, ":")), "1.2\n");
}

/// The scripts of the other shells are read by them where they are installed, and are the same everywhere.
#[test]
fn completions_of_other_shells_are_read_by_them() {
    let bench = Bench::new();
    for (name, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = bench.say(&["completion", name]).ok();
        assert!(script.contains("__bulkhead_names") && script.contains("container"), "{name}");
        let file = bench.path(name);
        std::fs::write(&file, &script).unwrap();
        if let Ok(output) = Command::new(name).arg(check).arg(&file).env("HOME", bench.path("")).output() {
            let said = Said::from(output);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
        }
    }
    for shell in ["elvish", "powershell"] {
        assert!(bench.say(&["completion", shell]).ok().contains("bulkhead"));
    }
    assert!(bench.say(&["completion", "tcsh"]).fails(1).contains("zsh is needed"));
    assert!(bench.say(&["completion"]).fails(1).contains("SHELL"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let bench = Bench::new();
    let dir = bench.path("man/man1");
    assert!(bench.say(&["man", dir.to_str().unwrap()]).ok().starts_with("wrote "));
    for name in ["bulkhead", "bulkhead-run", "bulkhead-container", "bulkhead-container-ls", "bulkhead-image-rm"] {
        let page = std::fs::read_to_string(dir.join(format!("{name}.1"))).expect(name);
        assert!(page.contains(".SH NAME") && page.contains(&format!(".TH {} 1", name.to_uppercase())), "{page}");
    }
    lint(&dir);
    let file = bench.path("file");
    std::fs::write(&file, "").unwrap();
    assert!(bench.say(&["man", file.join("x").to_str().unwrap()]).fails(1).contains("cannot write"));
}

/// Pages that `mandoc`, where it is installed, finds nothing wrong with.
fn lint(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(output) = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output() {
            // Pages have no date, so that the same source makes the same page.
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
        }
    }
}

#[test]
fn what_takes_long_says_how_far_it_is() {
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    std::fs::write(dir.join("etc/motd"), "hello\n").unwrap();
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    // An archive that comes late: it is the time that counts.
    let mut command = bench.command(&["import", "-", "late:1"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    input.write_all(&std::fs::read(&archive).unwrap()).unwrap();
    drop(input);
    let said = Said::from(child.wait_with_output().unwrap());
    assert!(said.err.starts_with("importing an archive: "), "{said:?}");
    assert!(said.err.ends_with("s\n") && !said.err.contains('\r'), "a line, and no bar: {said:?}");
    assert!(said.ok().starts_with("sha256:"));
    // What is quick says nothing.
    assert_eq!(bench.say(&["import", archive.to_str().unwrap(), "quick:1"]).err, "");
}
