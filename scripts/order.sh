#!/bin/bash
# Writes crates/cli/start.ld: which functions a start of a container runs, so that the linker puts them side by side. A
# page of a program is read from memory by an exception of its own, sixteen at once where they lie together.
#
# Wherever a start runs through other code than before, this is worth a run; a list that is old is merely less good. It
# steps through the built program on this machine, an x86_64, and takes a few minutes.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
root || die "containers are started as root"
if [ "${ORDER_OWN_MOUNTS:-}" = "" ] || [ "${ORDER_OWN_MOUNTS:-}" = "$(readlink /proc/self/ns/mnt)" ]; then
    if [ -z "${BULKHEAD:-}" ]; then
        need_cargo
        CARGO_PROFILE_RELEASE_STRIP=none scripts/build.sh
        BULKHEAD=$(built_binary)
    fi
    export BULKHEAD
    ORDER_OWN_MOUNTS=$(readlink /proc/self/ns/mnt) exec unshare --mount --propagation private "$repo/scripts/order.sh"
fi
mount -t tmpfs -o mode=755 order /run
work=$(mktemp -d /var/tmp/bulkhead-order.XXXXXX)
id=order-$$
clean_up() {
    "$work/bulkhead-runc" delete --force "$id" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
mkdir -p "$work/rootfs"/{bin,dev,etc,proc,run,sys,tmp,usr} "$work/bundle"
gcc -O2 -o "$work/steps" benches/steps.c
if have musl-gcc; then cc=musl-gcc; else cc=gcc; fi
"$cc" -static -O2 -o "$work/rootfs/bin/true" benches/true.c
"$cc" -static -O2 -o "$work/rootfs/bin/idle" benches/idle.c
install -m 0755 "$BULKHEAD" "$work/bulkhead-runc"
(cd "$work/bundle" && "$work/bulkhead-runc" spec)
sed -i -e 's|"terminal": true|"terminal": false|' -e 's|"sh"|"/bin/true"|' -e "s|\"path\": \"rootfs\"|\"path\": \"$work/rootfs\"|" \
    "$work/bundle/config.json"

# What each runs is behind what those before it run.
step() { "$work/steps" "$work/$1" "$work/bulkhead-runc" "${@:2}" </dev/null >/dev/null; }
step 1 run -b "$work/bundle" "$id"
step 2 create -b "$work/bundle" "$id"
step 3 start "$id"
step 4 state "$id"
step 5 delete --force "$id"
sed -i 's|"/bin/true"|"/bin/idle"|' "$work/bundle/config.json"
"$work/bulkhead-runc" run -d -b "$work/bundle" "$id" </dev/null >/dev/null 2>&1
step 6 exec "$id" /bin/true
"$work/bulkhead-runc" delete --force "$id"

# What a compiler adds to a name differs between compilers. A name that many functions share without that, of which a
# start runs a few, stands there as it is, and without it at the end, where it does less good with another compiler.
{
    echo "/* Functions that a start of a container runs, in the order in which it comes to them. Made by scripts/order.sh. */"
    echo "SECTIONS {"
    echo "  .text.start : {"
    nm -n "$BULKHEAD" | awk '
        function pattern(name) {
            sub(/17h[0-9a-f]+E/, "17h*E", name)
            gsub(/Cs[0-9A-Za-z]+_/, "Cs*_", name)
            sub(/\.llvm\.[0-9]+$/, "*", name)
            return name
        }
        FNR == NR { if ($2 ~ /^[tT]$/) { at[++n] = $1 ""; name[n] = $3; share[pattern($3)]++ } next }
        {
            address = $1 ""
            low = 1; high = n
            while (low < high) { middle = int((low + high + 1) / 2); if (at[middle] <= address) low = middle; else high = middle - 1 }
            of = pattern(name[low])
            if (share[of] > 4) {
                if (!met[of]++) last[++more] = of
                of = name[low]
                sub(/\.llvm\.[0-9]+$/, "*", of)
            }
            if (!met[of]++) print "    *(.text." of ")"
        }
        END { for (i = 1; i <= more; i++) print "    *(.text." last[i] ")" }' - "$work"/[1-6]
    echo "  }"
    echo "} INSERT BEFORE .text;"
} >"$work/start.ld"
mv "$work/start.ld" crates/cli/start.ld
say "wrote crates/cli/start.ld: $(grep -c '\*(' crates/cli/start.ld) functions"
