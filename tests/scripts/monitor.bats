#!/usr/bin/env bats
# monitor.sh against ten real nodes: its screens, read as a person reads them.

load common

setup() { until_true 60 well; }
teardown() { close_terminal; }

monitor() { "$ROOT/monitor.sh" "$@"; }

# fits WIDTH HEIGHT: the screen is full to its last line at most, and nothing scrolled or wrapped.
fits() {
    [[ $(screen | head -n 1) =~ ^(Paxos\ monitor|Monitor\ do\ Paxos) ]]
    [[ $(screen | grep -cE '^(Paxos monitor|Monitor do Paxos)') -eq 1 ]]
    [[ $(screen | wc -l) -eq $2 ]]
    [[ $(screen | awk -v width="$1" 'length > width' | wc -l) -eq 0 ]]
}

# Questions that a test asks until the answer is yes.
three_blocks() { (($(grep -c '^Paxos monitor' "$1") >= 3)); }
no_longer_first() { [[ $(screen | head -n 1) != "$1" ]]; }
fuller_than() { (($(screen | grep -c .) > $1)); }

@test "one look in plain lines" {
    run monitor --no-follow
    [ "$status" -eq 0 ]
    [[ ${lines[0]} =~ ^Paxos\ monitor\ \(local\ cluster\)\ +20[0-9-]+\ [0-9:]+\ UTC ]]
    [[ ${lines[1]} =~ ^leader:\ proposer[123]\ \(id\ [123]\) ]]
    [[ ! ${output//$'\n'/} =~ [[:cntrl:]] ]]
    for name in {proposer,acceptor}{1..3} {learner,client}{1,2}; do
        grep -q "^$name " <<<"$output"
    done
    [ "$(grep -cE '^(PROPOSERS|ACCEPTORS|LEARNERS|CLIENTS) ' <<<"$output")" -eq 4 ]
}

@test "flags of roles combine" {
    run monitor -n --acceptors --learners
    [[ $output == *ACCEPTORS* && $output == *LEARNERS* ]]
    [[ $output != *PROPOSERS* && $output != *CLIENTS* ]]
    run monitor -n -p -c
    [[ $output == *PROPOSERS* && $output == *CLIENTS* && $output != *ACCEPTORS* ]]
}

@test "verbose shows what a node says of itself, and -k what it printed" {
    run monitor -n -l -v
    [[ $output == *state_hash=* && $output != *'| 20'* ]]
    run monitor -n -l -k
    [[ $output == *'  | 20'* && $output != *state_hash=* ]]
}

@test "without a terminal each look is a block, every interval" {
    # Without the function between: what is killed is the script, and not a shell that waits for it.
    "$ROOT/monitor.sh" -p -i 1 >"$BATS_TEST_TMPDIR/out" 3>&- &
    local pid=$!
    until_true 60 three_blocks "$BATS_TEST_TMPDIR/out"
    kill "$pid"
    wait "$pid" || true
    run grep -q $'\e' "$BATS_TEST_TMPDIR/out"
    [ "$status" -eq 1 ]
}

@test "a steady screen of 80x24, in place, and the old one back at the end" {
    terminal 80x24 en_US.UTF-8 './monitor.sh --interval 1'
    sees '^q or Ctrl-C ends'
    fits 80 24
    on_screen '^CLIENTS +STATE +IN FLIGHT'
    on_screen '^client2 +serving'
    until_true 15 no_longer_first "$(screen | head -n 1)"
    fits 80 24
    keys C-c
    sees 'ended with 0'
    screen | head -n 2 | tail -n 1 | grep -q '^ended with 0'
    [ "$(screen | head -n 1)" = before ]
}

@test "q ends it too" {
    terminal 80x24 en_US.UTF-8 './monitor.sh'
    sees '^q or Ctrl-C ends'
    keys q
    sees 'ended with 0'
}

@test "a value's way is seen at proposers, acceptors, learners and clients" {
    terminal 132x45 pt_BR.UTF-8 './monitor.sh -i 1'
    sees '^q ou Ctrl-C encerra'
    fits 132 45
    local slot
    slot=$(paxosd send 'seen by the monitor' | sed 's/.*slot \([0-9]*\).*/\1/')
    sees "slot $slot is chosen at ballot"
    sees "accepts slot $slot at ballot"
    sees "delivers slot $slot, through index"
    sees "answers its caller from slot $slot"
    on_screen '^líder: proposer[123]'
    on_screen '^ACCEPTORS +ESTADO +SLOT +APARADO'
    on_screen '^acceptor1 +votando'
}

@test "a window that changes its size is filled again" {
    terminal 80x24 en_US.UTF-8 './monitor.sh -i 5'
    sees '^q or Ctrl-C ends'
    resize 120 40
    until_true 20 fuller_than 30
    fits 120 40
    resize 70 12
    sees 'more lines; make the window taller'
    fits 70 12
}

@test "a node that is gone and the lack of a leader are seen at once" {
    terminal 80x24 en_US.UTF-8 './monitor.sh -i 1'
    sees '^leader: '
    node kill acceptor2
    sees '^acceptor2 +down'
    on_screen '2 of 3 acceptors vote'
    node kill acceptor1
    sees '^no leader elected; 1 of 3 acceptors vote'
    all_well
    sees '^leader: .*10 of 10 nodes well'
}

@test "the loss of the leader is seen, whoever it is" {
    local leader
    leader=$(paxosd status | sed -n '1s/^leader: \([^ ]*\).*/\1/p')
    terminal 80x24 en_US.UTF-8 './monitor.sh -p -i 1'
    sees "^leader: $leader"
    node kill "$leader"
    sees "^$leader +down"
    sees '^leader: proposer'
    not_on_screen "^leader: $leader"
    all_well
}
