# shellcheck shell=bash disable=SC2034,SC2154 # The scripts share variables across files.
# What all scripts share: the language of their messages, how they speak, and what they need.
# Every script sources this file first. LC_ALL is set here to one locale that counts letters and
# not bytes, whatever is installed; the language was read from the environment before.

namespace=paxos
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# Portuguese where the locale is, as POSIX reads it: the first of these that is not empty.
case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
    pt*) language=pt ;;
    *) language=en ;;
esac
export LC_ALL=C.UTF-8

# shellcheck source=messages.sh
source "$here/scripts/messages.sh"

# text KEY ARG...: a message of the table, without a line end.
text() {
    local format=${messages[$1]?"there is no message $1"}
    shift
    # shellcheck disable=SC2059 # The formats are those of our own table.
    printf -- "$format" "$@"
}

# say KEY ARG...: a message on a line of its own.
say() {
    text "$@"
    printf '\n'
}

# warn KEY ARG...: the same, to standard error, in the script's name.
warn() {
    printf '%s: ' "${0##*/}" >&2
    say "$@" >&2
}

# fail CODE KEY ARG...: says what is wrong, and ends.
fail() {
    local code=$1
    shift
    warn "$@"
    exit "$code"
}

# usage_error KEY ARG...: for a command line that makes no sense.
usage_error() {
    warn "$@"
    say see_help "${0##*/}" >&2
    exit 2
}

# value_of OPTION VALUE...: the value that must follow an option.
value_of() {
    (($# >= 2)) || usage_error option_needs_value "$1"
    printf '%s' "$2"
}

# number_of OPTION VALUE...: likewise, a whole number from 1.
number_of() {
    local number
    number=$(value_of "$@") || exit
    [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || usage_error option_needs_number "$1" "$number"
    printf '%s' "$number"
}

has() { command -v "$1" >/dev/null 2>&1; }

# need TOOL KEY: ends with what to do where a tool is missing.
need() { has "$1" || fail 1 "$2" "$1"; }

# yes_or_no KEY ARG...: asks; whoever says nothing means no.
yes_or_no() {
    local answer
    text "$@"
    text yes_no_mark
    IFS= read -r answer || printf '\n'
    [[ $answer =~ ^[yYsS] ]]
}

# Colours, where a person looks on and did not decline them.
bold='' dim='' red='' green='' yellow='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
fi

# fit TEXT WIDTH: sets `fitted` to TEXT, cut or filled up with spaces to WIDTH letters; printf would
# count bytes.
fit() {
    local room=$(($2 - ${#1}))
    if ((room >= 0)); then
        printf -v fitted '%s%*s' "$1" "$room" ''
    elif (($2 > 1)); then
        fitted=${1:0:$2-1}…
    else
        fitted=${1:0:$2}
    fi
}

# safe TEXT: prints it with nothing in it that would drive the terminal.
safe() { printf '%s' "${1//[[:cntrl:]]/?}"; }
