# shellcheck shell=bash disable=SC2034,SC2154 # The scripts share variables across files.
# Where the nodes are and how one of them is asked: processes of this machine (local), Deployments
# (k8s), or containers of Compose (compose). The paxosd that asks stands beside the nodes, so that
# nothing but kubectl or docker is needed here, and no shell or curl there.

data=${PAXOSD_DATA:-$here/data}
inside=/usr/local/bin/paxosd
target=

# No answer takes longer than this; a connection to a node that vanished would hang.
patience_s=30

# choose_target [NAME]: sets `target` to what was asked for, or to what is there.
choose_target() {
    target=${1:-${PAXOS_TARGET:-}}
    case $target in
        local) find_binary || fail 1 no_binary ;;
        k8s) need kubectl no_kubectl ;;
        compose) need docker no_docker ;;
        '') discover_target || fail 3 no_target ;;
        *) usage_error bad_target "$target" ;;
    esac
}

# What was started by hand here comes first, and what runs elsewhere last.
discover_target() {
    if find_binary && { [[ -n ${PAXOSD_CONFIG:-} ]] || local_runs; }; then
        target=local
    elif namespace_is_there; then
        target=k8s
    elif has docker && [[ -n $(containers) ]]; then
        target=compose
    else
        return 1
    fi
}

find_binary() {
    local built=${CARGO_TARGET_DIR:-$here/target}/release/paxosd
    if [[ -n ${PAXOSD_BIN:-} ]]; then
        bin=$PAXOSD_BIN
    elif [[ -x $built ]]; then
        bin=$built
    else
        bin=$(command -v paxosd) || return 1
    fi
    [[ -x $bin ]]
}

local_runs() { "$bin" dev status --data "$data" >/dev/null 2>&1; }

namespace_is_there() {
    has kubectl &&
        kubectl get namespace "$namespace" --request-timeout=3s -o name >/dev/null 2>&1
}

# The running containers of Compose that run our image, a line each: service and container. The
# image is known by its label, as its name may be any.
containers() {
    local filter=(--filter label=com.docker.compose.service)
    filter+=(--filter label=org.opencontainers.image.title=paxosd)
    [[ -z ${COMPOSE_PROJECT_NAME:-} ]] ||
        filter+=(--filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")
    docker ps "${filter[@]}" --format '{{.Label "com.docker.compose.service"}} {{.ID}}' \
        2>/dev/null
}

container_of() {
    local service id
    while read -r service id; do
        [[ $service != "$1" ]] || printf '%s' "$id"
    done < <(containers)
}

# at NODE VERB ARG...: runs paxosd beside NODE, and lets it read our standard input.
at() {
    local node=$1 container
    shift
    case $target in
        local) at_local "$@" ;;
        k8s)
            timeout --foreground "$patience_s" \
                kubectl exec -i -n "$namespace" --pod-running-timeout=2s "deploy/$node" -- \
                "$inside" "$@"
            ;;
        compose)
            container=$(container_of "$node")
            if [[ -z $container ]]; then
                say node_not_there "$node" >&2
                return 1
            fi
            timeout --foreground "$patience_s" docker exec -i "$container" "$inside" "$@"
            ;;
    esac
}

# On this machine the configuration says where the nodes are.
at_local() {
    if [[ -z ${PAXOSD_CONFIG:-} && -f $data/cluster.dev.yaml ]]; then
        PAXOSD_CONFIG=$data/cluster.dev.yaml "$bin" "$@"
    else
        "$bin" "$@"
    fi
}

# anywhere VERB ARG...: runs paxosd beside any node that is there, and sets `answer` to what it
# says. No node is special, so the one that answered last is asked first, and then all the others.
gate=
anywhere() {
    local node code
    local tried=" "
    for node in $gate $(candidates); do
        [[ $tried != *" $node "* ]] || continue
        tried+="$node "
        answer=$(at "$node" "$@" </dev/null 2>"$errors") && code=0 || code=$?
        # What kubectl and docker could not do ends with these; what paxosd says is an answer.
        case $code in
            1 | 12[4-7] | 137) continue ;;
        esac
        gate=$node
        return "$code"
    done
    answer=
    return 1
}

