use proptest::prelude::*;

use super::*;

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn command(args: &[&str]) -> Command {
    parse(words(args)).1.unwrap()
}

fn fails(args: &[&str]) -> String {
    let error = parse(words(args)).1.unwrap_err();
    assert_eq!(error.code, 1, "{error}");
    error.message
}

#[test]
fn the_calls_that_engines_make() {
    let args =
        ["--root", "/run/r", "--log", "", "--log-format", "json", "--systemd-cgroup", "create", "--bundle", "/b"];
    let rest = ["--pid-file", "/p", "--console-socket", "/c", "--no-pivot", "--preserve-fds", "2", "web"];
    let (global, created) = parse(words(&[&args[..], &rest[..]].concat()));
    assert_eq!((global.given_root.as_deref(), global.systemd_cgroup), (Some(Path::new("/run/r")), true));
    assert_eq!(
        created.unwrap(),
        Command::Create(CreateArgs {
            id: "web".to_owned(),
            bundle: "/b".into(),
            console_socket: Some("/c".into()),
            pid_file: Some("/p".into()),
            no_pivot: true,
            preserve_fds: 2,
            ..CreateArgs::default()
        })
    );
    let Command::Exec(exec) = command(&["exec", "--process", "/tmp/p", "--detach", "--pid-file", "/p", "web"]) else {
        panic!("exec")
    };
    assert_eq!((exec.process.as_deref(), exec.detach, exec.args.len()), (Some(Path::new("/tmp/p")), true, 0));
    let kill = |signal, all| Command::Kill(KillArgs { id: "web".to_owned(), signal, all });
    assert_eq!(command(&["kill", "--all", "web", "9"]), kill(9, true));
    assert_eq!(command(&["kill", "web", "SIGRTMIN+2"]), kill(36, false));
    assert_eq!(command(&["kill", "web"]), kill(15, false));
    assert_eq!(command(&["kill", "web", "0"]), kill(0, false));
    let deleted = Command::Delete(DeleteArgs { id: "web".to_owned(), force: true });
    assert_eq!(command(&["delete", "--force", "web"]), deleted);
    assert_eq!(command(&["delete", "web", "--force"]), deleted);
    let ps = Command::Ps { id: "web".to_owned(), json: true, options: Vec::new() };
    assert_eq!(command(&["ps", "--format", "json", "web"]), ps);
    let events = Command::Events { id: "web".to_owned(), stats: true, interval: 5_000_000_000 };
    assert_eq!(command(&["events", "--stats", "web"]), events);
}

#[test]
fn exec_has_its_flags_and_the_program_its_own() {
    let args = [
        "exec",
        "-t",
        "-e",
        "A=1",
        "--env=B=",
        "-u",
        "7:8",
        "-g",
        "9",
        "-g=10",
        "--cwd",
        "/w",
        "-c",
        "CAP_KILL",
        "--cgroup",
        "cpu,cpuacct:/a/b",
        "--cgroup=c",
        "--no-new-privs=false",
        "web",
        "ls",
        "-u",
        "x",
    ];
    let Command::Exec(exec) = command(&args) else { panic!("exec") };
    let group = |controllers: &[&str], path: &str| SubCgroup { controllers: words(controllers), path: path.to_owned() };
    let wanted = ExecArgs {
        id: "web".to_owned(),
        args: words(&["ls", "-u", "x"]),
        cwd: Some("/w".to_owned()),
        env: words(&["A=1", "B="]),
        tty: true,
        user: Some((7, Some(8))),
        additional_gids: vec![9, 10],
        no_new_privs: Some(false),
        caps: words(&["CAP_KILL"]),
        cgroups: vec![group(&["cpu", "cpuacct"], "/a/b"), group(&[], "c")],
        ..ExecArgs::default()
    };
    assert_eq!(*exec, wanted);
    assert!(fails(&["exec", "web"]).contains("requires a command"));
    assert!(fails(&["exec", "-p", "f", "web", "ls"]).contains("cannot be given together"));
    assert!(fails(&["exec", "-p", "f", "-u", "1", "web"]).contains("--user and --process"));
    assert!(fails(&["exec", "-u", "root", "web", "ls"]).contains("\"root\" for --user"));
    assert!(fails(&["exec", "-e", "=x", "web", "ls"]).contains("NAME=VALUE"));
    for wrong in ["", ":/x", "cpu:", "a/../../b"] {
        assert!(fails(&["exec", "--cgroup", wrong, "web", "ls"]).contains("--cgroup"), "{wrong:?}");
    }
}

