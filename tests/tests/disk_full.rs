//! A disk with little room, and with none: a command does all or nothing and says why, and when there is room again the
//! store is sound and everything works.

use std::process::Command;

use bulkhead_tests::{Bench, Said, binary, is_root, skip};

/// Runs a script in a mount namespace of its own, where `$D/root` is a disk of 12 MiB.
fn on_a_small_disk(bench: &Bench, script: &str) -> Said {
    let setup = "set -u; mkdir -m 700 $D/root; mount -t tmpfs -o size=12m,mode=700 none $D/root
        # Leaves so many KiB free.
        fill() {
            free=$(df --output=avail $D/root | tail -1)
            if [ $free -gt $1 ]; then head -c $(((free - $1) * 1024)) /dev/zero > $D/root/filler 2>/dev/null; fi
        }
        room() { rm -f $D/root/filler; }
        try() { \"$@\" > $D/out 2> $D/err; code=$?; echo \"$code $*\" | sed \"s|$B|B|\"; sed 's/^/ERR /' $D/err; }
        ";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]).arg(format!("{setup}{script}"));
    command.env("B", binary()).env("D", bench.dir.path()).envs(bench.env());
    command.output().expect("unshare starts").into()
}

/// Every command at every size of the room that is left.
const SCRIPT: &str = "
    $B run --rm host true || exit 90
    mkdir $D/files; head -c 30000 /dev/zero > $D/files/zero; tar -C $D/files -cf $D/files.tar .
    $B import $D/files.tar made/image > /dev/null || exit 88
    for left in 0 4 8 12 16 20 28 40 60 100 200; do
        $B create --name made host true > /dev/null || exit 91
        $B run -d --name runs --restart always host sleep 600 > /dev/null || exit 92
        $B run --name ended host sh -c 'echo kept > /opt/file' || exit 93
        $B create --name data made/image /nothing > /dev/null || exit 87
        $B cp $D/files/zero data:/more || exit 86
        fill $left
        try $B create --name new host true
        try $B run --name fresh host true
        try $B run --rm host true
        try $B run -d --name back host sleep 600
        try $B start made
        try $B rename ended over
        try $B update --restart no runs
        try $B exec runs true
        try $B volume create full
        try $B commit data made/other
        try $B cp $D/err ended:/opt/copy
        try $B stop -t 0 runs
        try $B start runs
        try $B rm -f made
        room
        $B ps -a > /dev/null || exit 94
        echo sound; $B system fsck || exit 95
        $B rename over ended 2> /dev/null
        [ \"$($B start -a ended; $B cp ended:/opt/file - | tar xO)\" = kept ] || exit 96
        for c in $($B ps -aq); do $B rm -f $c > /dev/null || exit 97; done
        $B rmi -f made/other > /dev/null 2>&1
        $B volume prune -af > /dev/null
        $B system fsck > /dev/null || exit 99
        [ \"$(ls $D/root/containers $D/run/containers | grep -c .)\" = 2 ] || { ls $D/root/containers $D/run/containers; exit 89; }
    done";

#[test]
fn every_command_does_all_or_nothing_on_a_full_disk() {
    if !is_root() {
        return skip("every_command_does_all_or_nothing_on_a_full_disk", "root: the small disk has to be mounted");
    }
    let bench = Bench::new();
    let said = on_a_small_disk(&bench, SCRIPT);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    let (mut failed, mut done) = (0, 0);
    let mut lines = said.out.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((code, words)) = line.split_once(" B ") else { continue };
        let code: i32 = code.parse().expect("an exit code");
        let mut errors = Vec::new();
        while let Some(error) = lines.next_if(|l| l.starts_with("ERR ")) {
            errors.push(error);
        }
        assert!(code < 128, "{words}: {code} {errors:?}");
        if code == 0 {
            done += 1;
            continue;
        }
        failed += 1;
        let text = errors.join(" ");
        let named = ["No space left", "no space left", "full", "space", "No such", "not running", "in use"];
        assert!(named.iter().any(|n| text.contains(n)), "{words}: {code} without a reason: {text}");
    }
    // Both must have been seen, or the disk was never full, or always.
    assert!(failed > 20 && done > 20, "{failed} failed, {done} done");
}
