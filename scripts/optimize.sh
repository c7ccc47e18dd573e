#!/usr/bin/env bash
# Builds paxosd as it is shipped: optimised for what it does at work. It is built once with
# counters, ten nodes of it bear a load on this machine, and it is built again with what was
# counted. That takes two release builds and about a minute.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

seconds=${OPTIMIZE_SECONDS:-5}
target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$PWD/$target

usage() {
    cat <<TEXT
Usage: scripts/optimize.sh

Builds target/optimized/release/paxosd, optimised by a profile of paxosd at work.

Needs Linux, Rust with its component llvm-tools, and a C linker. Ten nodes run for a while, on
ports 23001 to 26002 and 2901 to 29010 of the loopback.

Environment:
  OPTIMIZE_SECONDS   how long each load lasts; default 5
  CARGO_TARGET_DIR   where Cargo builds; default target
  RUSTFLAGS          further flags of the compiler
TEXT
}

fail() {
    printf 'optimize.sh: %s\n' "$1" >&2
    exit 1
}

say() { printf 'optimize.sh: %s\n' "$1"; }

case ${1:-} in
    '') ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac

command -v cargo >/dev/null || fail "cargo is missing: install Rust, see https://rustup.rs"
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[[ -x $profdata ]] || fail "$profdata is missing; rustup component add llvm-tools"

work=$(mktemp -d)
dev=
clean_up() {
    # The nodes end with what has started them.
    [[ -z $dev ]] || kill "$dev" 2>/dev/null || true
    rm -rf -- "$work"
}
trap clean_up EXIT

# build NAME FLAGS: leaves the program in NAME/release; what is elsewhere in target stays as it is.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $2" CARGO_TARGET_DIR=$target/$1 \
        cargo build --release --locked --bin paxosd
}

say "building with counters"
counts=$target/counting/counts
rm -rf -- "$counts"
build counting "-Cprofile-generate=$counts"
counting=$target/counting/release/paxosd

# On ports of its own, so that it runs beside another cluster.
config=$work/cluster.yaml
sed -E 's/id: *([0-9]+),(.*)api_port: ([0-9]+), monitor_port: [0-9]+/id: \1,\2api_port: 2\3, monitor_port: 290\1/' \
    config/cluster.yaml >"$config"
"$counting" dev --config "$config" --data "$work/data" >"$work/log" 2>&1 &
dev=$!
export PAXOSD_ENDPOINTS=http://127.0.0.1:26001,http://127.0.0.1:26002

tries=30
until "$counting" send "first" >"$work/first" 2>&1; do
    kill -0 "$dev" 2>/dev/null || fail "the nodes ended: $(tail -n 5 -- "$work/log")"
    ((tries-- > 0)) || fail "the nodes do not serve: $(<"$work/first")"
    sleep 1
done

# load WORK OPTION...: one kind of work that a cluster has.
load() {
    say "running: $*"
    "$counting" bench "$@" --seconds "$seconds" --output json >"$work/load" 2>&1 ||
        fail "this load failed: $(<"$work/load")"
}
load write --clients 64
load write --clients 1
load read --clients 64
load read-stale --clients 64
load mixed --clients 16
load write --clients 8 --values 100

# In good order, since that is when a node writes down what it has counted.
"$counting" dev stop --data "$work/data" >/dev/null || fail "the nodes do not stop"
wait "$dev" || fail "paxosd dev failed: $(tail -n 5 -- "$work/log")"
dev=
profile=$target/counting/paxosd.profdata
"$profdata" merge -o "$profile" "$counts"

say "building with what was counted"
build optimized "-Cprofile-use=$profile --cfg profiled"
program=$target/optimized/release/paxosd
say "$program is $("$program" --version)"