available='{range .items[?(@.status.availableReplicas>0)]}{.metadata.name}{"\n"}{end}'

# Nodes beside which paxosd may be run.
candidates() {
    case $target in
        local) printf 'here\n' ;;
        k8s)
            kubectl get deployments -n "$namespace" --request-timeout=5s \
                -o "jsonpath=$available" 2>"$errors"
            ;;
        compose) containers | cut -d' ' -f1 ;;
    esac
}

# What went wrong last, as kubectl, docker or paxosd said it, in a line.
last_error() {
    local line=
    # So kubectl tells the exit code, which says nothing more.
    line=$(grep -v '^command terminated with exit code' "$errors" | tail -n 1) || line=
    safe "${line#paxosd: }"
}

# A file for what is said on standard error, and its end. Scripts that ask nodes call it once.
with_errors_file() {
    errors=$(mktemp)
    trap 'rm -f -- "$errors"' EXIT
}

# start_hint NODE: the command that brings a node back.
start_hint() {
    case $target in
        local) printf './run.sh start %s' "$1" ;;
        k8s) printf 'kubectl scale deployment %s -n %s --replicas=1' "$1" "$namespace" ;;
        compose) printf '%s up -d %s' "$(compose_command)" "$1" ;;
    esac
}

compose_command() {
    if docker compose version >/dev/null 2>&1; then
        printf 'docker compose'
    else
        printf 'docker-compose'
    fi
}

# Where a person reaches the cluster from here, a line each: name and URL.
urls() {
    case $target in
        local) survey_urls ;;
        k8s) k8s_urls ;;
        compose) compose_urls ;;
    esac
}

compose_urls() {
    local service id inside_port where
    while read -r service id; do
        while read -r inside_port _ where; do
            if [[ $inside_port == 8000/* ]]; then
                printf '%s http://%s/health\n' "$service" "$where"
            else
                printf '%s http://%s\n' "$service" "$where"
            fi
        done < <(docker port "$id" 2>/dev/null)
    done < <(containers | sort)
}

k8s_urls() {
    local ip service ports port
    ip=$(node_address)
    while read -r service ports; do
        for port in $ports; do
            case $port in
                monitor:*) printf '%s http://%s:%s/health\n' "$service" "$ip" "${port#*:}" ;;
                *) printf '%s http://%s:%s\n' "$service" "$ip" "${port#*:}" ;;
            esac
        done
    done < <(kubectl get services -n "$namespace" --request-timeout=5s -o "jsonpath=$node_ports")
}

node_ports='{range .items[?(@.spec.type=="NodePort")]}{.metadata.name}'
node_ports+='{range .spec.ports[*]} {.name}:{.nodePort}{end}{"\n"}{end}'

on_minikube() { [[ $(kubectl config current-context 2>/dev/null) == minikube ]]; }

node_address() {
    local ip=
    if on_minikube && has minikube; then
        ip=$(minikube ip 2>/dev/null) || ip=
    fi
    [[ -n $ip ]] || ip=$(kubectl get nodes --request-timeout=5s -o \
        'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' 2>/dev/null) || ip=
    printf '%s' "${ip:-NODE}"
}

# node_log NODE N: the last N lines that it printed.
node_log() {
    local container
    case $target in
        local) tail -n "$2" -- "$data/logs/$1.log" ;;
        k8s)
            timeout --foreground "$patience_s" \
                kubectl logs -n "$namespace" "deploy/$1" --tail="$2" --request-timeout=5s
            ;;
        compose)
            container=$(container_of "$1")
            if [[ -z $container ]]; then
                say node_not_there "$1"
            else
                docker logs --tail "$2" "$container" 2>&1
            fi
            ;;
    esac
}
