#!/bin/bash
# All checks: format, lints, unit tests, then the built program as root and as an ordinary user.
# `test.sh lint` stops after the lints.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
need_cargo
unset BULKHEAD_BIN BULKHEAD_ROOT BULKHEAD_RUN
[ "${1:-}" = lint ] || scripts/setup.sh test

logs=$CARGO_TARGET_DIR/test-logs
mkdir -p "$logs"
failed_steps=()
passed=0 failed=0 skipped=0

heading() { printf '\n== %s\n' "$*"; }

# The lines of a log that a reader wants when all went well.
brief() { grep -E '^ +(Running|Doc-tests|Compiling|Finished) |^test result: |^SKIPPED |^test .*(FAILED|ignored)' "$1" || true; }

# Adds up what a log says. A skip passes in the harness, and is no pass here.
count() {
    local p f i s
    read -r p f i < <(awk '/^test result: / { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$1")
    s=$(grep -c '^SKIPPED ' "$1" || true)
    passed=$((passed + p - s)) failed=$((failed + f)) skipped=$((skipped + i + s))
}

# step NAME COMMAND…: runs one step to a log of its own; a failure is remembered and shown in full.
step() {
    local name=$1 start=$SECONDS code=0
    shift
    "$@" >"$logs/$name.log" 2>&1 </dev/null || code=$?
    tell "$name" "$code" "$start"
}

tell() {
    local name=$1 code=$2 start=$3 log=$logs/$1.log
    count "$log"
    if [ "$code" = 0 ]; then
        brief "$log"
        printf -- '-- %s: ok, %d s\n' "$name" $((SECONDS - start))
    else
        cat "$log"
        [ "$code" != 124 ] && [ "$code" != 137 ] || echo "it took too long and was ended"
        printf -- '-- %s: FAILED (exit code %d), %d s\n' "$name" "$code" $((SECONDS - start))
        failed_steps+=("$name")
        # A step can fail without a failed test: a build, a lint, a crash.
        grep -q '^test result: FAILED' "$log" || failed=$((failed + 1))
    fi
}

# begin NAME COMMAND…: as step, beside what comes next; `step NAME await` waits for it. What is compiled for the release is
# compiled by one processor for most of the time.
begin() {
    begun=$logs/$1.begun
    "${@:2}" >"$begun" 2>&1 </dev/null &
    begun_pid=$!
}

await() {
    local code=0
    wait "$begun_pid" || code=$?
    begun_pid=
    cat "$begun"
    return "$code"
}

clean_up() {
    if [ -n "${begun_pid:-}" ]; then
        pkill -TERM -P "$begun_pid" 2>/dev/null || true
        kill "$begun_pid" 2>/dev/null || true
    fi
    [ -z "${scratch:-}" ] || rm -rf "$scratch" 2>/dev/null || true
}
trap clean_up EXIT

check() {
    local before=${#failed_steps[@]}
    step "$@"
    [ "${#failed_steps[@]}" -gt "$before" ] || passed=$((passed + 1))
}

finish() {
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    if [ ${#failed_steps[@]} -gt 0 ]; then
        echo "failed: ${failed_steps[*]}"
        exit 1
    fi
    exit 0
}

[ "${1:-}" = lint ] || begin build scripts/build.sh

heading "format and lints"
check format cargo fmt --all --check
check lints cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
if have cargo-deny; then check licenses cargo deny --offline check bans licenses sources; fi
[ "${1:-}" != lint ] || finish

heading "unit tests"
step unit cargo test --locked --no-fail-fast --workspace --exclude bulkhead-tests

heading "the program"
check build await
binary=$(built_binary)
[ -x "$binary" ] || finish

# --- the same suite, as root and as an ordinary user ---------------------------------------------------------------

# A place whose file system can hold an overlay's upper directory.
scratch_base() {
    local dir
    for dir in "${TMPDIR:-}" /tmp /var/tmp /dev/shm; do
        if [ -n "$dir" ] && [ -w "$dir" ] && [ "$(stat -f -c %T "$dir")" != overlayfs ]; then
            echo "$dir"
            return
        fi
    done
    die "no directory for the tests' stores: /tmp and /var/tmp are on an overlay file system; set TMPDIR"
}

scratch=$(mktemp -d "$(scratch_base)/bulkhead-suite.XXXXXX")
chmod 755 "$scratch"
install -m 0755 "$binary" "$scratch/bulkhead"

# What is slow to make, like a root file system of packages, is kept outside the tree.
if root; then cache=/var/cache/bulkhead-tests; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead-tests; fi
mkdir -p "$cache"
chmod 755 "$cache" 2>/dev/null || true

# Builds the test executables of the workspace in $1 and copies them to $2.
build_suite() {
    local list=$scratch/executables
    mkdir -p "$2"
    (cd "$1" && cargo test --locked -p bulkhead-tests --no-run --message-format=json-render-diagnostics) >"$list" || return
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$list" | while read -r file; do
        name=$(basename "$file")
        install -m 0755 "$file" "$2/${name%-*}"
        echo "${name%-*}"
    done >"$2.names"
    [ -s "$2.names" ]
}

# run_suite WHO DIRECTORY PACKAGE PREFIX…: every executable named on standard input, in the package's directory, by the
# command PREFIX. Tests put helpers beside the executables, so the directory's own list is longer.
run_suite() {
    local who=$1 dir=$2 package=$3 name
    shift 3
    while read -r name; do
        step "$who-$name" timeout -k 10 "${TEST_TIMEOUT:-900}" "$@" \
            sh -c 'cd "$1" && shift && exec "$@"' sh "$package" "$dir/$name" --show-output
    done
}

heading "the program's tests: build"
check suite-build build_suite "$repo" "$scratch/suite"

common=(env "BULKHEAD_BIN=$scratch/bulkhead" "BULKHEAD_TEST_CACHE=$cache" "CARGO_MANIFEST_DIR=$repo/tests" RUST_BACKTRACE=0)

if ! root; then
    heading "the program's tests, as $(id -un)"
    mkdir "$scratch/tmp"
    run_suite user "$scratch/suite" "$repo/tests" "${common[@]}" "TMPDIR=$scratch/tmp" <"$scratch/suite.names"
    echo
    echo "NOT RUN: the program's tests as root; run make test as root for them"
    finish
fi

# An account with subordinate ids. It stays, so that runs at the same time do not take it from each other.
user=bulkhead-test
ensure_user() {
    if ! id "$user" >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /bin/sh "$user" || id "$user"
    fi
    local file start
    for file in /etc/subuid /etc/subgid; do
        grep -qs "^$user:" "$file" && continue
        start=$(awk -F: '$2 + $3 > end { end = $2 + $3 } END { print (end > 524288 ? end : 524288) }' "$file" 2>/dev/null || echo 524288)
        echo "$user:$start:65536" >>"$file"
    done
}

check test-user ensure_user

# Bridges of containers on this machine itself: the tests have networks of their own.
bridges() { grep -l "^INTERFACE=bh-" /sys/class/net/bh-*/uevent 2>/dev/null || true; }
bridges_before=$(bridges)

heading "the program's tests, as root"
mkdir "$scratch/tmp-root"
run_suite root "$scratch/suite" "$repo/tests" "${common[@]}" "TMPDIR=$scratch/tmp-root" <"$scratch/suite.names"
check network-left-alone test "$(bridges)" = "$bridges_before"

heading "the program's tests, as an ordinary user"
if id "$user" >/dev/null 2>&1; then
    group=$(id -g "$user")
    for dir in home run tmp-user; do install -d -m 0700 -o "$user" -g "$group" "$scratch/$dir"; done
    as_user=(setpriv "--reuid=$user" "--regid=$group" --clear-groups --inh-caps=-all)
    user_suite=$scratch/suite user_package=$repo/tests
    if ! "${as_user[@]}" test -r "$repo/tests/Cargo.toml"; then
        # The user cannot read this tree: the suite is built again from a copy that he can.
        mkdir "$scratch/tree"
        tar -C "$repo" --exclude=./target --exclude=./.git -c . | tar -C "$scratch/tree" -x --no-same-owner
        chmod -R a+rX "$scratch/tree"
        check suite-build-copy build_suite "$scratch/tree" "$scratch/suite-user"
        user_suite=$scratch/suite-user user_package=$scratch/tree/tests
    fi
    # Helpers that root's run left are not taken over.
    install -d -m 0755 -o "$user" -g "$group" "$scratch/for-user"
    while read -r name; do install -m 0755 "$user_suite/$name" "$scratch/for-user/"; done <"$user_suite.names"
    # What reads the sources was proven above.
    grep -vxE 'architecture|bulkhead_tests' "$user_suite.names" >"$scratch/user.names"
    run_suite user "$scratch/for-user" "$user_package" "${as_user[@]}" env -i "${common[@]:1}" "CARGO_MANIFEST_DIR=$user_package" \
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LC_ALL=C.UTF-8 "USER=$user" "LOGNAME=$user" \
        "HOME=$scratch/home" "XDG_RUNTIME_DIR=$scratch/run" "TMPDIR=$scratch/tmp-user" <"$scratch/user.names"
else
    echo "NOT RUN: no ordinary user could be made"
fi
finish
