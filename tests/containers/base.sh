#!/usr/bin/env bash
# Makes the two images that the container tests build upon, out of Debian packages and without an
# image registry:
#   paxosd-test-base  has sh and coreutils; stands in for rust:1-bookworm, as its build stage
#                     compiles nothing where a finished binary is given
#   paxosd-test-bare  has the libraries that paxosd is linked with and nothing else, no shell
#                     either; stands in for gcr.io/distroless/cc-debian12:nonroot
# Where both are there already, nothing is done. Takes about a minute.
set -euo pipefail

base=paxosd-test-base
bare=paxosd-test-bare

usage() {
    cat <<TEXT
Usage: tests/containers/base.sh [--again]

Makes the images $base and $bare by debootstrap and docker import.
Needs root, docker, debootstrap and a Debian mirror.

  --again   make them anew, even where they are there

Environment:
  SUITE     the Debian release; default this machine's own, else bookworm. A program runs only where
            the C library is as new as the one that it was linked with.
  MIRROR    where its packages come from; default that of apt
TEXT
}

again=no
case ${1:-} in
    '') ;;
    --again) again=yes ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac

missing=()
command -v docker >/dev/null || missing+=("docker is not installed")
if ((${#missing[@]} == 0)); then
    docker info >/dev/null 2>&1 || missing+=("no Docker engine answers \`docker info\`")
fi
if ((${#missing[@]} == 0)) && [[ $again == no ]] &&
    docker image inspect "$base" "$bare" >/dev/null 2>&1; then
    exit 0
fi
[[ $(id -u) -eq 0 ]] || missing+=("debootstrap needs root")
command -v debootstrap >/dev/null ||
    missing+=("debootstrap is not installed; apt-get install debootstrap")
if ((${#missing[@]} > 0)); then
    printf 'base.sh: %s\n' "${missing[@]}" >&2
    exit 1
fi

own_suite() {
    # shellcheck disable=SC1091  # It is this machine's.
    (. /etc/os-release && [[ ${ID:-} == debian ]] && printf '%s' "${VERSION_CODENAME:-}")
}
suite=${SUITE:-$(own_suite || true)}
suite=${suite:-bookworm}

mirror_of_apt() {
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016  # The format is apt's, not the shell's.
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$suite" '$1 == suite { print $2; exit }'
}
mirror=${MIRROR:-$(mirror_of_apt || true)}
mirror=${mirror:-http://deb.debian.org/debian}

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
root=$work/root

printf 'base.sh: Debian %s from %s\n' "$suite" "$mirror"
# Unpacked and not configured: nothing of it runs but sh, coreutils and the C library, and that
# saves half the time.
debootstrap --foreign --variant=minbase "$suite" "$root" "$mirror" >"$work/log" 2>&1 || {
    tail -n 20 -- "$work/log" >&2
    printf 'base.sh: debootstrap failed\n' >&2
    exit 1
}
# What a container gets from its runtime is no part of its image; debootstrap leaves links there.
rm -rf -- "${root:?}"/{debootstrap,dev,proc,sys,var/cache/apt/archives}
rm -rf -- "$root"/usr/share/{doc,info,locale,man}

# What ldd names for paxosd, with links followed.
libraries=()
for library in "$root"/lib64/ld-linux-*.so.* "$root"/lib/ld-linux-*.so.* \
    "$root"/lib/*-linux-gnu*/lib{c,m}.so.6 "$root"/lib/*-linux-gnu*/libgcc_s.so.1; do
    [[ ! -e $library ]] || libraries+=("${library#"$root"/}")
done
((${#libraries[@]} >= 4)) || {
    printf 'base.sh: in %s are only these libraries: %s\n' "$suite" "${libraries[*]}" >&2
    exit 1
}

import() {
    docker import --message "made by tests/containers/base.sh" - "$1" >/dev/null
    printf 'base.sh: %s, %s bytes\n' "$1" "$(docker image inspect --format '{{.Size}}' "$1")"
}
tar -C "$root" -c . | import "$base"
tar -C "$root" -ch "${libraries[@]}" | import "$bare"
