#!/usr/bin/env bats
# deploy-paxos-k8s.sh and cleanup-paxos-k8s.sh, before stand-ins that write down what was asked.

load common

# document KIND NAME [IMAGE]: one document of the manifests, as kustomize writes it.
document() {
    printf -- '---\napiVersion: v1\nkind: %s\nmetadata:\n  labels:\n    name: other\n' "$1"
    printf '  name: %s\n  namespace: paxos\nspec:\n' "$2"
    [[ -z ${3-} ]] || printf '  template:\n    containers:\n      - image: %s\n' "$3"
}

setup() {
    with_stand_ins
    # The scripts stand in a copy of the repository, with manifests as small as can be.
    export COPY=$BATS_TEST_TMPDIR/repository
    mkdir -p "$COPY"/k8s/overlays/{minikube,production}
    ln -s "$ROOT"/*.sh "$ROOT/scripts" "$COPY/"
    touch "$COPY"/k8s/overlays/{minikube,production}/kustomization.yaml
    for name in proposer1 acceptor1; do
        printf '%s 1 \n' "$name" >>"$STANDIN/deployments"
        printf '%s 1 1\n' "$name" >>"$STANDIN/deployments.next"
        printf '%s Pending ContainerCreating\n' "$name" >>"$STANDIN/pods"
    done
    document Deployment other paxos-node:latest >"$STANDIN/manifests"
    printf 'minikube' >"$STANDIN/context"
}

deploy() { "$COPY/deploy-paxos-k8s.sh" "$@"; }
cleanup() { "$COPY/cleanup-paxos-k8s.sh" "$@"; }

# in_order PATTERN...: each of the calls came, each after the one before.
in_order() {
    local pattern at=0 next
    for pattern in "$@"; do
        next=$(tail -n "+$((at + 1))" "$STANDIN/calls" | grep -nE -m 1 -- "$pattern" | cut -d: -f1)
        if [[ -z $next ]]; then
            printf 'after call %s there was no %s\n' "$at" "$pattern"
            cat "$STANDIN/calls"
            return 1
        fi
        at=$((at + next))
    done
}

@test "deploy starts Minikube, builds inside of it, applies, waits, and says what is next" {
    run deploy
    [ "$status" -eq 0 ]
    in_order '^minikube start --driver=docker' '^minikube addons enable ingress' \
        '^minikube docker-env' '^docker \(in tcp://192.0.2.9:2376\) build -t paxos-node:latest' \
        '^kubectl kustomize .*/k8s/overlays/minikube$' '^kubectl apply -f -$' \
        '^kubectl get deployments .*jsonpath' '^kubectl get pods -n paxos -o wide'
    grep -q 'image: paxos-node:latest' "$STANDIN/applied"
    [[ $output == *'… proposer1'*ContainerCreating* && $output == *'✓ proposer1'*ready* ]]
    [[ $output == *http://192.0.2.9:30601* && $output == *./run.sh* ]]
    no_calls '^docker push'
    no_calls 'rollout'
}

@test "deploy leaves a Minikube alone that runs already" {
    touch "$STANDIN/minikube"
    run deploy
    [ "$status" -eq 0 ]
    no_calls '^minikube start'
}

@test "a Minikube without Docker inside gets the image loaded" {
    touch "$STANDIN/no_docker_env"
    run deploy --tag 7
    [ "$status" -eq 0 ]
    in_order '^docker build -t paxos-node:7' '^minikube image load paxos-node:7'
    grep -q 'image: paxos-node:7$' "$STANDIN/applied"
}

@test "with a registry it pushes, needs no Minikube, and the manifests name what was pushed" {
    sed -i 's#paxos-node:latest#registry.example.com/paxos-node:0.1.0#' "$STANDIN/manifests"
    printf 'production' >"$STANDIN/context"
    run deploy --registry registry.example.com:5000/team/ --image our-paxos --tag 1.2 \
        --overlay production
    [ "$status" -eq 0 ]
    in_order '^docker build -t registry.example.com:5000/team/our-paxos:1.2 ' \
        '^docker push registry.example.com:5000/team/our-paxos:1.2' 'overlays/production$' 'apply'
    grep -q ' image: registry.example.com:5000/team/our-paxos:1.2$' "$STANDIN/applied"
    no_calls '^minikube'
}

# ready NAME...: these Deployments are there, each with its pod.
ready() {
    touch "$STANDIN/minikube" "$STANDIN/namespace"
    rm -f "$STANDIN/deployments.next"
    printf '%s 1 1\n' "$@" >"$STANDIN/deployments"
    local name
    for name in "$@"; do
        document Deployment "$name" paxos-node:latest
    done >"$STANDIN/manifests"
}

# applied: how many times something was applied.
applied() { grep -c '^kubectl apply' "$STANDIN/calls"; }

@test "nodes that are ready are brought up to date one by one, after all else" {
    ready acceptor1 acceptor2 gone
    {
        document Namespace paxos | tail -n +2
        document Service acceptor1
        for name in acceptor1 acceptor2 proposer1; do
            document Deployment "$name" paxos-node:latest
        done
        document Ingress acceptor2
    } >"$STANDIN/manifests"
    printf '%s sha256:new\n' acceptor1 acceptor2 >"$STANDIN/images"
    run deploy --tag 7
    [ "$status" -eq 0 ]
    in_order 'applied Namespace' 'applied Service' 'applied Ingress' 'name proposer1' 'apply' \
        'applied Deployment' 'name acceptor1' 'rollout status -n paxos deployment/acceptor1' \
        'applied Deployment' 'name acceptor2' 'rollout status -n paxos deployment/acceptor2'
    [ "$(grep -c 'image: paxos-node:7$' "$STANDIN/applied")" -eq 3 ]
    [ "$(applied)" -eq 3 ]
    no_calls 'rollout restart|gone'
}

@test "an image that is new under its old name is taken up by nodes that run" {
    ready acceptor1 acceptor2
    run deploy
    [ "$status" -eq 0 ]
    in_order 'name acceptor1' 'rollout restart -n paxos deployment/acceptor1' \
        'rollout status -n paxos deployment/acceptor1' 'annotate .*acceptor1 .*=sha256:new' \
        'name acceptor2' 'rollout restart -n paxos deployment/acceptor2' \
        'rollout status .*acceptor2'
    : >"$STANDIN/calls"
    run deploy
    [ "$status" -eq 0 ]
    no_calls 'rollout restart'
}

@test "a node that does not come back stops it, and the next run goes on where it stopped" {
    ready acceptor1 acceptor2 acceptor3
    printf acceptor2 >"$STANDIN/stuck"
    run deploy
    [ "$status" -eq 1 ]
    [[ $output == *'acceptor2 did not come back'*'rollout undo -n paxos deployment/acceptor2'* ]]
    no_calls 'acceptor3'
    # It is still away: those that are ready stay as they are.
    : >"$STANDIN/calls"
    run deploy --timeout 1
    [ "$status" -eq 1 ]
    [[ $output == *'acceptor2: '*'--at-once'* ]]
    in_order 'name acceptor2' 'restart .*acceptor2'
    no_calls 'acceptor[13]'
    # It is back.
    rm "$STANDIN/stuck"
    sed -i 's/^acceptor2 1 $/acceptor2 1 1/' "$STANDIN/deployments"
    : >"$STANDIN/calls"
    run deploy
    [ "$status" -eq 0 ]
    in_order 'restart .*acceptor2' 'restart .*acceptor3'
    no_calls 'restart .*acceptor1'
}

@test "all nodes at once only where that is said" {
    ready acceptor1 acceptor2
    run deploy --at-once
    [ "$status" -eq 0 ]
    [ "$(applied)" -eq 1 ]
    in_order 'name acceptor1' 'name acceptor2' 'restart .*acceptor1' 'restart .*acceptor2'
    no_calls 'rollout status'
}

@test "nothing is applied where kubectl does not say what is there" {
    ready acceptor1
    touch "$STANDIN/forbidden"
    run deploy
    [ "$status" -eq 3 ]
    [[ $output == *'deployments.apps is forbidden'* ]]
    no_calls 'apply'
}

@test "deploy gives up in time, and says which pods are not ready and why" {
    rm "$STANDIN/deployments.next"
    local begun=$SECONDS
    run deploy --timeout 2
    [ "$status" -eq 1 ]
    ((SECONDS - begun < 20))
    [[ $output == *'acceptor1: ContainerCreating'*'describe pod -l app=acceptor1 -n paxos'* ]]
    [[ $output == *'kubectl get events -n paxos'* ]]
}

@test "deploy says what is missing before it does anything" {
    run deploy --overlay nowhere
    [ "$status" -eq 1 ]
    [[ $output == *k8s/overlays/nowhere* ]]
    for bad in '--tag a:b' '--image A' '--registry a;b' '--timeout 0' '--tag'; do
        # shellcheck disable=SC2086 # The words of a line are its arguments.
        run deploy $bad
        [ "$status" -eq 2 ]
    done
    touch "$STANDIN/docker_away"
    run deploy
    [ "$status" -eq 1 ]
    [[ $output == *'Docker does not answer: Cannot connect'* ]]
    rm "$STANDIN/docker_away"
    touch "$STANDIN/minikube"
    printf 'production' >"$STANDIN/context"
    run deploy
    [ "$status" -eq 1 ]
    [[ $output == *'kubectl speaks to "production"'* ]]
    no_calls 'apply|build'
    local tool
    for tool in docker kubectl minikube; do
        mv "$STANDIN/bin/$tool" "$STANDIN/"
        run deploy
        [ "$status" -eq 1 ]
        [[ $output == *"$tool is missing; ./setup-kubernetes-wsl.sh"* ]]
        mv "$STANDIN/$tool" "$STANDIN/bin/"
    done
}

@test "manifests without our image are not applied" {
    printf 'image: nginx\n' >"$STANDIN/manifests"
    run deploy
    [ "$status" -eq 1 ]
    [[ $output == *'no container in'*'paxos-node'* ]]
    no_calls 'apply'
}

@test "cleanup removes in reverse order, names the data, and asks for each step" {
    touch "$STANDIN/namespace" "$STANDIN/minikube"
    printf 'persistentvolumeclaim/acceptor1\n' >"$STANDIN/claims"
    run cleanup <<<$'y\ny\nn\ny\n'
    [ "$status" -eq 0 ]
    [[ $output == *'Remove the namespace paxos from the cluster "minikube"?'* ]]
    [[ $output == *'These volumes are the data'*persistentvolumeclaim/acceptor1* ]]
    in_order 'delete ingresses' 'delete deployments -l role=client' 'role=learner' \
        'role=acceptor' 'role=proposer' 'delete services' 'delete configmaps' \
        'delete persistentvolumeclaims --all' 'delete namespace paxos' '^minikube delete'
    no_calls '^minikube stop'
}

@test "who does not say yes keeps the volumes, and their namespace" {
    touch "$STANDIN/namespace"
    printf 'persistentvolumeclaim/acceptor1\n' >"$STANDIN/claims"
    run cleanup <<<$'y\n\n'
    [ "$status" -eq 0 ]
    calls 'delete deployments -l role=acceptor'
    no_calls 'delete (persistentvolumeclaims|namespace)'
    [[ $output == *'the volumes stay'* ]]
    : >"$STANDIN/calls"
    run cleanup </dev/null
    [ "$status" -eq 0 ]
    no_calls 'delete'
    [[ $output == *'nothing was removed'* ]]
}

@test "without questions: all of it, or all but the data; and Minikube only where that was said" {
    touch "$STANDIN/namespace" "$STANDIN/minikube"
    printf 'persistentvolumeclaim/acceptor1\n' >"$STANDIN/claims"
    run cleanup --yes --keep-data </dev/null
    [ "$status" -eq 0 ]
    no_calls 'delete (persistentvolumeclaims|namespace)|^minikube (stop|delete)'
    run cleanup --yes --minikube stop </dev/null
    [ "$status" -eq 0 ]
    in_order 'delete persistentvolumeclaims' 'delete namespace' '^minikube stop'
    no_calls '^minikube delete'
}

@test "cleanup with nothing there says so, and still asks about Minikube" {
    touch "$STANDIN/minikube"
    LANG=pt_BR.UTF-8 run cleanup <<<$'s\nn\n'
    [ "$status" -eq 0 ]
    [[ $output == *'não há namespace paxos'*'Parar o Minikube? [s/N]'* ]]
    calls '^minikube stop'
    no_calls 'delete'
}
