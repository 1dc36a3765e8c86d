#!/bin/bash
# Times the start of a container, interleaved, against a minimal C program that does the same kernel work and against
# whatever of runc, crun, bwrap, podman and docker is installed; then the memory of the monitor.
#
#   ROUNDS=25     rounds of every command
#   CONTAINERS=9  containers whose monitors are measured
#   OUT=DIR       where the text and the raw figures go
#   BULKHEAD=FILE a binary other than the one that is built
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
own_host() { root && [ "${BENCH_OWN_HOST:-}" != "" ] && [ "$BENCH_OWN_HOST" != "$(readlink /proc/self/ns/net)" ]; }
if ! own_host; then
    scripts/setup.sh bench
    if [ -z "${BULKHEAD:-}" ]; then
        need_cargo
        scripts/build.sh
        BULKHEAD=$(built_binary)
    fi
    export BULKHEAD
    if root && have unshare; then
        # Networks of containers are made in a network namespace that plays the host.
        BENCH_OWN_HOST=$(readlink /proc/self/ns/net) exec unshare --net --mount --propagation private "$repo/scripts/bench.sh"
    fi
fi
if own_host; then
    ip link set lo up
    # Addresses that podman gives are of networks that end with this.
    if [ ! -d /var/lib/cni ]; then mkdir /var/lib/cni && made_cni=yes; fi
    mount -t tmpfs -o mode=755 tmpfs /var/lib/cni
fi
rounds=${ROUNDS:-25}
containers=${CONTAINERS:-9}

work=$(mktemp -d /var/tmp/bulkhead-bench.XXXXXX)
chmod 755 "$work"
export BULKHEAD_ROOT=$work/store BULKHEAD_RUN=$work/run
bulkhead=$work/bulkhead
install -m 0755 "$BULKHEAD" "$bulkhead"

clean_up() {
    "$bulkhead" ps -aq --no-trunc 2>/dev/null | while read -r id; do "$bulkhead" rm -f "$id" >/dev/null 2>&1 || true; done
    "$bulkhead" rmi -f bench >/dev/null 2>&1 || true
    if [ -n "${docker_image:-}" ]; then docker rmi -f "$docker_image" >/dev/null 2>&1 || true; fi
    end_docker
    podman rm -f -t 0 "bench-idle-$$" >/dev/null 2>&1 || true
    rm -rf "$work" 2>/dev/null || true
    if [ -n "${made_cni:-}" ]; then umount /var/lib/cni && rmdir /var/lib/cni; fi
}
trap clean_up EXIT

# A docker daemon with everything of its own, where none answers: in namespaces that end with it, below a control group
# that is removed. With its usual bridge and rules, if it can have them there.
docker_group=bulkhead-bench-$$
start_docker() {
    root && have docker && have dockerd && have unshare || return 0
    ! timeout 10 docker info >/dev/null 2>&1 || return 0
    docker_dir=$(mktemp -d /var/tmp/bbd.XXXXXX)
    mkdir "$docker_dir/config"
    # podman reads the client's file too, and wants it to be there.
    echo '{}' | tee "$docker_dir/daemon.json" >"$docker_dir/config/config.json"
    export DOCKER_HOST=unix://$docker_dir/sock DOCKER_CONFIG=$docker_dir/config
    docker_network=yes
    try_docker && return 0
    say "note: docker has no network here: $(tail -1 "$docker_dir/log")"
    docker_network=
    try_docker --bridge=none --iptables=false --ip6tables=false --ip-masq=false --userland-proxy=false && return 0
    say "note: a docker daemon of the benchmark's own does not answer: $(tail -1 "$docker_dir/log")"
}
try_docker() {
    setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
        sh -c 'ip link set lo up; exec dockerd "$@"' sh \
        "--host=unix://$docker_dir/sock" "--data-root=$docker_dir/data" "--exec-root=$docker_dir/exec" \
        "--pidfile=$docker_dir/pid" "--config-file=$docker_dir/daemon.json" "--cgroup-parent=/$docker_group" \
        --storage-driver=overlay2 "$@" >"$docker_dir/log" 2>&1 </dev/null &
    docker_pid=$!
    for ((i = 0; i < 300; i++)); do
        if docker version >/dev/null 2>&1; then return 0; fi
        kill -0 "$docker_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    kill -KILL "$docker_pid" 2>/dev/null || true
    return 1
}
end_docker() {
    [ -n "${docker_pid:-}" ] || return 0
    # The daemon is the child of the one that made its namespaces.
    pkill -TERM -P "$docker_pid" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do kill -0 "$docker_pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$docker_pid" 2>/dev/null || true
    wait "$docker_pid" 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -path "*/$docker_group*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$docker_dir"
}

