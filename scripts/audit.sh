#!/bin/sh
# Looks every locked package up in PyPI's database of known vulnerabilities. It needs the network,
# and fails where the database does not know a package, so that silence is never good news.
set -eu
cd "$(dirname "$0")/.."

for lock in torch cuda dev; do
    set -- "$@" -r "requirements/$lock.txt"
done
exec .venv/bin/uv tool run pip-audit==2.10.1 --strict --disable-pip --progress-spinner off "$@"
