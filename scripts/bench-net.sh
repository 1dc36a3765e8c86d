#!/bin/bash
# Times networks of containers in a network namespace that plays the host: throughput and round trips between two containers
# and from the host, against a bare veth pair on a bridge; what a network adds to a start, against what the kernel takes for
# the same, with nobody else and with many containers there; and the way out of an ordinary user, against bare pasta.
#
#   ROUNDS=31         rounds of every measurement of traffic
#   STARTS=41         starts of each kind
#   MANY=500          containers that are there when starts are timed again; 0 leaves that out
#   PARTS='links starts rootless'   what is measured
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
rounds=${ROUNDS:-31} starts=${STARTS:-41} many=${MANY:-500} parts=${PARTS:-links starts rootless}
out=${OUT:-$CARGO_TARGET_DIR/bench-net}
work=$(mktemp -d /var/tmp/bulkhead-bench.XXXXXX)
chmod 755 "$work"
mkdir -p "$out" "$work/root" "$work/run"
# As /run is.
mount -t tmpfs -o mode=755 tmpfs "$work/run"
export BULKHEAD_ROOT=$work/root BULKHEAD_RUN=$work/run
install -m 0755 "$BULKHEAD" "$work/bulkhead"
bh() { "$work/bulkhead" "$@"; }
account=bulkhead-test
as_user=(setpriv --reuid=$account --regid=$account --clear-groups --inh-caps=-all env -i "PATH=$PATH" "HOME=$work/user"
    "BULKHEAD_ROOT=$work/user/root" "BULKHEAD_RUN=$work/user/run")
