#!/usr/bin/env bats
# paxos-client.sh against ten real nodes: its verbs, and its menu in a real terminal.

load common

setup() { until_true 60 well; }
teardown() { close_terminal; }

client() { "$ROOT/paxos-client.sh" "$@"; }

# newest: the newest value as JSON.
newest() { paxosd read --limit 1; }

@test "a value arrives whole, whatever is in it" {
    local value json
    while IFS=$'\t' read -r value json; do
        run client write "$value"
        [ "$status" -eq 0 ]
        [[ $output == *"index "*"slot "* ]]
        [ "$(newest)" = "$json" ]
        run client direct-write "$value"
        [ "$status" -eq 0 ]
        [ "$(newest)" = "$json" ]
    done <<'VALUES'
plain	"plain"
it's "quoted" `x` $(touch /nowhere) $HOME \n	"it's \"quoted\" `x` $(touch /nowhere) $HOME \\n"
größer ✓ 語 🦀	"größer ✓ 語 🦀"
-n	"-n"
--help	"--help"
-	"-"
%s%n * ? [a]	"%s%n * ? [a]"
{"a": null}	"{\"a\": null}"
VALUES
    client write $'two\nlines\n'
    [ "$(newest)" = '"two\nlines\n"' ]
    client write ''
    [ "$(newest)" = '""' ]
    client write -- --
    [ "$(newest)" = '"--"' ]
}

@test "a long value arrives whole, longer than a command line may be" {
    # Bash passes it to printf, which is a part of it, so no limit of the kernel applies.
    run bash -c 'source "$1/scripts/lib.sh"; source "$1/scripts/target.sh"
        errors=/dev/stderr; choose_target local
        printf "%300000s" x | at client1 send - --node client1' _ "$ROOT"
    [ "$status" -eq 0 ]
    [ "$(newest | wc -c)" -eq 300003 ]
}

@test "writes go through the client and the proposer that were named" {
    run client --client client2 write 'through two'
    [[ $output == *'through client2'* ]]
    client --client client2 responses | grep -q '"through two"'
    run client --client client1 responses
    [[ $output != *'through two'* ]]
    run client --proposer proposer2 direct-write 'through a proposer'
    [[ $output == *'through proposer2'* ]]
    [ "$(newest)" = '"through a proposer"' ]
    run client --client proposer1 write x
    [ "$status" -eq 2 ]
    [[ $output == *'client1 client2'* ]]
}

@test "under one key a value is written once" {
    run client --key the-key-of-a-test write 'once'
    local first=$output
    run client --key the-key-of-a-test write 'once'
    [ "$output" = "$first" ]
    run client --key the-key-of-a-test write 'another'
    [ "$status" -eq 4 ]
}

@test "values are read with their index" {
    client write 'the last one'
    local index
    index=$(paxosd read --numbered --limit 1 | cut -f1)
    [ "$(client read --from "$index")" = "$index"$'\t"the last one"' ]
    [ "$(client read --limit 1)" = "$index"$'\t"the last one"' ]
}