out=${OUT:-$CARGO_TARGET_DIR/bench}
mkdir -p "$out"

# --- what is compared ----------------------------------------------------------------------------------------------

if have musl-gcc; then cc=(musl-gcc); else cc=(gcc); fi
for name in interleave filter true minimal idle; do
    "${cc[@]}" -static -O2 -o "$work/$name" "benches/$name.c"
done

# One root file system for all: a static /bin/true and the directories that engines mount on.
rootfs=$work/rootfs
mkdir -p "$rootfs"/{bin,dev,etc,proc,run,sys,tmp,usr,var/tmp}
install -m 0755 "$work/true" "$rootfs/bin/true"
install -m 0755 "$work/idle" "$rootfs/bin/idle"
chmod 755 "$rootfs"

commands=()
add() {
    [ ${#commands[@]} = 0 ] || commands+=(---)
    commands+=("$@")
}
tries() {
    local name=$1
    shift
    if timeout 60 "$@" >/dev/null 2>"$work/error" </dev/null; then return 0; fi
    say "left out: $name: $(tail -1 "$work/error")"
    return 1
}

# The filter that a container has, for the minimal program.
filter=$work/filter
state() { sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$BULKHEAD_RUN/containers/$1/state.json"; }
id=$("$bulkhead" run -d host sleep 600)
if ! "$work/filter" "$(state "$id" pid)" >"$work/filter.bpf" 2>/dev/null; then
    # As many instructions of no effect, then "allow".
    for ((i = 0; i < 127; i++)); do printf '\x20\0\0\0\0\0\0\0'; done >"$work/filter.bpf"
    printf '\x06\0\0\0\0\0\xff\x7f' >>"$work/filter.bpf"
    say "note: the filter of a container cannot be read here; the minimal program loads one of 128 plain instructions"
fi
filter=$work/filter.bpf
"$bulkhead" rm -f "$id" >/dev/null

if root; then
    layer=$(find "$BULKHEAD_ROOT" -maxdepth 1 -type d -name 'host-*' | head -1)
    mkdir "$work/minimal-own"
    true=$(readlink -f "$(type -P true)")
    tries 'minimal (bare)' "$work/minimal" bare "$rootfs" "$filter" /bin/true &&
        add 'minimal (bare)' "$work/minimal" bare "$rootfs" "$filter" /bin/true
    tries 'minimal (host)' "$work/minimal" host "$layer" "$work/minimal-own" "$filter" "$true" &&
        add 'minimal (host)' "$work/minimal" host "$layer" "$work/minimal-own" "$filter" "$true"
else
    say "left out: the minimal program, which needs root"
fi
tries 'bulkhead sandbox' "$bulkhead" sandbox "$rootfs" /bin/true &&
    add 'bulkhead sandbox' "$bulkhead" sandbox "$rootfs" /bin/true
tar -C "$rootfs" -cf "$work/rootfs.tar" .
if tries 'bulkhead import' "$bulkhead" import "$work/rootfs.tar" bench; then
    bulkhead_image=yes
    tries 'bulkhead run --rm IMAGE' "$bulkhead" run --rm bench /bin/true &&
        add 'bulkhead run --rm IMAGE' "$bulkhead" run --rm bench /bin/true
fi
tries 'bulkhead run --rm host' "$bulkhead" run --rm host true &&
    add 'bulkhead run --rm host' "$bulkhead" run --rm host true

if [ "${bulkhead_image:-}" ] && own_host; then
    tries 'bulkhead run --rm -p' "$bulkhead" run --rm -p 8080:80 bench /bin/true &&
        add 'bulkhead run --rm -p' "$bulkhead" run --rm -p 8080:80 bench /bin/true
fi

# The default bundle of the runtimes: no user namespace and no filter.
bundle=$work/bundle
if have runc || have crun; then
    mkdir -p "$bundle"
    rootless=()
    root || rootless=(--rootless)
    if have runc; then (cd "$bundle" && runc spec "${rootless[@]}"); else (cd "$bundle" && crun spec "${rootless[@]}"); fi
    sed -i -e 's|"terminal": true|"terminal": false|' -e 's|"sh"|"/bin/true"|' \
        -e "s|\"path\": \"rootfs\"|\"path\": \"$rootfs\"|" "$bundle/config.json"
fi
for runtime in runc crun; do
    have "$runtime" || continue
    if tries "$runtime run" "$runtime" run -b "$bundle" "bench-try-$$"; then
        add "$runtime run" "$runtime" run -b "$bundle" @
    elif [ "$runtime" = crun ]; then
        # Old ones refuse a host with both versions of cgroups.
        tries 'crun run (no cgroup)' crun --cgroup-manager=disabled run -b "$bundle" "bench-try-$$" &&
            add 'crun run (no cgroup)' crun --cgroup-manager=disabled run -b "$bundle" @
    fi
done
if have bwrap; then
    isolated=(bwrap --unshare-all --die-with-parent --new-session --uid 0 --gid 0 --cap-drop ALL --ro-bind "$rootfs" / --proc /proc
        --dev /dev --tmpfs /tmp --tmpfs /run)
    tries bwrap "${isolated[@]}" /bin/true && add bwrap "${isolated[@]}" /bin/true
fi
if have podman; then
    for runtime in crun runc; do
        have "$runtime" || continue
        # --ulimit: its own defaults can be more than the caller may give.
        rooted=(podman --log-level=error --runtime "$runtime" run --rm --network=none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --rootfs "$rootfs" /bin/true)
        if tries "podman run --rm, with $runtime" "${rooted[@]}"; then
            add 'podman run --rm' "${rooted[@]}"
            with_port=("${rooted[@]/--network=none/--publish=8082:80}")
            if own_host && tries "podman run --rm -p, with $runtime" "${with_port[@]}"; then
                add 'podman run --rm -p' "${with_port[@]}"
            fi
            break
        fi
    done
fi
start_docker
if have docker && timeout 10 docker info >/dev/null 2>&1; then
    docker_image=bulkhead-bench-$$
    docker import "$work/rootfs.tar" "$docker_image" >/dev/null
    tries 'docker run --rm' docker run --rm --network=none "$docker_image" /bin/true &&
        add 'docker run --rm' docker run --rm --network=none "$docker_image" /bin/true
    # Of a daemon of the machine nothing is changed.
    if [ "${docker_pid:-}" ] && [ "${docker_network:-}" ]; then
        tries 'docker run --rm -p' docker run --rm -p 8081:80 "$docker_image" /bin/true &&
            add 'docker run --rm -p' docker run --rm -p 8081:80 "$docker_image" /bin/true
    fi
fi

# One more program in a container that runs.
if "$bulkhead" run -d --name bench-idle bench /bin/idle >/dev/null 2>"$work/error"; then
    tries 'bulkhead exec' "$bulkhead" exec bench-idle /bin/true && add 'bulkhead exec' "$bulkhead" exec bench-idle /bin/true
fi
if [ -n "${docker_image:-}" ] && docker run -d --name bench-idle --network=none "$docker_image" /bin/idle >/dev/null 2>"$work/error"; then
    tries 'docker exec' docker exec bench-idle /bin/true && add 'docker exec' docker exec bench-idle /bin/true
fi
if have podman && [ -n "${rooted+x}" ]; then
    idle=("${rooted[@]/--rm/-d}")
    idle=("${idle[@]/\/bin\/true//bin/idle}")
    if timeout 60 "${idle[@]:0:5}" --name "bench-idle-$$" "${idle[@]:5}" >/dev/null 2>"$work/error"; then
        tries 'podman exec' podman --log-level=error exec "bench-idle-$$" /bin/true &&
            add 'podman exec' podman --log-level=error exec "bench-idle-$$" /bin/true
    fi
fi

# --- the figures ---------------------------------------------------------------------------------------------------

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : int((v[NR / 2] + v[NR / 2 + 1]) / 2)) }'; }

report() {
    echo "bulkhead bench, $(date -u +%Y-%m-%d), $rounds rounds, interleaved"
    echo "$(uname -s) $(uname -r | cut -d- -f1) $(uname -m), $(nproc) CPUs, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), load $(cut -d' ' -f1-3 /proc/loadavg), $(if root; then echo root; else echo 'ordinary user'; fi)"
    for tool in runc crun bwrap podman docker; do
        if have "$tool"; then echo "$tool: $("$tool" --version 2>/dev/null | head -1)"; fi
    done
    "$bulkhead" --version
    echo
    "$work/interleave" -n "$rounds" -w 2 -r 'minimal (bare)' -r 'minimal (host)' -r 'runc run' -o "$out/raw.csv" "${commands[@]}"
    echo
    echo 'CPU is user and system time of a command and all that it started; of docker it is the client alone.'
    echo 'runc and crun run their default bundle, which has no user namespace and no filter.'
    echo 'With -p a container has the default network of its engine and a published port; bulkhead, podman and docker without'
    echo 'it: podman and docker have no network, bulkhead has its default one.'
    echo
    local ids=() private='' dirty='' id pid
    for ((i = 0; i < containers; i++)); do ids+=("$("$bulkhead" run -d host sleep 600)"); done
    sleep 1
    for id in "${ids[@]}"; do
        pid=$(state "$id" monitor)
        private+=$(awk '/^Private_(Clean|Dirty):/ { kb += $2 } END { print kb }' "/proc/$pid/smaps_rollup")$'\n'
        dirty+=$(awk '/^Private_Dirty:/ { kb += $2 } END { print kb }' "/proc/$pid/smaps_rollup")$'\n'
    done
    echo "monitor: $(printf %s "$private" | median) KiB private memory, of it $(printf %s "$dirty" | median) KiB written (median of $containers)"
    for id in "${ids[@]}"; do "$bulkhead" rm -f "$id" >/dev/null; done
    # The process that docker keeps for each container.
    shim=''
    if [ -n "${docker_pid:-}" ]; then
        for pid in $(pgrep -f "containerd-shim.*$docker_dir" || true); do
            shim+=$(awk '/^Private_(Clean|Dirty):/ { kb += $2 } END { print kb }' "/proc/$pid/smaps_rollup" 2>/dev/null || true)$'\n'
        done
        shim=$(printf %s "$shim" | grep -E '^[1-9]' | median || true)
        [ -z "$shim" ] || echo "docker's shim: $shim KiB private memory"
    fi
    echo
    # Goals are about medians in one run on one machine.
    awk -F, '
        NR > 1 { n[$1]++; wall[$1, n[$1]] = $3 }
        function median(name,    i, j, t, v, k) {
            k = n[name]
            for (i = 1; i <= k; i++) v[i] = wall[name, i]
            for (i = 2; i <= k; i++) { t = v[i]; for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]; v[j + 1] = t }
            return k % 2 ? v[(k + 1) / 2] : (v[k / 2] + v[k / 2 + 1]) / 2
        }
        function goal(a, b, most,    r) {
            if (!n[a] || !n[b]) return
            r = median(a) / median(b)
            printf "goal: %s / %s <= %.2f: %.2f, %s\n", a, b, most, r, r <= most ? "met" : "MISSED"
        }
        END {
            goal("bulkhead sandbox", "minimal (bare)", 1.3)
            goal("bulkhead sandbox", "runc run", 0.35)
            goal("bulkhead run --rm host", "docker run --rm", 0.1)
            goal("bulkhead run --rm host", "podman run --rm", 0.15)
            goal("bulkhead run --rm IMAGE", "docker run --rm", 0.1)
            goal("bulkhead run --rm IMAGE", "podman run --rm", 0.15)
            goal("bulkhead run --rm -p", "docker run --rm -p", 0.1)
            goal("bulkhead run --rm -p", "podman run --rm -p", 0.15)
            goal("bulkhead exec", "docker exec", 0.15)
        }' "$out/raw.csv"
    echo "goal: monitor <= 1024 KiB: $(printf %s "$private" | median), $([ "$(printf %s "$private" | median)" -le 1024 ] && echo met || echo MISSED)"
    if [ -n "$shim" ]; then
        awk -v a="$(printf %s "$private" | median)" -v b="$shim" 'BEGIN {
            printf "goal: monitor / docker shim <= 0.10: %.3f, %s\n", a / b, a / b <= 0.1 ? "met" : "MISSED" }'
    fi
}
report | tee "$out/report.txt"
say "raw figures: $out/raw.csv"