bare=()
clean_up() {
    # The first process of a process namespace, as pasta makes one, ends by this alone.
    for pid in "${bare[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null
    # shellcheck disable=SC2046
    bh rm -f $(bh ps -aq) >/dev/null 2>&1 || true
    if [ -d "$work/user" ]; then
        "${as_user[@]}" "$work/bulkhead" rm -f out >/dev/null 2>&1 || true
        # The keeper of a user's network stays for ten seconds.
        for ((i = 0; i < 150; i++)); do
            pgrep -u $account -f network-keeper --ns $$ --nslist net >/dev/null || break
            sleep 0.1
        done
    fi
    umount -l "$work/run" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
ip link set lo up
if have musl-gcc; then cc=(musl-gcc); else cc=(gcc); fi
for name in interleave traffic minimal_net true; do "${cc[@]}" -static -O2 -o "$work/$name" "benches/$name.c"; done

# A namespace with a process in it, which `made` is the id of.
space() {
    unshare --net sleep 100000 >/dev/null 2>&1 &
    made=$!
    bare+=("$made")
    until [ "$(readlink "/proc/$made/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
    within "$made" ip link set lo up
}
within() { nsenter --net="/proc/$1/ns/net" "${@:2}"; }
net_of() { echo "/proc/$1/ns/net"; }
bh_pid() { bh inspect -f '{{.State.Pid}}' "$1"; }

# A bridge in the namespace $1 that is $2.1, with two namespaces on it, $2.2 and $2.3, which `ends` are the ids of.
bare_bridge() {
    local host=$1 net=$2 n
    within "$host" sh -c "ip link add bare0 type bridge; ip addr add $net.1/24 dev bare0; ip link set bare0 up"
    ends=()
    for n in 2 3; do
        space
        ends+=("$made")
        within "$host" sh -c "ip link add bare$n type veth peer name eth0 netns $made; ip link set bare$n master bare0 up"
        within "$made" sh -c "ip addr add $net.$n/24 dev eth0; ip link set eth0 up"
    done
}

# --- traffic -----------------------------------------------------------------------------------------------------------

verdict() { awk -v r="$1" -v goal="$2" 'BEGIN { printf "goal at least %s: %s", goal, r >= goal ? "met" : "missed" }'; }
# One figure of ours as a ratio to bare, the better the greater: of a round trip the time is below.
figure() {
    local kind=$1 way=$2 text=$3 ratio
    ratio=$(awk -v kind="$kind" -v way="$way" '$1 == kind && $2 == way { print kind == "stream" ? $4 : 1 / $4 }' "$work/figures")
    printf '  %-46s %6.3f   %s\n' "$text" "$ratio" "$(verdict "$ratio" 0.98)"
}
measured() {
    "$work/traffic" -n "$rounds" -t 300 -m 100 -k "$@" >"$work/figures"
    cat "$work/figures" >>"$out/traffic.txt"
}
between() {
    local to=$1 where=$2 other=$3 i
    measured stup -f \
        bare.cc "$(net_of "${ends[0]}")" "$(net_of "${ends[1]}")" "$to.3" - --- \
        ours.cc "$(net_of "$one")" "$(net_of "$two")" "$address" bare.cc --- \
        bare.hc "$(net_of "$other")" "$(net_of "${ends[1]}")" "$to.3" - --- \
        ours.hc "$(net_of $$)" "$(net_of "$two")" "$address" bare.hc
    echo "against a bare veth on a bridge $where:"
    for i in cc:'container to container' hc:'host to container'; do
        figure stream "ours.${i%%:*}" "${i#*:}, throughput (TCP)"
        figure tcp "ours.${i%%:*}" "${i#*:}, round trip (TCP)"
        figure udp "ours.${i%%:*}" "${i#*:}, round trip (UDP)"
        figure ping "ours.${i%%:*}" "${i#*:}, round trip (ping)"
    done
}
links() {
    local other apart here name
    space
    other=$made
    bare_bridge "$other" 192.168.250
    apart=("${ends[@]}")
    bare_bridge $$ 192.168.251
    here=("${ends[@]}")
    bh network create bench >/dev/null
    for name in one two; do bh run -d --name "$name" --network bench host sleep 100000 >/dev/null; done
    one=$(bh_pid one) two=$(bh_pid two)
    address=$(bh inspect -f '{{(index .NetworkSettings.Networks "bench").IPAddress}}' two)
    : >"$out/traffic.txt"
    if [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ]; then
        echo "frames between ports of a bridge go through the host's packet filter (br_netfilter), as beside Docker"
        ends=("${here[@]}")
        between 192.168.251 'of the same host' $$
        ends=("${apart[@]}")
        between 192.168.250 'of a host without any packet filter' "$other"
        for name in iptables ip6tables arptables; do
            for pid in $$ "$other"; do within "$pid" sh -c "echo 0 >/proc/sys/net/bridge/bridge-nf-call-$name"; done
        done
        echo
    fi
    echo "frames between ports of a bridge do not go through the host's packet filter, as is usual"
    ends=("${here[@]}")
    between 192.168.251 'of the same host' $$
    ends=("${apart[@]}")
    between 192.168.250 'of a host without any packet filter' "$other"
    bh rm -f one two >/dev/null
}

# --- starts ------------------------------------------------------------------------------------------------------------

timed() {
    local bridge=$1
    "$work/interleave" -n "$starts" -w 3 -r none -o "$work/starts.csv" \
        process "$work/true" --- \
        namespace "$work/minimal_net" none --- \
        kernel "$work/minimal_net" net "$bridge" 172.31.255.1 172.31.255.201 --- \
        none "$work/bulkhead" run --rm --network none host true --- \
        default "$work/bulkhead" run --rm host true --- \
        declared "$work/bulkhead" run --rm --network bench host true || true
    # The share of a network: what a start with one takes beyond one without, in what the kernel takes.
    awk -F, '
        NR > 1 { n[$1]++; value["wall", $1, n[$1]] = $3; value["CPU", $1, n[$1]] = $4 }
        function sorted(what, name, v,    i, j, t) {
            for (i = 1; i <= n[name]; i++) v[i] = value[what, name, i]
            for (i = 2; i <= n[name]; i++) { t = v[i]; for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]; v[j + 1] = t }
        }
        function figure(what, name,    v, k) {
            k = n[name]
            sorted(what == "CPU" ? "CPU" : "wall", name, v)
            if (what == "least") return v[1]
            return k % 2 ? v[(k + 1) / 2] : (v[k / 2] + v[k / 2 + 1]) / 2
        }
        function ratio(what, from, to) {
            return (figure(what, from) - figure(what, "none")) / (figure(what, "kernel") - figure(what, to))
        }
        function share(what, from, to,    r, c) {
            if (!n[from] || !n[to] || !n["none"] || !n["kernel"]) return
            r = ratio("wall", from, to)
            c = ratio("CPU", from, to)
            printf "  %-58s wall %5.2f, least %5.2f, CPU %5.2f   goal at most 1.2: %s\n", what, r, \
                ratio("least", from, to), c, r <= 1.2 && c <= 1.2 ? "met" : "missed"
        }
        END {
            share("default / namespace, pair of links and rules", "default", "process")
            share("declared, with names / namespace, pair of links and rules", "declared", "process")
            share("default / pair of links and rules alone", "default", "namespace")
            share("declared, with names / pair of links and rules alone", "declared", "namespace")
        }' "$work/starts.csv"
}
start_times() {
    local id i
    bh network inspect bench >/dev/null 2>&1 || bh network create bench >/dev/null
    bh network create --subnet 172.31.255.0/24 kernel >/dev/null
    bh run -d --network kernel host sleep 100000 >/dev/null
    id=$(bh network inspect -f '{{.Id}}' kernel)
    echo "starts: run --rm host true, and the network's share in what the kernel takes for the same"
    timed "bh-${id:0:12}"
    [ "$many" -gt 0 ] || return 0
    for ((i = 0; i < many; i++)); do bh run -d --memory 8m --network bench host sleep 100000 >/dev/null; done
    echo
    echo "starts: the same with $many containers more on the declared network"
    timed "bh-${id:0:12}"
    # shellcheck disable=SC2046
    bh rm -f $(bh ps -aq) >/dev/null
}

# --- an ordinary user --------------------------------------------------------------------------------------------------

rootless() {
    local outside pasta user
    if ! id $account >/dev/null 2>&1 || ! have pasta || [ ! -e /dev/net/tun ]; then
        echo "left out: an ordinary user's networks, for want of the account $account, of pasta or of /dev/net/tun"
        return 0
    fi
    mount -t tmpfs -o mode=755 tmpfs /dev/net
    mknod -m 666 /dev/net/tun c 10 200
    space
    outside=$made
    # Two ends with the same number are a second late to know that they are connected.
    ip link add lan0 index 1000 type veth peer name lan0 netns "$outside"
    ip addr add 192.0.2.1/24 dev lan0
    ip link set lan0 up
    within "$outside" sh -c 'ip addr add 192.0.2.2/24 dev lan0; ip link set lan0 up'
    ip route add default via 192.0.2.2
    mkdir "$work/user"
    chown $account: "$work/user"
    # As ours starts it: the same size of packets, nothing forwarded inwards.
    "${as_user[@]}" pasta --foreground --quiet --config-net --no-map-gw -t none -u none -T none -U none --mtu 65520 \
        sleep 100000 >/dev/null 2>&1 &
    bare+=($!)
    pasta=""
    for ((i = 0; i < 100; i++)); do
        pasta=$(pgrep -P "${bare[-1]}" -x sleep || true)
        if [ -n "$pasta" ] && within "$pasta" ip route 2>/dev/null | grep -q ^default; then break; fi
        sleep 0.1
    done
    bare+=("$pasta")
    "${as_user[@]}" "$work/bulkhead" run -d --name out host sleep 100000 >/dev/null
    user=$("${as_user[@]}" "$work/bulkhead" inspect -f '{{.State.Pid}}' out)
    measured stu -m 300 \
        pasta "$(net_of "$pasta")" "$(net_of "$outside")" 192.0.2.2 - --- \
        ours "$(net_of "$user")" "$(net_of "$outside")" 192.0.2.2 pasta
    echo "out of a container of an ordinary user, against bare pasta with packets of the same size:"
    for i in stream:'throughput (TCP)' tcp:'round trip (TCP)' udp:'round trip (UDP)'; do
        figure "${i%%:*}" ours "${i#*:}"
    done
}

report() {
    echo "networks of containers, $(date -u +%Y-%m-%d), $rounds rounds of traffic, $starts of starts, interleaved; load $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "$(uname -s) $(uname -r | cut -d- -f1) $(uname -m), $(nproc) CPUs, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
    echo "traffic: medians of the ratios of each round, the more the better; starts: ratios of differences of medians"
    for part in $parts; do
        echo
        case $part in
        links) links ;;
        starts) start_times ;;
        rootless) rootless ;;
        *) die "PARTS names $part; links, starts and rootless are known" ;;
        esac
    done
}
# Not in a pipe: what it starts is ended by this shell.
report > >(tee "$out/report.txt")
sleep 0.2
