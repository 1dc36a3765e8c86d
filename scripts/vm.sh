#!/bin/bash
# The suite in a virtual machine with Debian's kernel: cgroup v2 alone, systemd with a session for the ordinary user,
# AppArmor. Root's half, then the user's; nothing of it is timed, for without KVM the machine is emulated.
#
#   TESTS='NAME…'    only these executables of the suite
#   RECORD=FILE      write the result there, as Markdown: docs/vm.md has the last one, and words about it
#   VM_TIMEOUT=7200  seconds for the whole machine
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
root || die "the root file system of the machine is made by debootstrap, which needs root"
[ "$(machine)" = x86_64 ] || die "the machine is an x86-64 one"
need_cargo
scripts/setup.sh vm

# What it is made of; another number when something of it changes.
release=bookworm
cache=/var/cache/bulkhead-tests/vm-$release-2
packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,uidmap,apparmor,iproute2,iputils-ping,nftables,kmod,procps
packages+=,util-linux,strace,busybox-static,e2fsprogs,xz-utils,zstd,passwd,libcap2-bin

work=$(mktemp -d /var/tmp/bulkhead-vm.XXXXXX)
qemu=
logs=$CARGO_TARGET_DIR/vm-logs
clean_up() {
    [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
    [ ! -e "$work/console.log" ] || cp "$work/console.log" "$logs/" || true
    rm -rf "$work"
}
trap clean_up EXIT

# --- kernel, first file system, root file system --------------------------------------------------------------------

make_initrd() {
    local tree=$1 version=$2 out=$3 dir=$work/initrd tool module number=10
    mkdir -p "$dir"/{bin,modules,proc,sys,dev,root}
    cp "$(command -v busybox)" "$dir/bin/busybox"
    for tool in sh mount umount insmod switch_root sleep poweroff; do ln -s busybox "$dir/bin/$tool"; done
    ! ls "$tree/lib/modules/$version/kernel/fs/ext4"/*.ko.* >/dev/null 2>&1 || die "the modules of $version are compressed, which the machine's first process cannot read"
    for module in virtio_pci virtio_blk ext4 overlay; do
        chroot "$tree" modprobe -S "$version" --show-depends "$module" | sed -n 's/^insmod //p'
    done | awk '!seen[$1]++ { print $1 }' | while read -r module; do
        cp "$tree/$module" "$dir/modules/$number-$(basename "$module")"
        number=$((number + 1))
    done
    install -m 0755 scripts/vm/init "$dir/init"
    (cd "$dir" && find . | cpio -o -H newc --quiet | gzip -1) >"$out"
}

make_root() {
    local tree=$1
    echo bulkhead-vm >"$tree/etc/hostname"
    echo '127.0.0.1 localhost bulkhead-vm' >"$tree/etc/hosts"
    echo '/dev/vda / ext4 rw,noatime 0 0' >"$tree/etc/fstab"
    : >"$tree/etc/machine-id"
    chroot "$tree" useradd --create-home --uid 1000 --shell /bin/bash bulkhead-test
    install -m 0755 scripts/vm/job "$tree/usr/local/sbin/vm-job"
    install -m 0644 scripts/vm/vm-job.service "$tree/etc/systemd/system/vm-job.service"
    # What an administrator gives to users who run containers.
    mkdir -p "$tree/etc/systemd/system/user@.service.d"
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$tree/etc/systemd/system/user@.service.d/delegate.conf"
    local timer
    for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
        ln -sf /dev/null "$tree/etc/systemd/system/$timer.timer"
    done
}

make_machine() {
    local tree=$work/root version deb kernel
    say "vm: making the machine; this is kept in $cache"
    kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9]\S*\)/\1/p' | head -1)
    [ -n "$kernel" ] || die "apt knows no package linux-image-cloud-amd64: the machine's kernel is Debian's"
    # As root, for apt's own user cannot write there.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$kernel")
    deb=$(ls "$work"/linux-image-*.deb)
    dpkg-deb -x "$deb" "$work/kernel"
    version=$(ls "$work/kernel/lib/modules")
    debootstrap --variant=minbase --include="$packages" "$release" "$tree" >"$work/debootstrap.log" 2>&1 ||
        { tail -20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
    cp -a "$work/kernel/lib/modules" "$tree/lib/"
    chroot "$tree" depmod "$version"
    make_root "$tree"
    mkdir -p "$cache.new"
    make_initrd "$tree" "$version" "$cache.new/initrd.gz"
    install -m 0644 "$work/kernel/boot/vmlinuz-$version" "$cache.new/vmlinuz"
    rm -rf "$tree/var/cache/apt/archives"/*.deb
    mke2fs -q -t ext4 -F -O ^has_journal -m 0 -d "$tree" "$cache.new/root.ext4" 3G
    rm -rf "$tree" "$work/kernel" "$work/initrd"
    mv -T "$cache.new" "$cache"
}
rm -rf "$cache.new"
mkdir -p "$(dirname "$cache")"
[ -d "$cache" ] || make_machine

# --- what it is to run ----------------------------------------------------------------------------------------------

scripts/build.sh
job=$work/job
mkdir -p "$job/suite" "$job/tests"
install -m 0755 "$(built_binary)" "$job/bulkhead"
# Static, for the machine has a C library of its own.
target=$(choose_target)
cargo_static "$target" test --locked -p bulkhead-tests --no-run --message-format=json-render-diagnostics >"$work/executables"
sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$work/executables" | while read -r file; do
    name=$(basename "$file")
    name=${name%-*}
    if [ -n "${TESTS:-}" ]; then
        case " $TESTS " in *" $name "*) ;; *) continue ;; esac
    else
        grep -qx "$name" scripts/vm/suite || continue
    fi
    strip -o "$job/suite/$name" "$file"
done
[ -n "$(ls "$job/suite")" ] || die "TESTS='${TESTS:-}': no executable of the suite has such a name"
cp -r tests/session tests/golden tests/skips.txt "$job/tests/"
# The executables know where these were when they were built.
echo "$repo/tests" >"$job/tests-at"
cp scripts/vm/run "$job/run"
tar -C "$job" -cf "$work/in.tar" .
# Whole sectors.
truncate -s %1M "$work/in.tar"
truncate -s 64M "$work/out.raw"

rm -rf "$logs"
mkdir -p "$logs"
say "vm: running; its console is in $work/console.log, and afterwards in $logs"
status=0
timeout "${VM_TIMEOUT:-7200}" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 \
    -nodefaults -no-user-config -no-reboot -nographic -display none \
    -kernel "$cache/vmlinuz" -initrd "$cache/initrd.gz" \
    -append "console=ttyS0 quiet panic=-1 rdinit=/init tsc=unstable cgroup_no_v1=all systemd.unit=vm-job.service systemd.show_status=0" \
    -serial "file:$work/console.log" \
    -drive "id=r,file=$cache/root.ext4,format=raw,if=none,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=r \
    -drive "id=i,file=$work/in.tar,format=raw,if=none,readonly=on" -device virtio-blk-pci,drive=i \
    -drive "id=o,file=$work/out.raw,format=raw,if=none,cache=unsafe" -device virtio-blk-pci,drive=o &
qemu=$!
wait "$qemu" || status=$?
qemu=
tar -C "$logs" -xf "$work/out.raw" 2>/dev/null || true
if ! [ -s "$logs/report" ]; then
    tail -30 "$work/console.log" >&2
    die "the machine gave no result (exit code $status)"
fi
cat "$logs/report"
[ -s "$logs/status" ] || die "the machine was ended before it was done (exit code $status)"
if [ -n "${RECORD:-}" ]; then
    {
        echo '# The last run in a virtual machine'
        echo
        echo "\`make test-vm\` on $(date -u +%Y-%m-%d), version $(git describe --always --dirty 2>/dev/null || echo unknown)."
        echo
        echo '```'
        cat "$logs/report"
        echo '```'
    } >"$RECORD"
fi
say "vm: the logs are in $logs"
exit "$(cat "$logs/status")"
