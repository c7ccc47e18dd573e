#!/usr/bin/env bats
# run.sh: on Kubernetes with a stand-in for kubectl before real nodes, and locally as it always was.

load common

setup() {
    with_stand_ins
    printf 'minikube' >"$STANDIN/context"
    touch "$STANDIN/namespace" "$STANDIN/minikube"
    for name in {proposer,acceptor}{1..3} {learner,client}{1,2}; do
        printf '%s 1 1\n' "$name" >>"$STANDIN/deployments"
        printf '%s Running\n' "$name" >>"$STANDIN/pods"
    done
}

# not_ready NAME REASON: what Kubernetes says of a pod that does not come up.
not_ready() {
    sed -i "s/^$1 .*/$1 1 /" "$STANDIN/deployments"
    sed -i "s/^$1 .*/$1 Pending $2/" "$STANDIN/pods"
}

@test "with the namespace there it shows pods, leader, health of all and URLs, and writes nothing" {
    local before
    before=$(paxosd read --numbered --limit 1)
    run "$ROOT/run.sh"
    [ "$status" -eq 0 ]
    [[ $output == *'the namespace paxos is there'* ]]
    [ "$(grep -c '✓ .* ready$' <<<"$output")" -eq 10 ]
    grep -qE '^leader: proposer[123] \(id [123]\)$' <<<"$output"
    grep -qE '^learner2 +learner +learning' <<<"$output"
    grep -qE 'client1-external +http://192.0.2.9:30601' <<<"$output"
    [ "$(paxosd read --numbered --limit 1)" = "$before" ]
    no_calls 'paxosd send'
    [[ ! ${output//$'\n'/} =~ [[:cntrl:]] ]]
}

@test "in Portuguese too" {
    LANG=pt_BR.UTF-8 run "$ROOT/run.sh" --k8s
    [ "$status" -eq 0 ]
    [[ $output == *'aguardando os pods'* && $output == *'líder: proposer'* ]]
    grep -qE '^acceptor1 +acceptor +votando' <<<"$output"
}

@test "it waits for a leader that comes" {
    node kill acceptor1
    node kill acceptor2
    "$ROOT/run.sh" --k8s --timeout 30 >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    local pid=$!
    until_true 10 grep -q 'waiting for a leader: 1 acceptors vote, 2 are needed' "$BATS_TEST_TMPDIR/out"
    node start acceptor1 3>&-
    wait "$pid"
    grep -qE '^leader: proposer' "$BATS_TEST_TMPDIR/out"
    all_well
}

@test "without a quorum it says who is missing, gives up in time, and proposes nothing" {
    local before
    before=$(paxosd read --numbered --limit 1)
    node kill acceptor1
    node kill acceptor3
    run "$ROOT/run.sh" --k8s --timeout 2
    [ "$status" -eq 3 ]
    [[ $output == *'Only 1 of 3 acceptors vote, and 2 are needed'* ]]
    [[ $output == *'acceptor3 (down)'*'kubectl scale deployment acceptor3 -n paxos --replicas=1'* ]]
    all_well
    [ "$(paxosd read --numbered --limit 1)" = "$before" ]
    no_calls 'paxosd send'
}

@test "without a proposer it says so" {
    for name in proposer{1,2,3}; do node kill "$name"; done
    run "$ROOT/run.sh" --k8s --timeout 2
    [ "$status" -eq 3 ]
    [[ $output == *'No proposer is there to lead'*'proposer2 (down)'* ]]
    all_well
}

@test "a pod that is not ready is named with its reason, and a leader is shown all the same" {
    not_ready learner2 ImagePullBackOff
    run "$ROOT/run.sh" --k8s --timeout 2
    [ "$status" -eq 1 ]
    [[ $output == *'learner2: ImagePullBackOff'*'kubectl describe pod -l app=learner2 -n paxos'* ]]
    grep -qE '^leader: proposer' <<<"$output"
}

@test "without the namespace, or without Kubernetes, it says what to do" {
    rm "$STANDIN/namespace"
    run "$ROOT/run.sh" --k8s
    [ "$status" -eq 3 ]
    [[ $output == *./deploy-paxos-k8s.sh* ]]
    rm "$STANDIN/bin/kubectl"
    run "$ROOT/run.sh" --k8s
    [ "$status" -eq 1 ]
    [[ $output == *'kubectl is missing'* ]]
}

@test "the verbs of the local cluster stay local" {
    run "$ROOT/run.sh" status
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == 'leader: '* ]]
    run "$ROOT/run.sh" kill acceptor2
    [ "$status" -eq 0 ]
    run "$ROOT/run.sh" start acceptor2
    [ "$status" -eq 0 ]
    run "$ROOT/run.sh" logs acceptor2
    [ "$status" -eq 0 ]
    run "$ROOT/run.sh" --k8s kill acceptor2
    [ "$status" -eq 2 ]
    run "$ROOT/run.sh" --local
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == 'the cluster runs already' ]]
    all_well
}

@test "a cluster of its own: start, first value once, stop, start, stop" {
    export PAXOSD_DATA=$BATS_TEST_TMPDIR/data PAXOSD_CONFIG=$BATS_TEST_TMPDIR/cluster.yaml
    # Ports between and above those of the suite.
    awk '/_port: /{ while (match($0, /_port: [0-9]+/)) {
        port = substr($0, RSTART + 7, RLENGTH - 7)
        $0 = substr($0, 1, RSTART - 1) "_gate: " port + 10 substr($0, RSTART + RLENGTH) }
        gsub(/_gate/, "_port") } { print }' "$SUITE/cluster.yaml" >"$PAXOSD_CONFIG"
    run "$ROOT/run.sh" --local 3>&-
    [ "$status" -eq 0 ]
    [[ $output == *'read it back: "hello from run.sh"'* ]]
    run "$ROOT/run.sh" stop
    [ "$status" -eq 0 ]
    LANG=pt_BR.UTF-8 run "$ROOT/run.sh" --local 3>&-
    [ "$status" -eq 0 ]
    [[ $output == *'lido de volta: "hello from run.sh"'* ]]
    [ "$("$PAXOSD_BIN" read --config "$PAXOSD_DATA/cluster.dev.yaml")" = '"hello from run.sh"' ]
    run "$ROOT/run.sh" stop
    [ "$status" -eq 0 ]
    run "$ROOT/run.sh" status
    [ "$status" -eq 3 ]
}
