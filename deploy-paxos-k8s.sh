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
at_once=

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
        --at-once) at_once=yes ;;
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

build_image() {
    minikube_docker=
    if uses_minikube; then
        # Not every container runtime of Minikube has a Docker to build in.
        minikube_docker=$(minikube docker-env --shell bash 2>"$errors") || minikube_docker=
    fi
    say building_image "$reference"
    in_its_docker docker build -t "$reference" "$root"
    image_id=$(in_its_docker docker image inspect --format '{{.Id}}' "$reference")
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

# Of each Deployment of the manifests its document; all other documents; and the image that each
# Deployment was seen to run with, as we noted at it.
declare -a nodes=()
declare -A document_of=() image_of=()
others=

# deployment_name: of the document on standard input, where it is a Deployment of the namespace.
deployment_name() {
    awk -v namespace="$namespace" '
        /^[^ ]/ { at = $1 }
        /^kind: Deployment$/ { is_deployment = 1 }
        at == "metadata:" && /^  name: / { name = $2 }
        at == "metadata:" && $0 == "  namespace: " namespace { is_ours = 1 }
        END { if (is_deployment && is_ours) print name }'
}

# sort_manifests MANIFESTS: sets the variables above, but for the images.
sort_manifests() {
    local line document='' name
    while IFS= read -r line; do
        if [[ $line != --- ]]; then
            document+=$line$'\n'
            continue
        fi
        name=$(deployment_name <<<"$document")
        if [[ -n $name ]]; then
            nodes+=("$name")
            document_of[$name]=$document
        else
            others+=$document$'---\n'
        fi
        document=
    done <<<"$1"$'\n---'
}

# look_at_images: what we noted. No image has an empty name, so one that was never noted differs.
look_at_images() {
    local listing name image
    local fields='{range .items[*]}{.metadata.name} {.metadata.annotations.paxosd-image}{"\n"}{end}'
    listing=$(kubectl get deployments -n "$namespace" --request-timeout=10s \
        -o "jsonpath=$fields" 2>"$errors") || return 1
    while read -r name image; do
        [[ -z $name ]] || image_of[$name]=$image
    done <<<"$listing"
}

# note_image NAME: it runs with the image that was built. Once is enough.
note_image() {
    [[ ${image_of[$1]-} != "$image_id" ]] || return 0
    image_of[$1]=$image_id
    kubectl annotate -n "$namespace" "deployment/$1" "paxosd-image=$image_id" --overwrite >/dev/null
}

# is_there NAME: whether the Deployment was there before.
is_there() { [[ -n ${wanted_of[$1]-} ]]; }

# restart NAME: a pod that runs does not notice a new image under an old name.
restart() {
    is_there "$1" && [[ ${image_of[$1]-} != "$image_id" ]] || return 0
    kubectl rollout restart -n "$namespace" "deployment/$1"
}

# Nodes that are well are brought up to date one after the other, each back before the next goes;
# all else comes first, and at once: nodes that are not there, or not ready, take nothing away.
apply() {
    local rendered name
    local first=() well=()
    rendered=$(manifests) || fail 1 not_rendered "$kustomization"
    grep -qE "^ *(- )?image: $reference\$" <<<"$rendered" || fail 1 image_not_found "$kustomization"
    if ! look_at_pods || ! look_at_images; then
        fail 3 kubernetes_silent "$(last_error)"
    fi
    sort_manifests "$rendered"
    for name in "${nodes[@]}"; do
        if [[ -z $at_once ]] && is_there "$name" && is_ready "$name"; then
            well+=("$name")
        else
            others+=${document_of[$name]}$'---\n'
            first+=("$name")
        fi
    done
    if [[ $others == *$'kind: '* ]]; then
        # kustomize puts the namespace first and what needs others after them.
        kubectl apply -f - <<<"$others"
    fi
    for name in "${first[@]}"; do
        restart "$name"
    done
    ((${#well[@]} > 0)) || return 0
    if ((${#first[@]} > 0)); then
        heading step_wait "$timeout_s"
        wait_for_pods "$timeout_s" || {
            pods_trouble
            fail 1 others_left
        }
    fi
    heading renewing
    for name in "${well[@]}"; do
        kubectl apply -f - <<<"${document_of[$name]}"
        restart "$name"
        kubectl rollout status -n "$namespace" "deployment/$name" --timeout="${timeout_s}s" || {
            look_at_pods && pods_trouble
            fail 1 renew_stopped "$name" "$namespace" "$name"
        }
        note_image "$name"
    done
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
for name in "${nodes[@]}"; do
    note_image "$name"
done

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
