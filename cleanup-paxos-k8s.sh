#!/usr/bin/env bash
# Takes paxosd off Kubernetes, in the reverse order of its making. The volumes are the data, so it
# asks about them on their own; and at the end about Minikube.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/target.sh
source "$root/scripts/target.sh"

yes=
keep_data=
minikube=ask

while (($# > 0)); do
    case $1 in
        -h | --help)
            say help_cleanup
            exit
            ;;
        -y | --yes) yes=yes ;;
        --keep-data) keep_data=yes ;;
        --minikube)
            minikube=$(value_of "$@") || exit
            case $minikube in
                keep | stop | delete) ;;
                *) usage_error bad_minikube "$minikube" ;;
            esac
            shift
            ;;
        *) usage_error no_such_option "$1" ;;
    esac
    shift
done
# Who asked for no questions asked for nothing to be done to Minikube either.
[[ -z $yes || $minikube != ask ]] || minikube=keep

need kubectl no_kubectl

# delete KIND ARG...: deletes what there is of a kind, and waits until it is gone.
delete() { kubectl delete "$@" -n "$namespace" --ignore-not-found --timeout=120s; }

# Whether the cluster knows a kind that is not of Kubernetes itself.
knows() { kubectl get "$1" -n "$namespace" --request-timeout=10s -o name >/dev/null 2>&1; }

remove_all_but_volumes() {
    local role
    say removing "$namespace"
    # First what leads to the nodes, then the nodes, those that ask before those that are asked.
    delete ingresses --all
    ! knows servicemonitors.monitoring.coreos.com ||
        delete servicemonitors.monitoring.coreos.com --all
    for role in client learner acceptor proposer; do
        delete deployments -l "role=$role"
    done
    delete services --all
    delete poddisruptionbudgets --all
    delete networkpolicies --all
    delete configmaps paxos-config
}

# Nothing that holds data goes without being named first.
remove_volumes() {
    local claims
    claims=$(kubectl get persistentvolumeclaims -n "$namespace" --request-timeout=10s -o name)
    if [[ -n $claims ]]; then
        printf '\n%s' "$red$bold"
        say volumes_are_data
        printf '%s' "$plain"
        printf '  %s\n' "${claims//$'\n'/$'\n'  }"
        if [[ -n $keep_data ]] || { [[ -z $yes ]] && ! yes_or_no ask_volumes; }; then
            say volumes_kept "$namespace"
            return
        fi
        delete persistentvolumeclaims --all
    fi
    kubectl delete namespace "$namespace" --ignore-not-found --timeout=120s
    say all_gone
}

leave_minikube() {
    if ! has minikube || [[ $minikube == keep ]]; then
        return
    fi
    if ! minikube status >/dev/null 2>&1; then
        say minikube_stopped
    elif [[ $minikube == stop ]] || { [[ $minikube == ask ]] && yes_or_no ask_stop; }; then
        minikube stop
    fi
    if [[ $minikube == delete ]] || { [[ $minikube == ask ]] && yes_or_no ask_delete; }; then
        minikube delete
    fi
}

if ! kubectl get namespaces --request-timeout=10s -o name >/dev/null 2>&1; then
    say kubernetes_away
elif ! namespace_is_there; then
    say nothing_there "$namespace"
elif [[ -n $yes ]] || yes_or_no ask_remove "$namespace" "$(kubectl config current-context)"; then
    remove_all_but_volumes
    remove_volumes
else
    say nothing_removed
    exit 0
fi
leave_minikube
