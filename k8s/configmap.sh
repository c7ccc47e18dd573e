#!/usr/bin/env bash
# Writes k8s/base/01-configmap.yaml from config/cluster.yaml, the only place where the cluster is
# described. Run it after every change there; `cargo test --test manifests` fails until then.
set -euo pipefail

if [ "$#" -gt 0 ]; then
    sed -n '2,3s/^# //p' "$0"
    printf 'Usage: k8s/configmap.sh\n'
    if [ "$1" = --help ] || [ "$1" = -h ]; then exit 0; else exit 2; fi
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
    cat <<'YAML'
# config/cluster.yaml, byte for byte, as all ten nodes see it. Written by k8s/configmap.sh: change
# that file, run the script and apply this one. The running nodes notice within about two minutes.
apiVersion: v1
kind: ConfigMap
metadata:
  name: paxos-config
  namespace: paxos
data:
  cluster.yaml: |
YAML
    sed 's/^\(.\)/    \1/' config/cluster.yaml
} >"$new"
cat "$new" >k8s/base/01-configmap.yaml
