#!/bin/bash
# Builds the static release binary and says where it is.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
need_cargo
scripts/setup.sh build
target=$(choose_target)
case $target in
*-musl) ;;
*) say "note: no musl target; building a static binary with glibc" ;;
esac
# The OCI runtime says what it was built from. A tree without history says so.
BULKHEAD_COMMIT=$(git -C "$repo" rev-parse HEAD 2>/dev/null || true)
export BULKHEAD_COMMIT
cargo_static "$target" build --release --locked -p bulkhead
binary=$CARGO_TARGET_DIR/$target/release/bulkhead
say "built $binary ($(($(stat -c %s "$binary") / 1024)) KiB)"
