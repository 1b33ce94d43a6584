#!/bin/sh
# Write requirements.lock from the ranges in pyproject.toml: a fresh environment, frozen.
set -eu
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 setuptools wheel
extras=$("$python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(",".join(tomllib.load(file)["project"]["optional-dependencies"]))')
"$work/venv/bin/pip" install --quiet ".[$extras]"
{
    echo "# Every package of the course, pinned. pip reads it (make setup), and so does"
    echo "# environment.yml (conda, Binder). \`make lock\` writes it anew."
    "$work/venv/bin/pip" freeze --all |
        grep -v -i -E '^(pip|attention-course)( |=|@)' |
        sed -E 's/^(torch==[0-9.]+)\+.*/\1/'
} > "$work/lock"
mv "$work/lock" requirements.lock
