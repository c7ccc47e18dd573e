#!/usr/bin/env bash
# A client for people: a menu, or one verb. It writes, reads and looks around, in the local cluster,
# on Kubernetes and on Compose alike.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/target.sh
source "$root/scripts/target.sh"
# shellcheck source=scripts/survey.sh
source "$root/scripts/survey.sh"

# Values and responses that the menu shows, and letters of one, so that they fit on 24 lines.
shown_max=10
letters_max=150

client=
proposer=
key=

# first_client: the one that was chosen, else one that is well, else any.
first_client() {
    [[ -z $client ]] || return 0
    client=$(well_of_role client)
    [[ -n $client ]] || client=$(of_role client | head -n 1)
    [[ -n $client ]] || fail 3 no_client
}

# first_proposer: likewise; the leader first, for others must ask it.
first_proposer() {
    [[ -z $proposer ]] || return 0
    proposer=${leader:-$(well_of_role proposer)}
    [[ -n $proposer ]] || proposer=$(of_role proposer | head -n 1)
    [[ -n $proposer ]] || fail 3 no_proposer
}

ask_cluster() { survey || fail 3 nobody_answers "$(text "target_$target")" "$(last_error)"; }

# check_role NODE ROLE: ends unless NODE has it.
check_role() {
    [[ -z $1 || ${role_of[$1]:-} == "$2" ]] ||
        usage_error wrong_role "$1" "$(text "role_$2")" "$(of_role "$2" | tr '\n' ' ')"
}

# write_to NODE VALUE [KEY]: writes through NODE and says what became of it. The value goes in by
# standard input, so that no shell, no option and no length stands in its way.
write_to() {
    local name=${3:-${key:-$(</proc/sys/kernel/random/uuid)}}
    local answer code=0
    answer=$(printf '%s' "$2" | at "$1" send - --node "$1" --key "$name" 2>"$errors") || code=$?
    case $code in
        0)
            [[ $answer =~ index\ ([0-9]+),\ slot\ ([0-9]+),\ request\ ([^,]+) ]] || true
            say written "$1" "${BASH_REMATCH[1]:-?}" "${BASH_REMATCH[2]:-?}" "${BASH_REMATCH[3]:-?}"
            ;;
        3) explain not_written "$1" ;;
        4) explain refused "$1" ;;
        5) in_doubt "$1" "$2" "$name" || code=$? ;;
        *) explain not_asked "$1" ;;
    esac
    return "$code"
}

