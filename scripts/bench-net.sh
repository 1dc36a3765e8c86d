#!/bin/bash
# Times networks of containers of root, in a network namespace that plays the host: throughput and round trips between two
# containers and from the host, against a bare veth pair on a bridge; and what a network adds to a start, with nobody else
# and with many containers there.
#
#   ROUNDS=15         rounds of every measurement
#   MANY=500          containers that are there when starts are timed again; 0 leaves that out
#   OUT=DIR           where the text goes
#   BULKHEAD=FILE     a binary other than the one that is built
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
root || die "containers with bridges are root's"
if [ "${BENCH_OWN_HOST:-}" = "" ] || [ "${BENCH_OWN_HOST:-}" = "$(readlink /proc/self/ns/net)" ]; then
    scripts/setup.sh bench-net
    if [ -z "${BULKHEAD:-}" ]; then
        need_cargo
        scripts/build.sh
        BULKHEAD=$(built_binary)
    fi
    export BULKHEAD
    BENCH_OWN_HOST=$(readlink /proc/self/ns/net) exec unshare --net --mount --propagation private "$repo/scripts/bench-net.sh"
fi
rounds=${ROUNDS:-15} many=${MANY:-500}
out=${OUT:-$CARGO_TARGET_DIR/bench-net}
work=$(mktemp -d /var/tmp/bulkhead-bench.XXXXXX)
mkdir -p "$out" "$work/root" "$work/run"
export BULKHEAD_ROOT=$work/root BULKHEAD_RUN=$work/run
install -m 0755 "$BULKHEAD" "$work/bulkhead"
bh() { "$work/bulkhead" "$@"; }
bare=()
clean_up() {
    for pid in "${bare[@]}"; do kill "$pid" 2>/dev/null || true; done
    # shellcheck disable=SC2046
    bh rm -f $(bh ps -aq) >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
ip link set lo up
if have musl-gcc; then cc=(musl-gcc); else cc=(gcc); fi
"${cc[@]}" -static -O2 -o "$work/interleave" benches/interleave.c

# Two bare namespaces on a bridge: 192.168.250.2 and .3, the host .1.
ip link add bare0 type bridge
ip addr add 192.168.250.1/24 dev bare0
ip link set bare0 up
for n in 2 3; do
    unshare --net sleep 100000 &
    bare+=($!)
    until [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
    ip link add "bare$n" type veth peer name eth0 netns "$!"
    ip link set "bare$n" master bare0 up
    nsenter --net="/proc/$!/ns/net" sh -c "ip link set lo up; ip addr add 192.168.250.$n/24 dev eth0; ip link set eth0 up"
done
inside() { nsenter --net="/proc/${bare[$1]}/ns/net" "${@:2}"; }

bh network create bench >/dev/null
for name in one two; do bh run -d --name "$name" --network bench --memory 1g --cpus 2 host sleep 100000 >/dev/null; done
pid() { bh inspect -f '{{.State.Pid}}' "$1"; }
one=$(pid one) two=$(pid two)
address() { bh inspect -f '{{(index .NetworkSettings.Networks "bench").IPAddress}}' "$1"; }
to=$(address two)
# Both sides the same way, in namespaces that are entered: what is compared is the network.
container() { nsenter --net="/proc/$1/ns/net" "${@:2}"; }

inside 1 iperf3 -s -D >/dev/null
container "$two" iperf3 -s -D >/dev/null
sleep 0.5
rate() { "$@" -t 1 -f m 2>/dev/null | awk '/receiver/ { print $7 }'; }
trip() { "$@" | awk -F/ '/^rtt/ { print $5 }'; }
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
for ((i = 0; i < rounds; i++)); do
    rate inside 0 iperf3 -c 192.168.250.3 >>"$work/bare.cc"
    rate container "$one" iperf3 -c "$to" >>"$work/ours.cc"
    rate iperf3 -c 192.168.250.3 >>"$work/bare.hc"
    rate iperf3 -c "$to" >>"$work/ours.hc"
    trip inside 0 ping -q -i 0.002 -c 300 192.168.250.3 >>"$work/bare.trip"
    trip container "$one" ping -q -i 0.002 -c 300 "$to" >>"$work/ours.trip"
done

ratio() { awk -v a="$(median "$work/$1")" -v b="$(median "$work/$2")" 'BEGIN { printf "%.2f", a / b }'; }
verdict() { awk -v r="$1" -v goal="$2" -v up="$3" 'BEGIN { print (up ? r >= goal : r <= goal) ? "met" : "missed" }'; }
line() {
    local r
    r=$(ratio "$2" "$3")
    printf '%-44s %6s   goal %s %s: %s\n' "$1" "$r" "$([ "$5" = 1 ] && echo 'at least' || echo 'at most')" "$4" "$(verdict "$r" "$4" "$5")"
}
starts() {
    "$work/interleave" -n $((rounds * 2)) -w 2 -r none \
        none "$work/bulkhead" run --rm --network none host true --- \
        default "$work/bulkhead" run --rm host true --- \
        declared "$work/bulkhead" run --rm --network bench host true 2>/dev/null || true
}
report() {
    echo "networks of containers of root, $(date -u +%Y-%m-%d), $rounds rounds, interleaved; ratios of medians to a bare veth on a bridge"
    line "throughput, container to container (TCP)" ours.cc bare.cc 0.98 1
    line "throughput, host to container (TCP)" ours.hc bare.hc 0.98 1
    line "round trip, container to container (ping)" ours.trip bare.trip 1.02 0
    echo
    echo "starts: run --rm host true, with two containers there"
    starts
    if [ "$many" -gt 0 ]; then
        for ((i = 0; i < many; i++)); do bh run -d --memory 8m --network bench host sleep 100000 >/dev/null; done
        echo
        echo "starts: the same with $many containers more on that network"
        starts
    fi
}
report | tee "$out/report.txt"
