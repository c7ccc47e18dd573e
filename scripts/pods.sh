# shellcheck shell=bash disable=SC2034,SC2154 # The scripts share variables across files.
# How far the Deployments of the namespace are: a checklist that is waited for.

# Name, replicas wanted, replicas ready; and of each pod its node and what it waits for.
deployment_fields='{range .items[*]}{.metadata.name} {.spec.replicas} {.status.readyReplicas}'
deployment_fields+='{"\n"}{end}'
pod_fields='{range .items[*]}{.metadata.labels.app} {.status.phase}'
pod_fields+=' {.status.containerStatuses[0].state.waiting.reason}'
pod_fields+=' {.status.conditions[?(@.type=="PodScheduled")].reason}{"\n"}{end}'

declare -a deployments=()
declare -A wanted_of=() ready_of=() waits_of=()

# look_at_pods: sets the variables above. Fails where kubectl does.
look_at_pods() {
    local listing name want ready phase reasons
    listing=$(kubectl get deployments -n "$namespace" --request-timeout=10s \
        -o "jsonpath=$deployment_fields" 2>"$errors") || return 1
    deployments=()
    wanted_of=() ready_of=() waits_of=()
    while read -r name want ready; do
        [[ -n $name ]] || continue
        deployments+=("$name")
        wanted_of[$name]=${want:-1}
        ready_of[$name]=${ready:-0}
    done <<<"$listing"
    listing=$(kubectl get pods -n "$namespace" --request-timeout=10s \
        -o "jsonpath=$pod_fields" 2>"$errors") || return 1
    while read -r name phase reasons; do
        [[ -z $name ]] || waits_of[$name]=${reasons:-$phase}
    done <<<"$listing"
}

is_ready() { ((ready_of[$1] >= wanted_of[$1] && wanted_of[$1] > 0)); }

all_ready() {
    local name
    ((${#deployments[@]} > 0)) || return 1
    for name in "${deployments[@]}"; do
        is_ready "$name" || return 1
    done
}

# checklist: a line for each Deployment.
checklist() {
    local name fitted
    for name in "${deployments[@]}"; do
        fit "$name" 12
        if is_ready "$name"; then
            printf '  %s✓%s %s%s\n' "$green" "$plain" "$fitted" "$(text pod_ready)"
        elif ((wanted_of[$name] == 0)); then
            printf '  %s-%s %s%s\n' "$yellow" "$plain" "$fitted" "$(text pod_scaled_down)"
        else
            printf '  %s…%s %s%s\n' "$yellow" "$plain" "$fitted" \
                "${waits_of[$name]:-$(text pod_none)}"
        fi
    done
}

# wait_for_pods SECONDS: until all are ready. On a terminal the checklist changes in place,
# elsewhere it is printed when it changes.
wait_for_pods() {
    local until=$((SECONDS + $1)) list before='' lines=0
    while true; do
        if look_at_pods; then
            list=$(checklist)
        else
            list="  $(last_error)"
        fi
        if [[ $list != "$before" ]]; then
            [[ ! -t 1 ]] || ((lines == 0)) || printf '\e[%sA\e[J' "$lines"
            printf '%s\n' "$list"
            lines=$(wc -l <<<"$list")
            before=$list
        fi
        ! all_ready || return 0
        ((SECONDS < until)) || return 1
        sleep 1
    done
}

# pods_trouble: what is not ready, and how to find out why.
pods_trouble() {
    local name
    warn pods_not_ready
    for name in "${deployments[@]}"; do
        is_ready "$name" || say pod_trouble \
            "$name" "${waits_of[$name]:-$(text pod_none)}" "$name" "$namespace" >&2
    done
    say pods_events "$namespace" >&2
}
