#!/usr/bin/env bash
# fuzz.sh TARGET|all [SECONDS]: runs targets of fuzz/ for so long each (60 seconds where nothing is said), with the
# nightly toolchain and nothing else. What is found lies in fuzz/artifacts; what was learnt is not kept.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"

[ $# -ge 1 ] || die "usage: fuzz.sh TARGET|all [SECONDS]"
seconds=${2:-60}
all=()
for file in "$repo"/fuzz/fuzz_targets/*.rs; do all+=("$(basename "$file" .rs)"); done
case $1 in all) targets=("${all[@]}") ;; *) targets=("$1") ;; esac
need_cargo
cd "$repo/fuzz"
export CARGO_TARGET_DIR=$repo/fuzz/target
host=$(rustc +nightly -vV | sed -n 's/^host: //p') || die "the nightly toolchain is needed: rustup toolchain install nightly"
# What cargo-fuzz passes: counters at every edge, and no sanitizer, since only crates/sys has unsafe code.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing)
for target in "${targets[@]}"; do
    RUSTFLAGS="${flags[*]}" cargo +nightly build -q --release --target "$host" --bin "$target"
    learnt=$(mktemp -d)
    mkdir -p "artifacts/$target"
    say "fuzz: $target for $seconds seconds"
    status=0
    "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 "$learnt" "corpus/$target" || status=$?
    rm -r "$learnt"
    [ "$status" = 0 ] || die "$target: see fuzz/artifacts/$target"
done
