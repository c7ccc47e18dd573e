#!/usr/bin/env bats
# setup-kubernetes-wsl.sh: what it would do, and what it does before stand-ins for the tools that
# change a system.

load common

setup() {
    export STANDIN=$BATS_TEST_TMPDIR/standin
    mkdir -p "$STANDIN/bin"
    : >"$STANDIN/calls"
    # Each of these only writes down that it was called; sudo runs what it is given too.
    cat >"$STANDIN/bin/sudo" <<'SUDO'
#!/usr/bin/env bash
printf '%s %s\n' "${0##*/}" "$*" >>"$STANDIN/calls"
[[ $0 != */sudo ]] || "$@"
SUDO
    for name in apt-get usermod systemctl service; do
        cp "$STANDIN/bin/sudo" "$STANDIN/bin/$name"
    done
    printf '#!/usr/bin/env bash\necho amd64\n' >"$STANDIN/bin/dpkg"
    cat >"$STANDIN/bin/gpg" <<'GPG'
#!/usr/bin/env bash
printf 'gpg %s\n' "$*" >>"$STANDIN/calls"
while [[ $1 != -o ]]; do shift; done
touch "$2"
GPG
    # What curl is asked for is there, with a checksum that is right.
    cat >"$STANDIN/bin/curl" <<'CURL'
#!/usr/bin/env bash
printf 'curl %s\n' "$*" >>"$STANDIN/calls"
while [[ $1 != -o ]]; do shift; done
case $2 in
    *.sha256) sha256sum <<<"${MINIKUBE_IS:-minikube}" | cut -d' ' -f1 >"$2" ;;
    *) printf 'minikube\n' >"$2" ;;
esac
CURL
    chmod +x "$STANDIN/bin"/*
    export PATH=$STANDIN/bin:$BARE_PATH
    export SETUP_SYSTEM=$BATS_TEST_TMPDIR/system SUDO_USER=nobody
    mkdir -p "$SETUP_SYSTEM"/{proc,etc/apt/sources.list.d,usr/local/bin,run}
    printf 'ID=ubuntu\n' >"$SETUP_SYSTEM/etc/os-release"
    printf 'Linux version 5.15.0-microsoft-standard-WSL2\n' >"$SETUP_SYSTEM/proc/version"
    WSL_CONF=$SETUP_SYSTEM/etc/wsl.conf
}

prepare() { "$ROOT/setup-kubernetes-wsl.sh" "$@"; }

@test "--dry-run prints what it would do, and does nothing" {
    run prepare --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *'apt-get install -y docker.io'*'usermod -aG docker nobody'* ]]
    [[ $output == *'pkgs.k8s.io/core:/stable:/v1.'*'minikube-linux-amd64'* ]]
    [[ $output == *'nothing was changed'*'wsl --shutdown'* ]]
    [ ! -s "$STANDIN/calls" ]
    [ ! -e "$WSL_CONF" ]
}

@test "on WSL it installs all three, joins the group, and says to restart WSL" {
    run prepare --kubectl-version v1.30
    [ "$status" -eq 0 ]
    calls 'apt-get install -y docker.io'
    calls 'usermod -aG docker nobody'
    calls 'service docker start'
    calls 'curl .*pkgs.k8s.io/core:/stable:/v1.30/deb/Release.key'
    calls 'apt-get install -y kubectl'
    grep -q '^deb \[signed-by=.*v1.30/deb/ /$' \
        "$SETUP_SYSTEM/etc/apt/sources.list.d/kubernetes.list"
    [ -x "$SETUP_SYSTEM/usr/local/bin/minikube" ]
    grep -q '^systemd=true' "$WSL_CONF"
    [[ $output == *'wsl --shutdown'* ]]
    run prepare --kubectl-version 1.30
    [ "$status" -eq 2 ]
}

@test "what is there is left as it is" {
    for name in docker kubectl minikube; do
        printf '#!/usr/bin/env bash\necho %s 1.2.3\n' "$name" >"$STANDIN/bin/$name"
        chmod +x "$STANDIN/bin/$name"
    done
    printf '[boot]\nsystemd=true\n' >"$WSL_CONF"
    LANG=pt_BR.UTF-8 run prepare
    [ "$status" -eq 0 ]
    [[ $output == *'Docker já existe: docker 1.2.3'* && $output == *'kubectl já existe'* ]]
    no_calls 'docker.io|pkgs.k8s.io|minikube-linux'
    [ "$(cat "$WSL_CONF")" = $'[boot]\nsystemd=true' ]
    # Who may use Docker already needs no group; of root that says nothing of the user.
    if ((EUID == 0)); then calls 'usermod -aG docker nobody'; else no_calls usermod; fi
}

@test "a Minikube whose checksum is wrong is not installed" {
    MINIKUBE_IS=forged run prepare
    [ "$status" -eq 1 ]
    [[ $output == *'minikube-linux-amd64 is not what its checksum says'* ]]
    [ ! -e "$SETUP_SYSTEM/usr/local/bin/minikube" ]
}

@test "a file of WSL that says otherwise is not rewritten" {
    printf '[boot]\ncommand=true\n' >"$WSL_CONF"
    run prepare --dry-run
    [[ $output == *"write systemd=true below [boot] in $WSL_CONF"* ]]
}

@test "elsewhere than on Ubuntu it says so" {
    printf 'ID=fedora\n' >"$SETUP_SYSTEM/etc/os-release"
    run prepare
    [ "$status" -eq 1 ]
    [[ $output == *'installs with apt'* ]]
    [ ! -s "$STANDIN/calls" ]
    printf 'ID=linuxmint\nID_LIKE="ubuntu debian"\n' >"$SETUP_SYSTEM/etc/os-release"
    printf 'Linux version 6.8\n' >"$SETUP_SYSTEM/proc/version"
    run prepare --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *'Linux without WSL'* && $output != *'wsl --shutdown'* ]]
    [[ $output == *'Log out and in again'* ]]
}
