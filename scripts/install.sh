#!/bin/sh
# Installs the locked packages into an environment: `install.sh VENV run|dev`.
#
# pip checks each file against the SHA-256 in requirements/ and takes no package that is not there.
# TORCH_INDEX_URL is the package index that torch comes from. Empty: pip's own.
# NO_COMPILE leaves the modules uncompiled, if it is not empty.
set -eu
cd "$(dirname "$0")/.."

venv=$1
lock=$2
torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/torch.txt)

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
locked() { pip install --no-deps --require-hashes ${NO_COMPILE:+--no-compile} "$@"; }

# Only the CUDA build names these packages.
is_cuda_build() {
    "$venv/bin/python" -c '
import sys
from importlib.metadata import requires
sys.exit(not any(line.startswith(("nvidia-", "cuda-")) for line in requires("torch")))'
}

# torch takes two steps. With hashes to check, pip prefers a file whose hash its index states to a
# newer one, so it would pass over a CPU build that lies in a folder.
if [ "$(cat "$venv/.torch" 2>/dev/null)" != "$torch ${TORCH_INDEX_URL:-}" ]; then
    rm -rf "$venv/.torch" "$venv/wheels"
    pip download --no-deps --only-binary :all: --dest "$venv/wheels" \
        ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
    locked --force-reinstall --no-index --find-links "$venv/wheels" -r requirements/torch.txt
    rm -rf "$venv/wheels"
    echo "$torch ${TORCH_INDEX_URL:-}" >"$venv/.torch"
fi
if is_cuda_build; then
    locked -r requirements/cuda.txt
fi
locked -r "requirements/$lock.txt"
