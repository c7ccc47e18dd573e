#!/usr/bin/env bash
# Watches all nodes: one steady screen, a section a role, and what each node did last. On a terminal
# the screen is redrawn in place and put back at the end; elsewhere each look is a block of lines.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
# shellcheck source=scripts/target.sh
source "$root/scripts/target.sh"
# shellcheck source=scripts/survey.sh
source "$root/scripts/survey.sh"

interval=3
follow=yes
verbose=
kubectl_logs=
roles=()
wanted=

# Lines of a node's own log that --kubectl-logs shows, and events of a node where room is no matter.
log_lines=5
events_plain=3
events_max=20

while (($# > 0)); do
    case $1 in
        -h | --help)
            say help_monitor
            exit
            ;;
        -p | --proposers) roles+=(proposer) ;;
        -a | --acceptors) roles+=(acceptor) ;;
        -l | --learners) roles+=(learner) ;;
        -c | --clients) roles+=(client) ;;
        -i | --interval) interval=$(number_of "$@") || exit; shift ;;
        -n | --no-follow) follow= ;;
        -v | --verbose) verbose=yes ;;
        -k | --kubectl-logs) kubectl_logs=yes ;;
        --target) wanted=$(value_of "$@") || exit; shift ;;
        *) usage_error no_such_option "$1" ;;
    esac
    shift
done
((${#roles[@]} > 0)) || roles=(proposer acceptor learner client)

on_screen=
[[ -z $follow || ! -t 1 ]] || on_screen=yes

with_errors_file
choose_target "$wanted"

# The frame, a line each, as it will be drawn.
frame=()
declare -A events_of=()

# look: asks the cluster. What it says is kept until the next look.
look() {
    asked_at=$(TZ=UTC printf '%(%F %T)T' -1)
    problem=
    events_of=()
    if ! survey; then
        problem=$(text nobody_answers "$(text "target_$target")" "$(last_error)")
        return
    fi
    local name line
    anywhere logs --limit "$events_max" || true
    while read -r name _ line; do
        # Newest first.
        [[ -z $name ]] || events_of[$name]=$line$'\n'${events_of[$name]:-}
    done <<<"$answer"
}

# shown ROLE: its nodes, where the role is wanted.
shown() {
    [[ " ${roles[*]} " != *" $1 "* ]] || of_role "$1"
}

# put TEXT: a line of the frame. A terminal cuts what is too long, as wrapping is off.
put() { frame+=("$1"); }

header() {
    local title
    title=$(text monitor_title "$(text "target_$target")")
    put "$bold$title$plain  $dim$asked_at UTC  $(text every "$interval")$plain"
    if [[ -n $problem ]]; then
        put "$red$problem$plain"
    else
        put "$(headline)"
    fi
}

# captions ROLE: sets `first` and `second` to the names of its two numbers.
captions() {
    first=$(text column_slot) second=
    case $1 in
        acceptor) second=$(text column_trimmed) ;;
        learner) second=$(text column_index) ;;
        client) first=$(text column_in_flight) ;;
    esac
}

# columns NAME STATE FIRST SECOND: sets `row` to them, side by side.
columns() {
    local fitted
    row=
    fit "$1" 11
    row+=$fitted
    fit "$2" 13
    row+=${5:-}$fitted${5:+$plain}
    fit "$3" 10
    row+=$fitted
    fit "$4" 8
    row+=$fitted
}

