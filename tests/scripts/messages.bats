#!/usr/bin/env bats
# The table of messages: two languages that say the same, chosen as POSIX chooses.

load common

# table LANGUAGE: every message, a line each, with its line ends shown.
table() {
    LANG=$1 bash -c '
        source "$1/scripts/lib.sh"
        for key in "${!messages[@]}"; do printf "%s\t%q\n" "$key" "${messages[$key]}"; done' \
        _ "$ROOT" | sort
}

@test "both languages have the same places for what is filled in" {
    places() { table "$1" | awk -F'\t' '{ print $1, gsub(/%s/, "", $2) }'; }
    diff <(places en) <(places pt)
}

@test "no message is missing and none is without use" {
    cat "$ROOT"/*.sh "$ROOT"/scripts/{lib,target,survey,pods}.sh |
        grep -v "^ *#" >"$BATS_TEST_TMPDIR/code"
    table en | cut -f1 | sort -u >"$BATS_TEST_TMPDIR/keys"
    # Every word that could be a key stands in one of these.
    grep -oE '[a-z][a-z0-9_]+' "$BATS_TEST_TMPDIR/code" | sort -u >"$BATS_TEST_TMPDIR/words"
    # Keys that are put together from a prefix and a name of the cluster are in no text whole.
    run bash -c 'comm -23 "$1/keys" "$1/words" | grep -vE "^(target|role|state|section|column)_"' \
        _ "$BATS_TEST_TMPDIR"
    [ -z "$output" ]
    local before='\b(text|say|warn|fail [0-9]|usage_error|explain|heading|yes_or_no|give_up)'
    grep -ohE "$before [a-z][a-z0-9_]+[a-z0-9]( |\)|\$|;)" "$BATS_TEST_TMPDIR/code" |
        grep -oE '[a-z0-9_]+.?$' | tr -d ' );' | sort -u >"$BATS_TEST_TMPDIR/said"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/said")" -gt 60 ]
    run comm -23 "$BATS_TEST_TMPDIR/said" "$BATS_TEST_TMPDIR/keys"
    [ -z "$output" ]
}

@test "texts that people read differ, and none is left in English" {
    # These are the same word in both.
    local same='client_title|column_(slot|monitor)|node_status|response|role_(proposer|acceptor|learner)'
    same+='|section_(proposer|acceptor|learner)|target_(k8s|compose)|urls_title|why_reason'
    run comm -12 <(table en) <(table pt)
    while IFS=$'\t' read -r key _; do
        [[ -z $key || $key =~ ^($same)$ ]] || {
            printf '%s is the same in both\n' "$key"
            return 1
        }
    done <<<"$output"
}

@test "the first of LC_ALL, LC_MESSAGES and LANG that is not empty decides" {
    first_word() { env "$@" "$ROOT/monitor.sh" --help 2>/dev/null | head -n 1; }
    [[ $(first_word LANG=pt_BR.UTF-8) == Uso:* ]]
    [[ $(first_word LANG=pt_PT) == Uso:* ]]
    [[ $(first_word LANG=pt_BR.UTF-8 LC_MESSAGES=en_US.UTF-8) == Usage:* ]]
    [[ $(first_word LANG=en_US.UTF-8 LC_MESSAGES=pt_BR.UTF-8) == Uso:* ]]
    [[ $(first_word LC_ALL=C LC_MESSAGES=pt_BR.UTF-8) == Usage:* ]]
    [[ $(first_word LC_ALL= LC_MESSAGES= LANG=pt) == Uso:* ]]
    [[ $(first_word LANG=de_DE.UTF-8) == Usage:* ]]
    [[ $(first_word A=b) == Usage:* ]]
}

@test "every script has help, refuses what it does not know, and both fit into 100 columns" {
    local script
    for script in setup-kubernetes-wsl deploy-paxos-k8s run paxos-client monitor cleanup-paxos-k8s; do
        for lang in en_US.UTF-8 pt_BR.UTF-8; do
            LANG=$lang run "$ROOT/$script.sh" --help
            [ "$status" -eq 0 ]
            [[ $output == *"./$script.sh"* ]]
            [[ $output == *[Ee]x[ae]mpl* ]]
            run awk 'length > 100' <<<"$output"
            [ -z "$output" ]
        done
        run "$ROOT/$script.sh" --nonsense
        [ "$status" -eq 2 ]
    done
}