# explain KEY NODE: a sentence of ours, and below it what the node said.
explain() {
    local line
    printf '%s' "$red" >&2
    say "$@" >&2
    printf '%s' "$plain" >&2
    while IFS= read -r line; do
        # So kubectl tells the exit code, which we have.
        [[ $line == 'command terminated with exit code '* ]] ||
            printf '  %s\n' "$(safe "${line#paxosd: }")" >&2
    done <"$errors"
}

# A write whose outcome is unknown is safe to repeat under its key: it is applied once or never.
in_doubt() {
    explain doubtful "$1"
    if [[ -t 0 ]] && yes_or_no ask_again; then
        write_to "$@"
        return
    fi
    say doubtful_key "$3" >&2
    return 5
}

# shorten: cuts what comes in to lines that a screen can show.
shorten() {
    local line
    while IFS= read -r line; do
        if ((${#line} > letters_max)); then
            printf '  %s… (%s)\n' "${line:0:letters_max}" "$(text letters "${#line}")"
        else
            printf '  %s\n' "$line"
        fi
    done
}

read_values() {
    local answer code=0
    answer=$(at "$client" read --numbered --node "$client" --limit "$shown_max" \
        </dev/null 2>"$errors") || code=$?
    if ((code != 0)); then
        explain not_read "$client"
    elif [[ -z $answer ]]; then
        say no_values
    else
        say newest_values "$shown_max" "$client"
        shorten <<<"$answer"
    fi
    return "$code"
}

response='^\{"learner_id":([0-9]+),"proposal_number":([0-9]+),"value":(.*),'
response+='"learned_at":"([^"]*)","received_at":"([^"]*)","index":([0-9]+),'
response+='"request_id":"([^"]*)"\}$'

responses() {
    local answer line code=0
    answer=$(at "$client" get "$client" /get-responses --pick /responses </dev/null 2>"$errors") ||
        code=$?
    if ((code != 0)); then
        explain not_asked "$client"
        return "$code"
    elif [[ -z $answer ]]; then
        say no_responses "$client"
        return
    fi
    say newest_responses "$shown_max" "$client"
    tail -n "$shown_max" <<<"$answer" | while IFS= read -r line; do
        [[ $line =~ $response ]] || continue
        text response "${BASH_REMATCH[6]}" "${BASH_REMATCH[3]}" "${BASH_REMATCH[4]}" \
            "${BASH_REMATCH[1]}"
        printf '\n'
    done | shorten
}

# node_status NODE: what it says of itself, a line each, and whether it is well.
node_status() {
    local answer code=0 name value
    answer=$(at "$1" get "$1" '/view-logs?limit=0' --pick '' </dev/null 2>"$errors") || code=$?
    if ((code != 0)); then
        explain not_asked "$1"
        return "$code"
    fi
    say node_status "$1" "$(text "role_${role_of[$1]}")" "$(text "state_${state_of[$1]}")"
    while IFS=$'\t' read -r name value; do
        # What it told before stands under responses and values, and events in monitor.sh.
        case $name in
            events | name | role | recent_* | shared_data) continue ;;
        esac
        fit "$name" 24
        printf '%s%s\n' "$fitted" "$value"
    done <<<"$answer" | shorten
}

leader_status() {
    if [[ -n $leader ]]; then
        say leader_is "$leader" "$leader_id"
        node_status "$leader"
    else
        printf '%s' "$red"
        say headline_no_leader
        printf '%s' "$plain"
        why_no_leader
        return 3
    fi
}

system_status() {
    headline
    printf '\n\n'
    health_table
    can_choose || {
        printf '\n'
        [[ -n $leader ]] || why_no_leader
        return 3
    }
}

open_urls() {
    local name url first=
    while read -r name url; do
        fit "$name" 20
        printf '  %s%s\n' "$fitted" "$url"
        [[ -n $first || $url != http*/health ]] || first=$url
    done < <(urls)
    [[ -n $first ]] || return 0
    # The monitor port takes no write, so a browser can do no harm there.
    first=${first%/health}/view-logs
    for browser in wslview xdg-open; do
        if has "$browser"; then
            say opening "$first"
            "$browser" "$first" >/dev/null 2>&1 || true
            return
        fi
    done
    say no_browser "$first"
}

# ask_line PROMPT: sets `line` to what is typed, whole; fails at the end of the input. A terminal
# gets a line to edit. Tab is a letter there, and pasted lines are as typed: what is pasted as one
# piece `read` would cut after its first line.
ask_line() {
    line=
    if [[ -t 0 ]]; then
        bind 'set disable-completion on' 2>/dev/null || true
        bind 'set enable-bracketed-paste off' 2>/dev/null || true
        IFS= read -re -p "$1" line
    else
        IFS= read -r line || [[ -n $line ]]
    fi
}

# choose ROLE NOW: sets `chosen` to a node of the role, by number or name; nothing keeps NOW.
choose() {
    local -a names
    local name number=0
    mapfile -t names < <(of_role "$1")
    for name in "${names[@]}"; do
        ((number += 1))
        printf '  %s  %s (%s)%s\n' "$number" "$name" "$(text "state_${state_of[$name]}")" \
            "$([[ $name != "$2" ]] || printf '  <')"
    done
    ask_line "$(text which "$2")" || return 1
    chosen=$2
    [[ -n $line ]] || return 0
    for number in "${!names[@]}"; do
        if [[ $line == "$((number + 1))" || $line == "${names[number]}" ]]; then
            chosen=${names[number]}
            return
        fi
    done
    say no_such_choice "$(safe "$line")"
    return 1
}

# send_value NODE: asks for a value and writes it.
send_value() {
    ask_line "$(text value_prompt "$1")" || return 0
    if [[ -z $line ]]; then
        say nothing_sent
        return
    fi
    write_to "$1" "$line"
}

# A person sees one thing at a time: the menu, or what came of a choice.
clear_screen() { [[ ! -t 0 || ! -t 1 ]] || printf '\e[H\e[2J'; }

show_menu() {
    clear_screen
    printf '%s' "$bold"
    say client_title "$(text "target_$target")"
    printf '%s' "$plain"
    headline
    printf '\n\n'
    say menu "$client"
}

act() {
    case $1 in
        1)
            if choose client "$client"; then
                client=$chosen
                say client_chosen "$client"
            fi
            ;;
        2) send_value "$client" ;;
        3) read_values ;;
        4) responses ;;
        5) node_status "$client" ;;
        6) leader_status ;;
        7)
            proposer=
            first_proposer
            ! choose proposer "$proposer" || send_value "$chosen"
            ;;
        8) system_status ;;
        *) say no_such_choice "$(safe "$1")" ;;
    esac
}

menu() {
    while true; do
        if ! survey; then
            warn nobody_answers "$(text "target_$target")" "$(last_error)"
            [[ -t 0 ]] || exit 3
        else
            first_client
            show_menu
            ask_line "$(text choice_prompt)" || return 0
            case $line in
                q | Q) return ;;
                '') continue ;;
            esac
            clear_screen
            # What went wrong was said, and the menu goes on.
            act "$line" || true
        fi
        printf '\n'
        [[ ! -t 0 ]] || ask_line "$(text enter_prompt)" || return 0
    done
}

wanted=
while (($# > 0)); do
    case $1 in
        -h | --help | help)
            say help_client
            exit
            ;;
        --target) wanted=$(value_of "$@") || exit; shift 2 ;;
        -c | --client) client=$(value_of "$@") || exit; shift 2 ;;
        --key) key=$(value_of "$@") || exit; shift 2 ;;
        -p | --proposer) proposer=$(value_of "$@") || exit; shift 2 ;;
        -*) usage_error no_such_option "$1" ;;
        *) break ;;
    esac
done
verb=${1:-menu}
(($# == 0)) || shift
case $verb in
    write | direct-write)
        # Everything behind the verb is the value, dashes too; only a first -- may announce it.
        [[ $# -ne 2 || $1 != -- ]] || shift
        (($# == 1)) || usage_error one_value "$verb"
        ;;
    status) (($# <= 1)) || usage_error too_many "$verb" ;;
    read) ;;
    menu | responses | open) (($# == 0)) || usage_error too_many "$verb" ;;
    *) usage_error no_such_verb "$verb" ;;
esac

with_errors_file
choose_target "$wanted"
if [[ $verb == menu ]]; then
    menu
    exit
fi
ask_cluster
check_role "$client" client
check_role "$proposer" proposer
first_client
case $verb in
    write) write_to "$client" "$1" ;;
    direct-write)
        first_proposer
        write_to "$proposer" "$1"
        ;;
    read) at "$client" read --node "$client" --numbered "$@" </dev/null ;;
    responses) responses ;;
    status)
        if (($# == 0)); then
            system_status
        else
            [[ -n ${role_of[$1]:-} ]] || usage_error no_such_node "$1"
            node_status "$1"
        fi
        ;;
    open) open_urls ;;
esac