#[test]
fn update_reads_flags_or_a_file() {
    let args = ["update", "--memory", "64m", "--memory-swap", "-1", "--cpu-quota=-1", "--pids-limit", "5", "web"];
    let Command::Update(update) = command(&args) else { panic!("update") };
    let resources = update.resources().unwrap();
    let memory = resources.memory.unwrap();
    assert_eq!((memory.limit, memory.swap, memory.reservation), (Some(64 << 20), Some(-1), None));
    assert_eq!(resources.cpu.unwrap().quota, Some(-1));
    assert_eq!((resources.pids.unwrap().limit, resources.block_io), (Some(5), None));
    let Command::Update(update) = command(&["update", "-r", "-", "web"]) else { panic!("update") };
    assert_eq!(update.source, Some(Source::StandardInput));
    let Command::Update(update) = command(&["update", "-r", "/nowhere/x", "web"]) else { panic!("update") };
    assert!(update.resources().unwrap_err().message.contains("/nowhere/x"));
    assert!(fails(&["update", "-r", "-", "--memory", "1g", "web"]).contains("--memory and --resources"));
    assert!(fails(&["update", "--memory", "12q", "web"]).contains("\"12q\" for --memory"));
    assert!(fails(&["update", "--cpu-idle", "2", "web"]).contains("0 or 1"));
}

#[test]
fn wrong_words_are_named() {
    assert_eq!(fails(&["state"]), "\"state\" requires exactly 1 argument: <container-id>; 0 given");
    assert_eq!(fails(&["list", "x"]), "\"list\" requires exactly 0 arguments; 1 given");
    assert!(fails(&["kill", "a", "KILL", "b"]).contains("a maximum of 2 arguments"));
    assert!(fails(&["ps"]).contains("a minimum of 1 argument"));
    assert!(fails(&["foo", "-h"]).contains("No help topic for 'foo'"));
    assert!(fails(&["--bogus"]).contains("--bogus"));
    assert!(fails(&["checkpoint", "--image-path", "/x", "web"]).contains("not supported"));
    assert!(fails(&["restore"]).contains("not supported"));
    assert!(fails(&["--root", "/", "list"]).contains("--root"));
    assert!(fails(&["--root", "/../.", "list"]).contains("--root"));
    assert!(fails(&["--rootless", "maybe", "list"]).contains("true, false or auto"));
    assert!(fails(&["--log-format", "xml", "list"]).contains("--log-format"));
    assert!(fails(&["list", "-f", "yaml"]).contains("table or json"));
    assert!(fails(&["kill", "web", "FOO"]).contains("\"FOO\""));
    assert!(fails(&["events", "--interval", "0", "web"]).contains("above 0"));
    assert!(fails(&["create", "--preserve-fds", "-1", "web"]).contains("--preserve-fds"));
}

#[test]
fn ids_are_names_of_directories() {
    for good in ["web", "A_b+c-1.2", "...", "-x", &"x".repeat(1024)] {
        assert!(check_id(good).is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "a b", "é", "a\n", &"x".repeat(1025)] {
        assert!(check_id(bad).unwrap_err().message.starts_with("invalid container ID format"), "{bad}");
    }
}

#[test]
fn every_command_has_a_meaning_and_a_help() {
    for spec in table::COMMANDS {
        for flag in ["-h", "--help"] {
            let Command::Show(text) = command(&[spec.name, flag]) else { panic!("{}", spec.name) };
            assert!(text.starts_with(&format!("NAME:\n   bulkhead-runc {} - ", spec.name)), "{text}");
            for flag in spec.flags {
                assert!(text.contains(&format!("--{}", flag.name)), "{text}");
            }
        }
        assert_eq!(command(&["help", spec.name]), command(&[spec.name, "-h"]));
        let args = if spec.name == "exec" { vec![spec.name, "id", "ls"] } else { vec![spec.name, "id"] };
        let args = if spec.least == 0 { vec![spec.name] } else { args };
        assert_eq!(parse(words(&args)).1.is_ok(), spec.refused.is_none(), "{}", spec.name);
    }
    let all =
        |text: Command| matches!(text, Command::Show(text) if text.contains("COMMANDS:") && text.contains("--root"));
    assert!(all(command(&[])) && all(command(&["-h"])) && all(command(&["help"])));
    let Command::Show(version) = command(&["--version"]) else { panic!("version") };
    let starts: Vec<&str> = version.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(starts, ["bulkhead-runc", "commit:", "spec:"]);
}

proptest! {
    /// Words that look like ours in any order are read or refused, and nothing else happens.
    #[test]
    fn any_words_are_read_or_refused(args in prop::collection::vec(
        prop_oneof![
            "[-a-z=:./0-9+]{0,12}",
            ".{0,6}",
            prop::sample::select(table::COMMANDS.iter().map(|spec| spec.name.to_owned()).collect::<Vec<_>>()),
            prop::sample::select(
                table::COMMANDS.iter().flat_map(|spec| spec.flags).map(|flag| format!("--{}", flag.name)).collect::<Vec<_>>()
            ),
            prop::sample::select(
                table::COMMANDS.iter().flat_map(|spec| spec.flags).map(|flag| format!("-{}=1", flag.short)).collect::<Vec<_>>()
            ),
        ],
        0..8,
    )) {
        // A log is a file that would be made.
        prop_assume!(args.iter().all(|arg| !arg.trim_start_matches('-').starts_with("log")));
        if let (_, Err(error)) = parse(args) {
            prop_assert!(!error.message.is_empty() && error.code == 1);
        }
    }
}