# event LINE: sets `event` to what is shown of time, kind and text, as far as there is room.
event() {
    local at kind said
    local room=$((width - 51))
    read -r at kind said <<<"$1" || true
    at=${at#*T}
    said=${said:-$kind}
    ((${#said} <= room)) || said=${said:0:room > 1 ? room - 1 : 0}…
    event=$dim${at%%.*}$plain' '$said
}

# section ROLE EVENTS: a title, and each node with its newest events.
section() {
    local name row event first second tone line reason count most
    captions "$1"
    columns "$(text "section_$1")" "$(text column_state)" "$first" "$second"
    put "$bold$row$(text column_events)$plain"
    for name in $(of_role "$1"); do
        tone_of "$name"
        numbers_of "$name"
        columns "$name" "$(text "state_${state_of[$name]}")" "$first" "$second" "$tone"
        reason=${reason_of[$name]:+$red${reason_of[$name]}$plain}
        count=0 most=$2
        if ((spare > 0)); then
            spare=$((spare - 1)) most=$(($2 + 1))
        fi
        while IFS= read -r line && ((count < most)); do
            [[ -n $line ]] || continue
            event "$line"
            put "$row${reason:-$event}"
            columns '' '' '' ''
            reason=
            ((count += 1))
        done <<<"${events_of[$name]:-}"
        ((count > 0)) || put "$row$reason"
        [[ -z $verbose ]] || state_lines "$name"
        [[ -z $kubectl_logs ]] || own_log "$name"
    done
}

# state_lines NODE: all that it says of itself, as many members a line as fit.
state_lines() {
    local name value line=' '
    at "$1" get "$1" '/view-logs?limit=0' --pick '' </dev/null >"$states/$1" 2>"$errors" || true
    while IFS=$'\t' read -r name value; do
        case $name in
            events | id | name | role) continue ;;
        esac
        value="$name=${value:0:60}"
        if ((${#line} + ${#value} + 1 > width)); then
            put "$dim$line$plain"
            line=' '
        fi
        line+=" $value"
    done <"$states/$1"
    put "$dim$line$plain"
}

# own_log NODE: the last lines of what it prints.
own_log() {
    local line
    while IFS= read -r line; do
        put "  $dim| $(safe "$line")$plain"
    done < <(node_log "$1" "$log_lines" 2>&1)
}

# draw: makes the frame, for the screen as it is now.
draw() {
    local role rows=0 sections=0 name events=$events_plain spare=0
    frame=()
    width=120
    if [[ -n $on_screen ]]; then
        read -r height width < <(stty size </dev/tty 2>/dev/null || printf '24 80\n')
    fi
    header
    [[ -n $problem ]] || for role in proposer acceptor learner client; do
        name=$(shown "$role" | wc -l)
        ((name == 0)) || ((sections += 1, rows += name))
    done
    if [[ -n $on_screen ]] && ((rows > 0)); then
        # What room is left goes to the events, as equally as it can.
        events=$(((height - 3 - sections) / rows))
        if ((events < 1)); then
            events=1
        elif ((events >= events_max)); then
            events=$events_max
        else
            spare=$(((height - 3 - sections) % rows))
        fi
    fi
    [[ -n $problem ]] || for role in proposer acceptor learner client; do
        [[ -z $(shown "$role") ]] || section "$role" "$events"
    done
    if [[ -n $on_screen ]]; then
        paint
    else
        printf '%s\n' "${frame[@]}"
    fi
}

# paint: puts the frame on the screen in one go, over the one before, so that nothing flickers; and
# no line end behind the last one, so that nothing scrolls.
paint() {
    local line out=$'\e[H' count=0
    for line in "${frame[@]}"; do
        if ((count + 1 >= height)); then
            out+="$dim$(text more_lines "$((${#frame[@]} - count))")$plain"$'\e[K'
            printf '%s\e[J' "$out"
            return
        fi
        out+=$line$plain$'\e[K\n'
        ((count += 1))
    done
    out+=$dim$(text monitor_keys)$plain$'\e[K\e[J'
    printf '%s' "$out"
}

# The other screen, no cursor, no wrapping; and all of it back, whatever ends us.
enter_screen() {
    printf '\e[?1049h\e[?25l\e[?7l'
    stty -echo </dev/tty 2>/dev/null || true
}

leave() {
    if [[ -n $on_screen ]]; then
        printf '\e[?7h\e[?25h\e[?1049l'
        stty echo </dev/tty 2>/dev/null || true
    fi
    rm -rf -- "$errors" "$states"
}

# pause: waits for the next look, and leaves at once for q. A screen that changes its size is
# redrawn from what is known.
pause() {
    local key until=$((SECONDS + interval))
    if [[ -z $on_screen ]]; then
        sleep "$interval"
        return
    fi
    while ((SECONDS < until)); do
        if [[ -n $resized ]]; then
            resized=
            draw
        fi
        key=
        if [[ -t 0 ]]; then
            IFS= read -rsn 1 -t 0.2 key || true
        else
            sleep 0.2
        fi
        case $key in
            q | Q) exit 0 ;;
            r | R) return ;;
        esac
    done
}

states=$(mktemp -d)
resized=
trap leave EXIT
# Ctrl-C is how one leaves here.
trap 'exit 0' INT TERM HUP
trap 'resized=yes' WINCH
[[ -z $on_screen ]] || enter_screen

while true; do
    look
    draw
    if [[ -z $follow ]]; then
        [[ -z $problem ]] || exit 3
        break
    fi
    pause
    [[ -n $on_screen ]] || printf '\n'
done
