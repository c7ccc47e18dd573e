#!/usr/bin/env bash
# Brings the network of nodes up and shows how it is: on this machine it builds paxosd, starts ten
# nodes in the background and lets you play with their failures; on Kubernetes it waits for what
# deploy-paxos-k8s.sh has put there. Needs Linux and bash; locally Rust and a C linker too.
set -euo pipefail

# A path as it is seen from everywhere.
absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "${PWD%/}" "$1" ;;
    esac
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
PAXOSD_DATA=$(absolute "${PAXOSD_DATA:-$root/data}")
CARGO_TARGET_DIR=$(absolute "${CARGO_TARGET_DIR:-$root/target}")
[[ -z ${PAXOSD_BIN:-} ]] || PAXOSD_BIN=$(absolute "$PAXOSD_BIN")
if [[ -n ${PAXOSD_CONFIG:-} ]]; then
    PAXOSD_CONFIG=$(absolute "$PAXOSD_CONFIG")
    export PAXOSD_CONFIG
fi

# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/target.sh
source "$root/scripts/target.sh"
# shellcheck source=scripts/survey.sh
source "$root/scripts/survey.sh"
# shellcheck source=scripts/pods.sh
source "$root/scripts/pods.sh"

bin=${PAXOSD_BIN:-$CARGO_TARGET_DIR/release/paxosd}
config=$data/cluster.dev.yaml
log=$data/logs/dev.log
wait_s=60
first_value='hello from run.sh'
cd -- "$root"

build() {
    if [[ -n ${PAXOSD_BIN:-} ]]; then
        [[ -x $bin ]] || fail 1 no_program "$bin"
        return
    fi
    need cargo no_cargo
    say building
    CARGO_TARGET_DIR=$CARGO_TARGET_DIR cargo build --release --locked --bin paxosd
}

need_bin() { [[ -x $bin ]] || fail 1 not_built; }

runs() { [[ -x $bin ]] && local_runs; }

stop() { "$bin" dev stop --data "$data"; }

# Stops what was begun, and says why.
give_up() {
    stop >/dev/null 2>&1 || true
    say last_lines "$log" >&2
    tail -n 15 -- "$log" >&2
    fail 1 "$@"
}

# One line that changes in place on a terminal, and a line for each change elsewhere.
progress() {
    if [[ -t 1 ]]; then
        printf '\r\033[K%s' "$1"
    elif [[ $1 != "${before:-}" ]]; then
        printf '%s\n' "$1"
    fi
    before=$1
}

wait_until_it_serves() {
    local pid=$1 answer line
    local begun=$SECONDS
    while true; do
        kill -0 "$pid" 2>/dev/null || give_up ended_early
        line=$(text starting)
        # Only our own cluster counts: another one may hold the ports.
        if runs; then
            if answer=$("$bin" status --config "$config" 2>/dev/null); then
                progress "$(text serving)"
                [[ ! -t 1 ]] || printf '\n'
                return
            fi
            line=${answer%%$'\n'*}
        fi
        progress "$(text waiting "${line:-$(text starting)}")"
        ((SECONDS - begun < wait_s)) || give_up no_leader_after "$wait_s" "${line:-}"
        sleep 0.1
    done
}

# The key makes this value one value however often we are started.
first_value() {
    local sent index value
    sent=$("$bin" send "$first_value" --key run.sh-first-value --config "$config" \
        --timeout-ms 10000) || give_up first_not_written
    [[ $sent =~ index\ ([0-9]+) ]] || give_up first_without_index "$sent"
    index=${BASH_REMATCH[1]}
    value=$("$bin" read --from "$index" --limit 1 --config "$config") ||
        give_up first_not_read
    [[ $value == "\"$first_value\"" ]] || give_up first_differs "$index" "$value"
    say first_written "$sent"
    say first_read "$value"
}

