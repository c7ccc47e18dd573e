#!/usr/bin/env bash
# Prepares Ubuntu, on Windows (WSL) or by itself, for paxosd on Kubernetes: Docker, kubectl and
# Minikube. What is there already is left as it is.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

# The minor version of kubectl; it works with clusters one older and one newer too.
kubectl_version=v1.34
dry_run=

while (($# > 0)); do
    case $1 in
        -h | --help)
            say help_setup
            exit
            ;;
        --dry-run) dry_run=yes ;;
        --kubectl-version) kubectl_version=$(value_of "$@") || exit; shift ;;
        *) usage_error no_such_option "$1" ;;
    esac
    shift
done
[[ $kubectl_version =~ ^v1\.[0-9]+$ ]] || usage_error bad_version "$kubectl_version"

# The system whose files these are: ours, or in tests a directory that looks like one.
system=${SETUP_SYSTEM:-}
wsl_conf=$system/etc/wsl.conf
keyrings=$system/etc/apt/keyrings
keyring=$keyrings/kubernetes-apt-keyring.gpg
packages=https://pkgs.k8s.io/core:/stable:/$kubectl_version/deb/
minikube_releases=https://storage.googleapis.com/minikube/releases/latest

on_wsl() { grep -qi microsoft "$system/proc/version"; }

# run COMMAND...: says a command and runs it; with --dry-run it says it only.
run() {
    printf '%s+ %s%s\n' "$dim" "$*" "$plain"
    [[ -n $dry_run ]] || "$@"
}

# as_root COMMAND...: likewise, with the rights to change the system.
as_root() {
    if ((EUID == 0)); then
        run "$@"
    else
        run sudo "$@"
    fi
}

# write_root FILE TEXT: writes a file of the system.
write_root() {
    printf '%s+ %s: %s%s\n' "$dim" "$1" "$2" "$plain"
    [[ -z $dry_run ]] || return 0
    if ((EUID == 0)); then
        printf '%s\n' "$2" >"$1"
    else
        printf '%s\n' "$2" | sudo tee "$1" >/dev/null
    fi
}

check_system() {
    [[ $(uname -s) == Linux ]] || fail 1 linux_only "$(uname -s)"
    has apt-get || fail 1 apt_only
    grep -qE '^ID(_LIKE)?=.*(ubuntu|debian)' "$system/etc/os-release" || fail 1 apt_only
    ((EUID == 0)) || has sudo || fail 1 no_sudo
    case $(dpkg --print-architecture) in
        amd64) architecture=amd64 ;;
        arm64) architecture=arm64 ;;
        *) fail 1 bad_architecture "$(dpkg --print-architecture)" ;;
    esac
    if on_wsl; then say is_wsl; else say is_no_wsl; fi
}

install_basics() {
    as_root apt-get update -q
    as_root apt-get install -y ca-certificates curl gnupg
}

install_docker() {
    if has docker; then
        say is_there Docker "$(docker --version 2>/dev/null)"
        # Docker Desktop brings one into WSL that needs no service and no group.
        ((EUID == 0)) || ! docker info >/dev/null 2>&1 || return 0
    else
        say installs Docker
        as_root apt-get install -y docker.io
    fi
    # Who is in the group may use Docker without being root.
    local user=${SUDO_USER:-${USER:-$(id -un)}}
    if [[ $user != root ]] && ! id -nG "$user" | grep -qw docker; then
        say joins_group "$user"
        as_root usermod -aG docker "$user"
        restart_needed=yes
    fi
    start_docker
}

# Docker is a service; in WSL services need systemd, which is switched on in a file there.
start_docker() {
    if on_wsl && ! grep -qsE '^ *systemd *= *true' "$wsl_conf"; then
        if grep -qsE '^\[boot\]' "$wsl_conf"; then
            say wsl_by_hand "$wsl_conf"
        else
            say wsl_systemd "$wsl_conf"
            write_root "$wsl_conf" "$(cat "$wsl_conf" 2>/dev/null)
[boot]
systemd=true"
        fi
        restart_needed=yes
    fi
    if [[ -d $system/run/systemd/system ]]; then
        as_root systemctl enable --now docker
    elif ! docker info >/dev/null 2>&1; then
        # It starts by itself after the restart.
        as_root service docker start || say docker_later
    fi
}

install_kubectl() {
    if has kubectl; then
        say is_there kubectl "$(kubectl version --client 2>/dev/null | head -n 1)"
        return
    fi
    say installs kubectl
    as_root mkdir -p -m 755 "$keyrings"
    run curl -fsSL -o "$scratch/kubernetes.key" "$packages"Release.key
    as_root gpg --batch --yes --dearmor -o "$keyring" "$scratch/kubernetes.key"
    as_root chmod 644 "$keyring"
    write_root "$system/etc/apt/sources.list.d/kubernetes.list" \
        "deb [signed-by=$keyring] $packages /"
    as_root apt-get update -q
    as_root apt-get install -y kubectl
}

install_minikube() {
    if has minikube; then
        say is_there Minikube "$(minikube version --short 2>/dev/null)"
        return
    fi
    say installs Minikube
    local file=minikube-linux-$architecture
    run curl -fsSL -o "$scratch/$file" "$minikube_releases/$file"
    run curl -fsSL -o "$scratch/$file.sha256" "$minikube_releases/$file.sha256"
    if [[ -z $dry_run ]]; then
        local wanted
        wanted=$(cut -d' ' -f1 "$scratch/$file.sha256")
        sha256sum --check --status <<<"$wanted  $scratch/$file" || fail 1 bad_checksum "$file"
    fi
    as_root install -m 755 "$scratch/$file" "$system/usr/local/bin/minikube"
}

restart_needed=
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
check_system
install_basics
install_docker
install_kubectl
install_minikube

printf '\n'
[[ -z $dry_run ]] || say was_dry
if [[ -n $restart_needed ]]; then
    if on_wsl; then say restart_wsl; else say restart_session; fi
fi
say setup_next
