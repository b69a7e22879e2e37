#!/bin/sh
# The steps of the image's build, run in the project's folder: `build.sh packages|project|models|user`.
#
#   packages  VENV: a new environment there, with the pinned packages that the project names;
#             TORCH_INDEX_URL: a package index to look in besides, for another build of torch
#   project   VENV: the project itself into it
#   models    VENV, CACHE_DIR: the default models, ready to load, readable by everyone
#   user      ROOT (empty: the real one): the user who runs the server, and the folder it may write
set -eu

UID_GID=10001

requirements() {
    "$VENV/bin/python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")'
}

case "${1:-}" in
packages)
    python3 -m venv "$VENV"
    requirements >"$VENV/requirements.txt"
    "$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} \
        -c constraints.txt -r "$VENV/requirements.txt" setuptools
    ;;
project)
    "$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-build-isolation .
    ;;
models)
    SECONDPASS_CACHE_DIR=$CACHE_DIR "$VENV/bin/secondpass" models prepare
    chmod -R a+rX "$CACHE_DIR"
    ;;
user)
    groupadd ${ROOT:+--prefix "$ROOT"} --gid "$UID_GID" secondpass
    useradd ${ROOT:+--prefix "$ROOT"} --uid "$UID_GID" --gid "$UID_GID" --no-create-home \
        --shell /usr/sbin/nologin secondpass
    install -d -o "$UID_GID" -g "$UID_GID" "${ROOT:-}/data"
    ;;
*)
    echo "usage: build.sh packages|project|models|user" >&2
    exit 2
    ;;
esac
