#!/usr/bin/env bats
# paxos-client.sh and monitor.sh against ten containers of compose.yaml, in a real terminal. Needs a
# Docker engine and Compose. PAXOS_IMAGE names the image; without it, one is made here of the paxosd
# under test and the libraries that it needs. Where that cannot be, it is skipped, and fails with
# PAXOSD_DOCKER_REQUIRED=1.

load common

setup_file() {
    export LACKS=
    export COMPOSE=docker-compose
    ! docker compose version >/dev/null 2>&1 || COMPOSE='docker compose'
    $COMPOSE version >/dev/null 2>&1 || LACKS=Compose
    docker info >/dev/null 2>&1 || LACKS='Docker engine'
    [[ -f $ROOT/compose.yaml ]] || LACKS=compose.yaml
    if [[ -n $LACKS ]]; then
        printf 'there is no %s\n' "$LACKS" >&2
        [[ ${PAXOSD_DOCKER_REQUIRED:-} != 1 ]]
        return
    fi
    export COMPOSE_PROJECT_NAME=paxosscripts$RANDOM PAXOS_TARGET=compose SEES_S=90
    export FILE=$BATS_FILE_TMPDIR/compose.yaml
    # Without ports of this machine, which others may have; and with patience for a slow one.
    local patience='PAXOSD__ELECTION__TIMEOUT_MS: "3000", PAXOSD__ELECTION__HEARTBEAT_MS: "300"'
    sed -E "/^ *ports:/d; s/(environment: \{PAXOSD_NAME: [a-z0-9]+)\}/\1, $patience}/" \
        "$ROOT/compose.yaml" >"$FILE"
    if [[ -z ${PAXOS_IMAGE:-} ]]; then
        export PAXOS_IMAGE=$COMPOSE_PROJECT_NAME:test
        make_image "$PAXOS_IMAGE"
    fi
    compose up -d 3>&-
    until_true 120 all_containers_well
}

teardown_file() {
    [[ -n ${FILE:-} ]] || return 0
    compose down --volumes 3>&-
    [[ ${PAXOS_IMAGE:-} != "$COMPOSE_PROJECT_NAME:test" ]] || docker rmi "$PAXOS_IMAGE"
}

setup() { [[ -z $LACKS ]] || skip "there is no $LACKS"; }

teardown() { close_terminal; }

compose() {
    # shellcheck disable=SC2086 # The command may be of two words.
    $COMPOSE --project-directory "$ROOT" -f "$FILE" "$@" >/dev/null 2>&1
}

# make_image NAME: paxosd, its libraries, and a data directory of the user that it runs as.
make_image() {
    local files=$BATS_FILE_TMPDIR/files library
    mkdir -p "$files"/usr/local/bin "$files"/var/lib/paxosd "$files"/tmp
    cp "$PAXOSD_BIN" "$files/usr/local/bin/paxosd"
    for library in $(ldd "$PAXOSD_BIN" | grep -oE '/[^ ]+'); do
        mkdir -p "$files/${library%/*}"
        cp -L "$library" "$files$library"
    done
    tar -C "$files" --owner=65532 --group=65532 -c . | docker import \
        --change 'USER 65532:65532' \
        --change 'ENTRYPOINT ["/usr/local/bin/paxosd"]' --change 'CMD ["run"]' \
        --change 'ENV PAXOSD_CONFIG=/etc/paxosd/cluster.yaml PAXOSD__DATA_DIR=/var/lib/paxosd' \
        --change 'LABEL org.opencontainers.image.title=paxosd' - "$1" >/dev/null
}

all_containers_well() {
    "$ROOT/paxos-client.sh" status | grep -q '^leader.*10 of 10 nodes well'
}

container() {
    docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
        --filter "label=com.docker.compose.service=$1"
}

newest() { "$ROOT/paxos-client.sh" -c client2 read --limit 1 | cut -f2-; }

@test "the menu writes through one container, and another reads it" {
    until_true 60 all_containers_well
    terminal 80x24 pt_BR.UTF-8 ./paxos-client.sh
    sees 'Opção:$'
    on_screen '^Paxos: cliente interativo \(Compose\)'
    on_screen '^líder: proposer[123] .*10 de 10 nós bem'
    keys 2 Enter
    sees 'Valor para client1'
    typed $'it\'s "typed" $(ok) coração ✓'
    keys Enter
    sees 'gravado por client1: índice [0-9]+, slot'
    [ "$(newest)" = $'"it\'s \\"typed\\" $(ok) coração ✓"' ]
    keys Enter
    sees 'Opção:$'
    keys 8 Enter
    sees '^client2 +cliente +servindo'
    keys Enter
    sees 'Opção:$'
    keys q Enter
    sees 'ended with 0'
}

@test "the monitor sees a container go and come back, and writes go on meanwhile" {
    until_true 60 all_containers_well
    terminal 80x24 en_US.UTF-8 './monitor.sh -i 1'
    sees '^leader: proposer[123] .*10 of 10 nodes well'
    on_screen '^Paxos monitor \(Compose\)'
    on_screen '^acceptor1 +voting'
    docker kill "$(container acceptor1)"
    sees '^acceptor1 +down'
    on_screen '2 of 3 acceptors vote, 2 needed'
    "$ROOT/paxos-client.sh" write 'with one acceptor missing'
    [ "$(newest)" = '"with one acceptor missing"' ]
    docker start "$(container acceptor1)"
    sees '^acceptor1 +voting'
    sees '^leader: .*10 of 10 nodes well'
    keys q
    sees 'ended with 0'
}