@test "a value cannot drive the terminal of who reads it" {
    paxosd send --json "\"$(printf '\302\23331m\177')\\u001b[2J\""
    run client read --limit 1
    [[ $output == *'"\u009b31m\u007f\u001b[2J"' ]]
    run client responses
    [[ ! ${output//$'\n'/} =~ [[:cntrl:]] ]]
}

@test "status names the leader and all nodes, and of one node what it says" {
    run client status
    [ "$status" -eq 0 ]
    [[ ${lines[0]} =~ ^leader:\ proposer[123].*3\ of\ 3\ acceptors.*10\ of\ 10\ nodes\ well$ ]]
    [ "${#lines[@]}" -eq 12 ]
    run client status learner2
    [[ $output == *delivered_index* && $output != *events* ]]
    run client status nobody
    [ "$status" -eq 2 ]
}

@test "open shows the URLs" {
    PATH=$BARE_PATH run client open
    [ "$status" -eq 0 ]
    [[ $output == *"client1 "*"http://127.0.0.1:"* ]]
}

@test "a command line that makes no sense is refused before anything is sent" {
    local before
    before=$(paxosd read --numbered --limit 1)
    for line in 'write' 'write a b' 'direct-write' 'fly' '--target mars write x' '--client' 'status a b'; do
        # shellcheck disable=SC2086 # The words of a line are its arguments.
        run client $line
        [ "$status" -eq 2 ]
    done
    [ "$(paxosd read --numbered --limit 1)" = "$before" ]
}

@test "without a quorum it says who is missing, and writes nothing" {
    node kill acceptor1
    node kill acceptor3
    run client status
    [ "$status" -eq 3 ]
    [[ $output == *'1 of 3 acceptors vote'* ]]
    run client write 'nobody can choose this'
    [[ $status -eq 3 || $status -eq 5 ]]
    all_well
    run client write 'chosen again'
    [ "$status" -eq 0 ]
}

@test "where nothing runs it says how to start something" {
    export PAXOSD_DATA=$BATS_TEST_TMPDIR/none
    PATH=$BARE_PATH run client write x
    [ "$status" -eq 3 ]
    [[ $output == *./run.sh* && $output == *./deploy-paxos-k8s.sh* ]]
}

@test "the menu does what its eight items say" {
    terminal 80x24 en_US.UTF-8 ./paxos-client.sh
    sees 'Choice:'
    on_screen '^Paxos: interactive client \(local cluster\)'
    on_screen '^leader: proposer[123] \(id [123]\); 3 of 3'
    on_screen '^  8  System status'

    keys 1 Enter
    sees 'Which one'
    keys 2 Enter
    sees 'values go through client2 now'
    keys Enter

    sees 'now client2'
    keys 2 Enter
    sees 'Value for client2'
    typed $'it\'s "typed" $(ok)\tgrößer ✓'
    keys Enter
    sees 'written through client2: index [0-9]+, slot'
    [ "$(newest)" = $'"it\'s \\"typed\\" $(ok)\\tgrößer ✓"' ]
    keys Enter

    sees 'Choice:$'
    keys 3 Enter
    sees 'read through client2'
    sees 'it.s \\"typed\\" \$\(ok\)\\tgrößer ✓'
    keys Enter

    sees 'Choice:$'
    keys 4 Enter
    sees 'responses \(up to 10\) to client2'
    sees 'größer ✓"  learned 20'
    keys Enter

    sees 'Choice:$'
    keys 5 Enter
    sees 'client2: client, serving'
    sees 'in_flight +0'
    keys Enter

    sees 'Choice:$'
    keys 6 Enter
    sees 'proposer[123]: proposer, leader'
    sees 'is_leader +true'
    keys Enter

    sees 'Choice:$'
    keys 7 Enter
    sees '\(leader\)  <'
    typed proposer1
    keys Enter
    sees 'Value for proposer1'
    typed '-straight-'
    keys Enter
    sees 'written through proposer1'
    [ "$(newest)" = '"-straight-"' ]
    keys Enter

    sees 'Choice:$'
    keys 8 Enter
    sees '^client2 +client +serving'
    keys Enter

    sees 'Choice:$'
    keys 9 Enter
    sees '"9" is not on the list'
    keys Enter
    sees 'Choice:$'
    keys q Enter
    sees 'ended with 0'
}

@test "the menu in Portuguese" {
    terminal 80x24 pt_BR.UTF-8 ./paxos-client.sh
    sees 'Opção:'
    on_screen '^Paxos: cliente interativo \(cluster local\)'
    on_screen '^líder: proposer[123] \(id [123]\); 3 de 3'
    on_screen '^  2  Enviar valor'
    keys 2 Enter
    sees 'Valor para client[12]'
    typed 'coração'
    keys Enter
    sees 'gravado por client[12]: índice'
    [ "$(newest)" = '"coração"' ]
    keys Enter
    sees 'Opção:$'
    keys 8 Enter
    sees '^acceptor3 +acceptor +votando'
    # No line is longer than the screen, so none wrapped.
    not_on_screen '^[0-9]+$'
    keys Enter
    sees 'Opção:$'
    keys q Enter
    sees 'ended with 0'
}

@test "of pasted lines each is a line of its own, and none is lost unseen" {
    terminal 80x24 en_US.UTF-8 ./paxos-client.sh
    sees 'Choice:$'
    keys 2 Enter
    sees 'Value for'
    paste $'one\ntwo'
    sees 'written through'
    [ "$(newest)" = '"one"' ]
    sees 'Enter goes back to the menu. two$'
}

@test "an empty line sends nothing, and the end of the input ends the menu" {
    local before
    before=$(paxosd read --numbered --limit 1)
    run client <<<$'2\n\n'
    [ "$status" -eq 0 ]
    [[ $output == *'nothing was sent'* ]]
    [ "$(paxosd read --numbered --limit 1)" = "$before" ]
}
