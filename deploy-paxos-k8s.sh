#!/usr/bin/env bash
# Puts paxosd on Kubernetes: builds the image where the cluster finds it, applies the manifests of
# k8s/, and waits until the pods are ready. It may be run again: what is there is brought up to
# date.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/target.sh
source "$root/scripts/target.sh"
# shellcheck source=scripts/pods.sh
source "$root/scripts/pods.sh"

image=paxos-node
tag=latest
registry=
overlay=minikube
timeout_s=180

while (($# > 0)); do
    case $1 in
        -h | --help)
            say help_deploy
            exit
            ;;
        --image) image=$(value_of "$@") || exit; shift ;;
        --tag) tag=$(value_of "$@") || exit; shift ;;
        --registry) registry=$(value_of "$@") || exit; shift ;;
        --overlay) overlay=$(value_of "$@") || exit; shift ;;
        --timeout) timeout_s=$(number_of "$@") || exit; shift ;;
        *) usage_error no_such_option "$1" ;;
    esac
    shift
done
[[ $image =~ ^[a-z0-9][a-z0-9._/-]*$ ]] || usage_error bad_image "$image"
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] || usage_error bad_image "$tag"
registry=${registry%/}
[[ $registry =~ ^([A-Za-z0-9.:/_-]*)$ ]] || usage_error bad_image "$registry"
reference=${registry:+$registry/}$image:$tag

# An overlay is named, or is a directory of one's own.
kustomization=$root/k8s/overlays/$overlay
[[ $overlay != */* ]] || kustomization=$overlay
[[ -f $kustomization/kustomization.yaml ]] || fail 1 no_overlay "$kustomization"

with_errors_file
step=0

# heading KEY ARG...: the next step.
heading() {
    ((step += 1))
    printf '\n%s%s. ' "$bold" "$step"
    say "$@"
    printf '%s' "$plain"
}

# An image without a registry is for a Minikube of this machine, whose Docker we can build in.
uses_minikube() { [[ -z $registry && $overlay == minikube ]]; }

check_tools() {
    need docker no_docker
    need kubectl no_kubectl
    docker info >/dev/null 2>"$errors" || fail 1 docker_silent "$(last_error)"
    if uses_minikube; then
        need minikube no_minikube
        start_minikube
        on_minikube || fail 1 other_context "$(kubectl config current-context 2>/dev/null)"
    fi
    kubectl get namespaces --request-timeout=10s -o name >/dev/null 2>"$errors" ||
        fail 3 kubernetes_silent "$(last_error)"
    if [[ -z $registry ]] && ! uses_minikube; then
        say no_registry "$reference"
    fi
}

start_minikube() {
    if minikube status >/dev/null 2>&1; then
        say minikube_runs
    else
        say minikube_starts
        minikube start --driver=docker
    fi
    # Without it only the Ingress does not work.
    minikube addons enable ingress || warn no_ingress
}

# in_its_docker COMMAND...: with Minikube, docker is the one inside of it.
in_its_docker() {
    if uses_minikube && [[ -n $minikube_docker ]]; then
        (
            eval "$minikube_docker"
            "$@"
        )
    else
        "$@"
    fi
}

image_id() {
    in_its_docker docker image inspect --format '{{.Id}}' "$reference" 2>/dev/null || true
}

build_image() {
    minikube_docker=
    if uses_minikube; then
        # Not every container runtime of Minikube has a Docker to build in.
        minikube_docker=$(minikube docker-env --shell bash 2>"$errors") || minikube_docker=
    fi
    old_image=$(image_id)
    say building_image "$reference"
    in_its_docker docker build -t "$reference" "$root"
    new_image=$(image_id)
    if [[ -n $registry ]]; then
        say pushing "$reference"
        docker push "$reference"
    elif uses_minikube && [[ -z $minikube_docker ]]; then
        say loading_image
        minikube image load "$reference"
    fi
}

# The manifests with our image in each of their containers.
manifests() {
    kubectl kustomize "$kustomization" |
        sed -E "s#^( *(- )?image: ).*paxos-node[^ ]*\$#\\1$reference#"
}

# is_deployment NAME: whether standard input, one document of the manifests, is this Deployment.
is_deployment() {
    awk -v wanted="$1" '
        /^[^ ]/ { at = $1 }
        /^kind: Deployment$/ { is_deployment = 1 }
        at == "metadata:" && $0 == "  name: " wanted { is_wanted = 1 }
        END { exit !(is_deployment && is_wanted) }'
}

# sort_manifests MANIFESTS: puts the document of each Deployment that there is already into
# `running`, by its name, and all others into `others`.
sort_manifests() {
    local document name
    others=
    while IFS= read -r -d '' document; do
        for name in "${deployments[@]}"; do
            if is_deployment "$name" <<<"$document"; then
                running[$name]=$document
                continue 2
            fi
        done
        others+=$document$'---\n'
    done < <(sed 's/^---$/\x0/' <<<"$1"; printf '\0')
}

# Nodes that run are brought up to date one after the other, each back before the next goes, so that
# a quorum and a leader are there all the time. Where some are not ready, one that waits for them
# would never be back: then it is all at once.
apply() {
    local rendered count name
    declare -A running=()
    rendered=$(manifests) || fail 1 not_rendered "$kustomization"
    count=$(grep -cE "^ *(- )?image: $reference\$" <<<"$rendered") || true
    ((count > 0)) || fail 1 image_not_found "$kustomization"
    look_at_pods || deployments=()
    if ! all_ready; then
        # kustomize puts the namespace first and what needs others after them.
        kubectl apply -f - <<<"$rendered"
        for name in "${deployments[@]}"; do
            restart "$name"
        done
        return
    fi
    sort_manifests "$rendered"
    kubectl apply -f - <<<"$others"
    heading renewing
    for name in "${deployments[@]}"; do
        [[ -n ${running[$name]-} ]] || continue
        kubectl apply -f - <<<"${running[$name]}"
        restart "$name"
        kubectl rollout status -n "$namespace" "deployment/$name" --timeout="${timeout_s}s" ||
            fail 1 renew_stopped "$name"
    done
}

# restart NAME: a pod that runs does not notice a new image under an old name.
restart() {
    [[ -n $old_image && $old_image != "$new_image" ]] || return 0
    kubectl rollout restart -n "$namespace" "deployment/$1"
}

heading step_check
check_tools
heading step_build
build_image
heading step_apply
apply
heading step_wait "$timeout_s"
wait_for_pods "$timeout_s" || {
    pods_trouble
    exit 1
}

printf '\n'
kubectl get pods -n "$namespace" -o wide
printf '\n'
say urls_title
target=k8s
urls | while read -r name url; do
    fit "$name" 20
    printf '  %s%s\n' "$fitted" "$url"
done
say deploy_next
