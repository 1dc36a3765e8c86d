#!/bin/bash
# Times bulkhead-runc against what is installed of crun, runc and youki, interleaved, with the bundle that `spec` writes:
# run, exec, and the peak memory of create; and against a minimal C program that does the same kernel work.
#
#   ROUNDS=41             rounds of every command
#   OUT=DIR               where the text and the raw figures go
#   BULKHEAD=FILE         a binary other than the one that is built
#   RUNTIMES='NAME=FILE'  more runtimes, or others than those on the PATH
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
root || die "the runtimes are compared as root"
if [ "${BENCH_OWN_MOUNTS:-}" = "" ] || [ "${BENCH_OWN_MOUNTS:-}" = "$(readlink /proc/self/ns/mnt)" ]; then
    scripts/setup.sh bench
    if [ -z "${BULKHEAD:-}" ]; then
        need_cargo
        scripts/build.sh
        BULKHEAD=$(built_binary)
    fi
    export BULKHEAD
    # In mounts of its own: state lies on a tmpfs, as on a host whose /run is one, and crun, which refuses a host with
    # both versions of control groups, sees one.
    BENCH_OWN_MOUNTS=$(readlink /proc/self/ns/mnt) exec unshare --mount --propagation private "$repo/scripts/bench-oci.sh"
fi
mount -t tmpfs -o mode=755 bench /run
[ ! -d /sys/fs/cgroup/unified ] || mount -t tmpfs -o mode=755 bench /sys/fs/cgroup/unified

rounds=${ROUNDS:-41}
out=${OUT:-$CARGO_TARGET_DIR/bench-oci}
work=$(mktemp -d /var/tmp/bulkhead-bench.XXXXXX)
mkdir -p "$out" "$work/rootfs"/{bin,dev,etc,proc,run,sys,tmp,usr} "$work/bundle" "$work/idle-bundle"
declare -A path=()
names=()
clean_up() {
    for name in "${names[@]}"; do "${path[$name]}" delete --force "bench-idle-$$-$name" >/dev/null 2>&1 || true; done
    rm -rf "$work"
}
trap clean_up EXIT

install -m 0755 "$BULKHEAD" "$work/bulkhead-runc"
if have musl-gcc; then cc=(musl-gcc); else cc=(gcc); fi
for name in interleave true idle minimal_oci; do "${cc[@]}" -static -O2 -o "$work/$name" "benches/$name.c"; done
install -m 0755 "$work/true" "$work/idle" "$work/rootfs/bin/"

bundle() {
    (cd "$1" && "$work/bulkhead-runc" spec)
    # Some know no newer version; nothing in it is newer.
    sed -i -e 's|"ociVersion": "[^"]*"|"ociVersion": "1.0.2"|' -e 's|"terminal": true|"terminal": false|' -e "s|\"sh\"|\"$2\"|" -e "s|\"path\": \"rootfs\"|\"path\": \"$work/rootfs\"|" \
        "$1/config.json"
}
bundle "$work/bundle" /bin/true
bundle "$work/idle-bundle" /bin/idle

add_runtime() {
    local name=$1 file=$2
    if timeout 60 "$file" run -b "$work/bundle" "bench-try-$$" >/dev/null 2>"$work/error" </dev/null; then
        names+=("$name")
        path[$name]=$file
    else
        say "left out: $name: $(tail -1 "$work/error")"
        "$file" delete --force "bench-try-$$" >/dev/null 2>&1 || true
    fi
}
add_runtime bulkhead-runc "$work/bulkhead-runc"
for name in crun runc youki; do
    if have "$name"; then add_runtime "$name" "$(command -v "$name")"; fi
done
for pair in ${RUNTIMES:-}; do add_runtime "${pair%%=*}" "${pair#*=}"; done

references=(-r minimal)
for name in "${names[@]}"; do [ "$name" = bulkhead-runc ] || references+=(-r "$name"); done
compare() {
    "$work/interleave" -n "$rounds" -w 3 "${references[@]}" -o "$out/$1.csv" "${commands[@]}" 2>/dev/null
    echo
}
add() {
    [ ${#commands[@]} = 0 ] || commands+=(---)
    commands+=("$@")
}

report() {
    echo "bulkhead-runc, $(date -u +%Y-%m-%d), $rounds rounds, interleaved"
    echo "$(uname -s) $(uname -r | cut -d- -f1) $(uname -m), $(nproc) CPUs, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), load $(cut -d' ' -f1-3 /proc/loadavg)"
    for name in "${names[@]}"; do echo "$name: $("${path[$name]}" --version 2>/dev/null | head -1)"; done
    echo
    echo "run of the default bundle with a static /bin/true"
    commands=()
    add minimal "$work/minimal_oci" "$work/rootfs" /bin/true
    for name in "${names[@]}"; do add "$name" "${path[$name]}" run -b "$work/bundle" @; done
    compare run
    echo "exec of a static /bin/true in a container that runs"
    commands=()
    for name in "${names[@]}"; do
        if "${path[$name]}" run -d -b "$work/idle-bundle" "bench-idle-$$-$name" >/dev/null 2>&1 </dev/null; then
            add "$name" "${path[$name]}" exec "bench-idle-$$-$name" /bin/true
        fi
    done
    compare exec
    for name in "${names[@]}"; do "${path[$name]}" delete --force "bench-idle-$$-$name" >/dev/null 2>&1 || true; done
    echo "create, then delete --force: for the peak memory"
    commands=()
    for name in "${names[@]}"; do
        add "$name" sh -c '"$1" create -b "$2" "$3" && "$1" delete --force "$3"' sh "${path[$name]}" "$work/bundle" @
    done
    compare create
}
report | tee "$out/report.txt"
