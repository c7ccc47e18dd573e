# shellcheck shell=bash
# What the tests share: stand-ins, a terminal, and questions to the real cluster.

# with_stand_ins: kubectl, minikube and docker are those of bin/, and tell of a cluster whose nodes
# are the real ones. What they were asked stands in $STANDIN/calls.
with_stand_ins() {
    export STANDIN=$BATS_TEST_TMPDIR/standin
    mkdir -p "$STANDIN/bin"
    : >"$STANDIN/calls"
    cp "$BATS_TEST_DIRNAME"/bin/* "$STANDIN/bin/"
    export PATH=$STANDIN/bin:$BARE_PATH
}

calls() { grep -E -- "$1" "$STANDIN/calls"; }

# no_calls PATTERN: fails where there was one. Bats does not notice a command that ! made fail.
no_calls() { if calls "$1"; then return 1; fi; }

# paxosd VERB ARG...: asks the real cluster.
paxosd() {
    PAXOSD_CONFIG=$PAXOSD_DATA/cluster.dev.yaml "$PAXOSD_BIN" "$@"
}

# node ORDER NAME: kill or start.
node() { "$PAXOSD_BIN" dev "$1" "$2" --data "$PAXOSD_DATA"; }

# all_well: starts whom a test has killed, and waits for them.
all_well() {
    local name
    for name in {proposer,acceptor}{1..3} {learner,client}{1,2}; do
        node start "$name" >/dev/null 2>&1 3>&- || true
    done
    until_true 60 well
}

well() { paxosd status | grep -q '^leader.*10 of 10 nodes well'; }

# until_true SECONDS COMMAND...: fails where it stays untrue so long.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# terminal WIDTHxHEIGHT LANG COMMAND: runs it in a terminal of its own, as a person would.
terminal() {
    tmux_socket=$BATS_TEST_TMPDIR/tmux
    # A locale that this machine may lack, as a user may have it: only its name matters.
    tmux -S "$tmux_socket" -f /dev/null -u new-session -d -s test \
        -x "${1%x*}" -y "${1#*x}" \
        "cd '$ROOT'; export LANG=$2; printf 'before\n'; $3; printf 'ended with %s\n' \$?; cat" 3>&-
}

close_terminal() {
    [[ -z ${tmux_socket:-} ]] || tmux -S "$tmux_socket" kill-server 2>/dev/null || true
}

screen() { tmux -S "$tmux_socket" capture-pane -p -t test; }

# keys KEY...: as tmux names them. typed TEXT: letter by letter.
keys() { tmux -S "$tmux_socket" send-keys -t test "$@"; }
typed() { tmux -S "$tmux_socket" send-keys -t test -l -- "$1"; }

# paste TEXT: at once, as a terminal does. resize WIDTH HEIGHT: as who pulls at the window.
paste() {
    tmux -S "$tmux_socket" set-buffer -- "$1"
    tmux -S "$tmux_socket" paste-buffer -p -t test
}
resize() { tmux -S "$tmux_socket" resize-window -t test -x "$1" -y "$2"; }

# sees PATTERN: waits until the screen shows it, and shows the screen where it does not.
sees() {
    until_true "${SEES_S:-30}" on_screen "$1" && return
    printf 'the screen never showed %s:\n' "$1"
    screen
    return 1
}

not_on_screen() { if on_screen "$1"; then return 1; fi; }

on_screen() { screen | grep -qE -- "$1"; }