up() {
    if runs; then
        say runs_already
        "$bin" status --config "$config"
        return
    fi
    build
    mkdir -p -- "${log%/*}"
    # In a process group of its own: Ctrl-C in this terminal is not meant for it.
    local detach=()
    ! has setsid || detach=(setsid)
    "${detach[@]}" nohup "$bin" dev --data "$data" </dev/null >"$log" 2>&1 &
    local pid=$!
    trap 'give_up interrupted' INT TERM
    wait_until_it_serves "$pid"
    first_value
    trap - INT TERM
    printf '\n'
    "$bin" status --config "$config"
    printf '\n'
    local whom=
    # Without a configuration of your own, the verbs find the nodes by themselves.
    [[ -z ${PAXOSD_CONFIG:-} ]] || whom=" --config $config"
    say local_next "$data" "$bin send hello$whom" "$bin read$whom"
}

# On Kubernetes nothing is proposed and nobody is elected by hand: the nodes do that themselves, so
# here one only waits, and says what they wait for.
up_k8s() {
    need kubectl no_kubectl
    namespace_is_there || fail 3 no_namespace "$namespace"
    with_errors_file
    target=k8s
    local begun=$SECONDS code=0
    say pods_wait "$timeout_s"
    wait_for_pods "$timeout_s" || code=$?
    ((code == 0)) || pods_trouble
    # Not all need be ready for a leader to be there.
    wait_for_leader "$((timeout_s - (SECONDS - begun)))" || code=3
    printf '\n'
    if ((${#nodes[@]} > 0)); then
        headline
        printf '\n\n'
        health_table
        printf '\n'
    fi
    say urls_title
    urls | while read -r name url; do
        fit "$name" 20
        printf '  %s%s\n' "$fitted" "$url"
    done
    say k8s_next "$namespace"
    return "$code"
}

wait_for_leader() {
    local until=$((SECONDS + $1))
    while true; do
        if survey; then
            if can_choose; then
                progress "$(text leader_is "$leader" "$leader_id")"
                [[ ! -t 1 ]] || printf '\n'
                return
            fi
            progress "$(text waiting_leader "$quorum_have" "$quorum_need")"
        else
            progress "$(text nobody_answers "$(text target_k8s)" "$(last_error)")"
        fi
        ((SECONDS < until)) || break
        sleep 1
    done
    [[ ! -t 1 ]] || printf '\n'
    warn no_leader_in_time
    ((${#nodes[@]} == 0)) || why_no_leader >&2
    return 3
}

one_name() { (($# == 2)) || fail 1 wants_name "$1"; }
no_name() { (($# <= 1)) || fail 1 takes_nothing "$1"; }

where=
timeout_s=180
rest=()
while (($# > 0)); do
    case $1 in
        --k8s) where=k8s ;;
        --local) where=local ;;
        --timeout) timeout_s=$(number_of "$@") || exit; shift ;;
        *) rest+=("$1") ;;
    esac
    shift
done
set -- "${rest[@]}"

case ${1:-up} in
    -h | --help | help) say help_run ;;
    up)
        no_name "$@"
        if [[ -z $where ]] && namespace_is_there; then
            say namespace_found "$namespace"
            where=k8s
        fi
        if [[ $where == k8s ]]; then up_k8s; else up; fi
        ;;
    *)
        [[ $where != k8s ]] || usage_error local_only "$1"
        case $1 in
            status)
                no_name "$@"
                need_bin
                runs || {
                    say none_runs "$data"
                    exit 3
                }
                "$bin" status --config "$config"
                ;;
            stop)
                no_name "$@"
                if [[ -x $bin ]]; then stop; else say nothing_built; fi
                ;;
            start | kill)
                one_name "$@"
                need_bin
                "$bin" dev "$1" --data "$data" -- "$2"
                ;;
            logs)
                (($# <= 2)) || fail 1 logs_one_name
                file=$data/logs/${2:-dev}.log
                [[ -f $file ]] || fail 1 no_file "$file"
                tail -n 50 -- "$file"
                ;;
            *)
                say help_run >&2
                exit 2
                ;;
        esac
        ;;
esac
