#!/usr/bin/env bash
# Runs the tests of the scripts: against ten real nodes of this machine, in a real terminal of tmux,
# and with stand-ins for kubectl, minikube and docker. Says what is missing, and installs nothing.
#
#   tests/scripts/run.sh [FILE.bats...]      PAXOSD_BIN: the paxosd to test; default a built one
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)

missing=()
for tool in bats tmux timeout; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
# Older ones know no setup of a whole suite.
if command -v bats >/dev/null &&
    ! printf 'Bats 1.7.0\n%s\n' "$(bats --version)" | sort --version-sort --check=quiet; then
    missing+=("bats 1.7 or newer")
fi
if ((${#missing[@]} > 0)); then
    printf 'tests/scripts/run.sh: missing: %s (Debian: apt-get install bats tmux coreutils)\n' \
        "${missing[*]}" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-$root/target}
if [[ -z ${PAXOSD_BIN:-} ]]; then
    for built in "$target/release/paxosd" "$target/debug/paxosd"; do
        [[ ! -x $built ]] || PAXOSD_BIN=$built
    done
fi
if [[ ! -x ${PAXOSD_BIN:-} ]]; then
    printf 'tests/scripts/run.sh: no paxosd; cargo build --bin paxosd, or set PAXOSD_BIN\n' >&2
    exit 1
fi
PAXOSD_BIN=$(cd -- "$(dirname -- "$PAXOSD_BIN")" && pwd)/${PAXOSD_BIN##*/}
export PAXOSD_BIN

cd -- "$here"
if (($# == 0)); then
    set -- ./*.bats
fi
exec bats "$@"
