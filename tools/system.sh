#!/bin/sh
# The system's programs that grading and tests use: the sandbox; a browser, a database.
#
#   sh tools/system.sh            install what is missing, where that is allowed
#   sh tools/system.sh --check    only say what is missing; exit 1 if something is
#
# Needs Debian's or Ubuntu's apt, and root or sudo without a password; otherwise it
# names the command that you can run yourself, and goes on.
set -eu

missing=
command -v bwrap > /dev/null || missing="$missing bubblewrap"
command -v chromium > /dev/null || command -v chromium-browser > /dev/null ||
    command -v google-chrome > /dev/null || missing="$missing chromium"
ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null ||
    missing="$missing postgresql"
missing=${missing# }

test -n "$missing" || exit 0
if test "${1:-}" = --check; then
    echo "missing: $missing (sh tools/system.sh installs them)"
    exit 1
fi

say_how() {
    echo "Not installed: $missing. Tests that need them are skipped; grading needs" >&2
    echo "bubblewrap. To install them: $1" >&2
    exit 0
}

command -v apt-get > /dev/null ||
    say_how "use your system's package manager (on macOS only chromium is to be had)"
if test "$(id -u)" = 0; then
    as_root=
elif sudo -n true 2> /dev/null; then
    as_root="sudo -n"
else
    say_how "sudo apt-get install $missing"
fi

echo "Installing $missing."
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # words are meant to be split
{
    $as_root apt-get -qq update &&
        $as_root apt-get -qq install --no-install-recommends -y $missing
} > /dev/null || say_how "sudo apt-get install $missing"
