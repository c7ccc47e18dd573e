# shellcheck shell=bash disable=SC2034,SC2154 # The scripts share variables across files.
# What all nodes say of themselves, from one `paxosd status -o json`, and what follows from it.

# The members of a node in the document, in their order. A text holds no bare quote.
null_or_number='(null|[0-9]+)'
node_pattern='^\{"name":"([^"]*)","id":([0-9]+),"role":"([a-z]+)","api":"([^"]*)",'
node_pattern+='"monitor":"([^"]*)","healthy":(true|false),"state":"([^"]*)",'
node_pattern+='"reason":(null|"(([^"\\]|\\.)*)"),"current_leader":'$null_or_number','
node_pattern+='"slot":'$null_or_number',"trimmed_slot":'$null_or_number','
node_pattern+='"delivered_index":'$null_or_number',"in_flight":'$null_or_number'\},?'

declare -a nodes=()
declare -A role_of=() api_of=() monitor_of=() state_of=() reason_of=() slot_of=() trimmed_of=()
declare -A index_of=() in_flight_of=() well_of=()

# survey: asks the cluster, and sets the variables above, `leader`, `leader_id`, `quorum_need`,
# `quorum_have` and `missing`. Fails where no node can be asked at all.
survey() {
    local document rest name
    anywhere status -o json || true
    document=$answer
    nodes=()
    leader='' leader_id='' missing=''
    quorum_need=0 quorum_have=0
    [[ $document =~ \"quorum\":\{\"need\":([0-9]+),\"have\":([0-9]+),\"missing\":\[([^]]*)\] ]] ||
        return 1
    quorum_need=${BASH_REMATCH[1]} quorum_have=${BASH_REMATCH[2]}
    missing=${BASH_REMATCH[3]//\"/}
    missing=${missing//,/ }
    if [[ $document =~ ^\{\"leader\":\{\"id\":([0-9]+),\"name\":\"([^\"]*)\"\} ]]; then
        leader_id=${BASH_REMATCH[1]} leader=${BASH_REMATCH[2]}
    fi
    rest=${document#*\"nodes\":\[}
    while [[ $rest =~ $node_pattern ]]; do
        name=${BASH_REMATCH[1]}
        nodes+=("$name")
        role_of[$name]=${BASH_REMATCH[3]}
        api_of[$name]=${BASH_REMATCH[4]}
        monitor_of[$name]=${BASH_REMATCH[5]}
        well_of[$name]=${BASH_REMATCH[6]}
        state_of[$name]=${BASH_REMATCH[7]// /_}
        reason_of[$name]=$(safe "${BASH_REMATCH[9]}")
        slot_of[$name]=${BASH_REMATCH[12]/null/-}
        trimmed_of[$name]=${BASH_REMATCH[13]/null/-}
        index_of[$name]=${BASH_REMATCH[14]/null/-}
        in_flight_of[$name]=${BASH_REMATCH[15]/null/-}
        rest=${rest:${#BASH_REMATCH[0]}}
    done
    ((${#nodes[@]} > 0))
}

# of_role ROLE: the names of its nodes, a line each.
of_role() {
    local name
    for name in "${nodes[@]}"; do
        [[ ${role_of[$name]} != "$1" ]] || printf '%s\n' "$name"
    done
}

# well_of_role ROLE: the first that is well, or nothing.
well_of_role() {
    local name
    for name in "${nodes[@]}"; do
        if [[ ${role_of[$name]} == "$1" && ${well_of[$name]} == true ]]; then
            printf '%s' "$name"
            return
        fi
    done
}

count_well() {
    local name count=0
    for name in "${nodes[@]}"; do
        [[ ${well_of[$name]} != true ]] || ((count += 1))
    done
    printf '%s' "$count"
}

can_choose() { [[ -n $leader ]] && ((quorum_have >= quorum_need)); }

# headline: who leads, how many vote, how many are well; in colour.
headline() {
    local colour=$green
    if [[ -n $leader ]]; then
        printf '%s' "$green$bold"
        text headline_leader "$leader" "$leader_id"
    else
        printf '%s' "$red$bold"
        text headline_no_leader
    fi
    ((quorum_have >= quorum_need)) || colour=$red
    printf '%s; %s' "$plain" "$colour"
    text headline_votes "$quorum_have" "$(of_role acceptor | wc -l)" "$quorum_need"
    printf '%s; ' "$plain"
    text headline_well "$(count_well)" "${#nodes[@]}"
}

# tone_of NODE: sets `tone` to the colour of its state.
tone_of() {
    tone=
    case ${state_of[$1]} in
        leader) tone=$green ;;
        electing) tone=$yellow ;;
        unhealthy | down | no_answer) tone=$red ;;
    esac
}

# numbers_of NODE: sets `first` and `second` to the two numbers that say most of its role.
numbers_of() {
    first=${slot_of[$1]} second=
    case ${role_of[$1]} in
        acceptor) second=${trimmed_of[$1]} ;;
        learner) second=${index_of[$1]} ;;
        client) first=${in_flight_of[$1]} ;;
    esac
}

# health_table: a line for each node.
health_table() {
    local name fitted tone cell
    printf '%s' "$bold"
    for cell in name:11 role:10 state:12 slot:8 index:8; do
        fit "$(text "column_${cell%:*}")" "${cell#*:}"
        printf '%s' "$fitted"
    done
    printf '%s%s\n' "$(text column_monitor)" "$plain"
    for name in "${nodes[@]}"; do
        tone_of "$name"
        fit "$name" 11
        printf '%s' "$fitted"
        fit "$(text "role_${role_of[$name]}")" 10
        printf '%s' "$fitted"
        fit "$(text "state_${state_of[$name]}")" 12
        printf '%s%s%s' "$tone" "$fitted" "$plain"
        fit "${slot_of[$name]}" 8
        printf '%s' "$fitted"
        fit "${index_of[$name]}" 8
        printf '%s%s\n' "$fitted" "${monitor_of[$name]}"
        [[ -z ${reason_of[$name]} ]] || printf '  %s%s%s\n' "$red" "${reason_of[$name]}" "$plain"
    done
}

survey_urls() {
    local name
    for name in $(of_role client) $(of_role learner) $(of_role proposer); do
        printf '%s %s\n%s %s/health\n' "$name" "${api_of[$name]}" "$name" "${monitor_of[$name]}"
    done
}

# why_no_leader: says why nobody leads and what is missing, a line each.
why_no_leader() {
    local name proposers=0 electing=0
    for name in $(of_role proposer); do
        [[ ${well_of[$name]} != true ]] || ((proposers += 1))
        [[ ${state_of[$name]} != electing ]] || ((electing += 1))
    done
    if ((quorum_have < quorum_need)); then
        say why_quorum "$quorum_have" "$(of_role acceptor | wc -l)" "$quorum_need"
        for name in $missing; do
            say why_missing "$name" "$(text "state_${state_of[$name]}")" "$(start_hint "$name")"
        done
    fi
    if ((proposers == 0)); then
        say why_proposers
        for name in $(of_role proposer); do
            say why_missing "$name" "$(text "state_${state_of[$name]}")" "$(start_hint "$name")"
        done
    fi
    if ((quorum_have >= quorum_need && electing > 0)); then
        say why_electing "$electing"
    elif ((quorum_have >= quorum_need && proposers > 0)); then
        say why_waiting
    fi
    for name in "${nodes[@]}"; do
        [[ -z ${reason_of[$name]} ]] || say why_reason "$name" "${reason_of[$name]}"
    done
}
