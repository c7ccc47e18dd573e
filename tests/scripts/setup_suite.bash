# shellcheck shell=bash
# One cluster of ten real nodes for all tests, on ports that nobody has.

setup_suite() {
    : "${PAXOSD_BIN:?run these tests with tests/scripts/run.sh}"
    export ROOT
    ROOT=$(cd -- "$BATS_TEST_DIRNAME/../.." && pwd)
    export SUITE
    SUITE=$(mktemp -d)
    export PAXOSD_DATA=$SUITE/data
    unset PAXOSD_CONFIG PAXOS_TARGET PAXOSD_ENDPOINTS PAXOSD_NAME COMPOSE_PROJECT_NAME
    unset LC_ALL LC_MESSAGES LANG NO_COLOR
    bare_path
    local base
    base=$(free_base)
    # Node n has the API port base + n and the monitor port base + 20 + n. A slow machine must not
    # depose a leader while a test looks at the screen.
    awk -v base="$base" '/^  - \{name:/ {
        n++
        sub(/host: [a-z0-9]+/, "host: 127.0.0.1")
        sub(/api_port: [0-9]+/, "api_port: " base + n)
        sub(/monitor_port: [0-9]+/, "monitor_port: " base + 20 + n)
    }
    /^  heartbeat_ms:/ { $0 = "  heartbeat_ms: 200" }
    /^  timeout_ms: 300 / { $0 = "  timeout_ms: 2000" }
    { print }' "$ROOT/config/cluster.yaml" >"$SUITE/cluster.yaml"
    # Bats waits for every holder of descriptor 3.
    "$PAXOSD_BIN" dev --config "$SUITE/cluster.yaml" --data "$PAXOSD_DATA" \
        </dev/null >"$SUITE/dev.log" 2>&1 3>&- &
    printf '%s' "$!" >"$SUITE/pid"
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        if "$PAXOSD_BIN" status --config "$PAXOSD_DATA/cluster.dev.yaml" 2>/dev/null |
            grep -q '10 of 10 nodes well'; then
            return
        fi
        sleep 0.1
    done
    cat "$SUITE/dev.log" >&2
    return 1
}

teardown_suite() {
    "$PAXOSD_BIN" dev stop --data "$PAXOSD_DATA" >/dev/null
    rm -rf -- "$SUITE"
}

# A PATH with all tools of this machine but those that lead to containers or open windows.
bare_path() {
    local dir
    export BARE_PATH=$SUITE/path
    mkdir "$BARE_PATH"
    for dir in ${PATH//:/ }; do
        [[ ! -d $dir ]] || ln -sf -t "$BARE_PATH" "$dir"/* 2>/dev/null || true
    done
    (cd "$BARE_PATH" && rm -f -- kubectl minikube docker docker-compose wslview xdg-open)
}

# The first of forty ports in a row that are free just now.
free_base() {
    local base port
    while true; do
        base=$((20000 + RANDOM % 10000))
        for ((port = base; port < base + 40; port++)); do
            ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue 2
        done
        printf '%s' "$base"
        return
    done
}
