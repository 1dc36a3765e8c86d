#!/bin/bash
# Installs what is missing for: make, build, demo, test, vm, bench, bench-net. Says nothing and does nothing when all is there.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"

# A package, and the file or command that shows that it is there.
wanted() {
    case $1 in
    make) echo make:make ;;
    build) echo gcc:cc libc6-dev:/usr/include/stdio.h musl-tools:musl-gcc ;;
    demo) wanted build && echo uidmap:newuidmap ;;
    test)
        wanted demo
        echo docker.io:/usr/sbin/dockerd podman:podman busybox-static:/usr/share/doc/busybox-static
        echo debootstrap:debootstrap strace:strace passwd:useradd util-linux:setpriv xz-utils:xz zstd:zstd
        echo nftables:/usr/sbin/nft iproute2:/sbin/ip iputils-ping:ping passt:pasta
        echo docker-registry:docker-registry openssl:openssl skopeo:skopeo
        ;;
    bench) wanted demo ;;
    bench-net) wanted demo && echo iproute2:/sbin/ip ;;
    vm)
        wanted build
        echo qemu-system-x86:qemu-system-x86_64 seabios:/usr/share/seabios/bios-256k.bin debootstrap:debootstrap cpio:cpio
        echo ipxe-qemu:/usr/lib/ipxe/qemu/efi-virtio.rom busybox-static:/usr/share/doc/busybox-static e2fsprogs:mke2fs binutils:strip
        ;;
    *) die "setup.sh knows make, build, demo, test, vm, bench and bench-net, not \"$1\"" ;;
    esac
}

# Without these nothing goes; without the others something less does.
needed() {
    case $1 in make | gcc | libc6-dev) return 0 ;; *) return 1 ;; esac
}

look() {
    local pair package sign
    missing=()
    for pair in $(wanted "$1"); do
        package=${pair%%:*} sign=${pair#*:}
        case $sign in
        /*) [ -e "$sign" ] || missing+=("$package") ;;
        *) have "$sign" || missing+=("$package") ;;
        esac
    done
}

look "${1:?what for}"
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if ! root; then
    # Without a terminal sudo must not wait for a password.
    if [ -t 0 ]; then as_root=(sudo); else as_root=(sudo -n); fi
fi

install_missing() {
    have apt-get || {
        say "note: this is not Debian or Ubuntu"
        return 1
    }
    root || "${as_root[@]}" true 2>/dev/null || {
        say "note: installing needs root or sudo"
        return 1
    }
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    if ! ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
        "${apt[@]}" update >&2 || return 1
    fi
    # Packages of servers must not start them: the tests start what they need, each with a place of its own.
    local policy=/usr/sbin/policy-rc.d
    if ! [ -e $policy ] && root; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # One that this release does not have would keep the others out.
    local there=() package
    for package in "${missing[@]}"; do
        if apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
            there+=("$package")
        else
            say "note: this release has no package \"$package\""
        fi
    done
    [ ${#there[@]} -gt 0 ] || return 1
    # Old lists name versions that the mirror has no more.
    "${apt[@]}" install -y --no-install-recommends "${there[@]}" >&2 </dev/null ||
        { "${apt[@]}" update >&2 && "${apt[@]}" install -y --no-install-recommends "${there[@]}" >&2 </dev/null; } || return 1
    [ ${#there[@]} = ${#missing[@]} ]
}

say "installing: ${missing[*]}"
if ! install_missing; then
    look "$1"
    for package in "${missing[@]}"; do
        needed "$package" && die "\"$package\" is needed and cannot be installed; as root: apt-get install ${missing[*]}"
    done
    [ ${#missing[@]} = 0 ] || say "note: going on without: ${missing[*]}"
fi
