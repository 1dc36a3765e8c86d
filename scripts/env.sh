# Sourced by the other scripts and by the Makefile: one environment, whatever the caller's is.

set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unset CDPATH GREP_OPTIONS BASH_ENV ENV
# What the caller set for other projects must not change what is built or tested here.
unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS RUSTFLAGS RUST_TEST_THREADS RUST_TEST_NOCAPTURE

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
repo=$(dirname "$here")
cd "$repo"

if [ -z "${HOME:-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    export HOME
fi
case ":$PATH:" in *:/usr/sbin:*) ;; *) PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" ;; esac
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi
export PATH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$repo/target}
case $CARGO_TARGET_DIR in /*) ;; *) CARGO_TARGET_DIR=$repo/$CARGO_TARGET_DIR ;; esac

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
root() { [ "$(id -u)" = 0 ]; }

need_cargo() {
    have cargo || die "cargo is not installed; https://rustup.rs has a Rust toolchain"
}

machine() {
    case $(uname -m) in
    x86_64) echo x86_64 ;;
    aarch64 | arm64) echo aarch64 ;;
    *) die "no container can be started on $(uname -m): x86_64 and aarch64 have a table of system calls" ;;
    esac
}

# Whether the toolchain has a standard library for this target.
has_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]
}

# The target of the static binary: musl where the toolchain can have it, else glibc, linked in.
choose_target() {
    local musl
    musl=$(machine)-unknown-linux-musl
    if have musl-gcc; then
        if ! has_target "$musl" && have rustup; then
            rustup target add "$musl" >&2 || say "note: rustup cannot add $musl"
        fi
        if has_target "$musl"; then
            echo "$musl"
            return
        fi
    fi
    echo "$(machine)-unknown-linux-gnu"
}

# Runs cargo with what the target needs. With --target the flags do not reach build scripts.
cargo_static() {
    local target=$1
    shift
    local name=${target//-/_}
    case $target in
    # Nine thousand relative relocations in two kilobytes instead of two hundred: less to read at every start.
    *-musl)
        env "CC_$name=musl-gcc" "CARGO_TARGET_${name^^}_RUSTFLAGS=-C link-arg=-Wl,-z,pack-relative-relocs" \
            cargo "$@" --target "$target"
        ;;
    *) RUSTFLAGS="-C target-feature=+crt-static" cargo "$@" --target "$target" ;;
    esac
}

built_binary() {
    local target
    target=$(choose_target)
    echo "$CARGO_TARGET_DIR/$target/release/bulkhead"
}
