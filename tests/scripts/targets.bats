#!/usr/bin/env bats
# The same scripts on Kubernetes and on Compose: the nodes are real, what leads to them is not.

load common

setup() {
    with_stand_ins
    printf 'minikube' >"$STANDIN/context"
    touch "$STANDIN/namespace" "$STANDIN/minikube"
    for name in {proposer,acceptor}{1..3} {learner,client}{1,2}; do
        printf '%s 1 1\n' "$name" >>"$STANDIN/deployments"
        printf '%s id-%s paxosd here\n' "$name" "$name" >>"$STANDIN/containers"
    done
    printf 'other id-other redis here\n' >>"$STANDIN/containers"
}

teardown() { close_terminal; }

# on_target NAME: for all that follows in this test.
on_target() { export PAXOS_TARGET=$1; }

@test "on Kubernetes nothing but kubectl exec and paxosd is needed" {
    on_target k8s
    # As on a machine where nothing was built.
    run "$ROOT/paxos-client.sh" -c client2 write $'it\'s "so" $(ok) -✓'
    [ "$status" -eq 0 ]
    [[ $output == *'through client2'* ]]
    [ "$(paxosd read --limit 1)" = $'"it\'s \\"so\\" $(ok) -✓"' ]
    calls 'exec -i -n paxos .*deploy/client2 -- /usr/local/bin/paxosd send - --node client2'
    no_calls 'curl| sh '
    run "$ROOT/monitor.sh" -n
    [[ ${lines[0]} == 'Paxos monitor (Kubernetes)'* ]]
    [[ ${lines[1]} == 'leader: '* ]]
    run "$ROOT/monitor.sh" -n -k -c
    [[ $output == *'| what deploy/client1 printed'* ]]
}

@test "no node is special: each may be the one that is gone" {
    on_target k8s
    local gone
    for gone in client1 proposer1 acceptor1; do
        node kill "$gone"
        run "$ROOT/monitor.sh" -n
        [ "$status" -eq 0 ]
        grep -qE "^$gone +down" <<<"$output"
        run "$ROOT/paxos-client.sh" write "without $gone"
        [ "$status" -eq 0 ]
        all_well
    done
}

@test "a client that was named and is gone is said to be gone" {
    on_target k8s
    node kill client1
    run "$ROOT/paxos-client.sh" -c client1 write x
    [ "$status" -eq 1 ]
    [[ $output == *'client1 could not be asked'*'timed out'* ]]
    all_well
}

@test "Kubernetes that does not answer is said to be so, and the monitor goes on looking" {
    touch "$STANDIN/away"
    run "$ROOT/monitor.sh" -n --target k8s
    [ "$status" -eq 3 ]
    [[ $output == *'no node can be asked (Kubernetes)'*'192.0.2.1'*'refused'* ]]
    terminal 80x24 en_US.UTF-8 './monitor.sh -i 1 --target k8s'
    sees 'no node can be asked'
    rm "$STANDIN/away"
    sees '^leader: '
}

@test "containers of Compose are found by their service, whatever they are called" {
    on_target compose
    run "$ROOT/paxos-client.sh" -c client2 write 'by compose'
    [ "$status" -eq 0 ]
    calls 'exec -i id-client2 /usr/local/bin/paxosd send - --node client2'
    [ "$(paxosd read --limit 1)" = '"by compose"' ]
    run "$ROOT/monitor.sh" -n -k -l
    [[ ${lines[0]} == 'Paxos monitor (Compose)'* ]]
    [[ $output == *'| what id-learner1 printed'* ]]
    no_calls 'id-other'
    sed -i '/^client1 /d' "$STANDIN/containers"
    run "$ROOT/paxos-client.sh" -c client1 write x
    [ "$status" -eq 1 ]
    [[ $output == *'client1 is not running'* ]]
    COMPOSE_PROJECT_NAME=another run "$ROOT/paxos-client.sh" status
    [ "$status" -eq 3 ]
}

@test "what is there is found: a local cluster, else the namespace, else containers" {
    found() { "$ROOT/monitor.sh" -n -c | sed -n '1s/.*(\(.*\)).*/\1/p'; }
    [ "$(found)" = 'local cluster' ]
    export PAXOSD_DATA=$BATS_TEST_TMPDIR/none
    [ "$(found)" = Kubernetes ]
    rm "$STANDIN/namespace"
    [ "$(found)" = Compose ]
    rm "$STANDIN/containers"
    run "$ROOT/monitor.sh" -n
    [ "$status" -eq 3 ]
    [[ $output == *'no cluster was found here'* ]]
}

@test "on Kubernetes the URLs are those of the NodePorts" {
    run "$ROOT/paxos-client.sh" --target k8s open
    [[ $output == *client1-external*http://192.0.2.9:30601* ]]
    [[ $output == *http://192.0.2.9:30801/health* ]]
}
