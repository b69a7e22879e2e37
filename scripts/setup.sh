#!/usr/bin/env bash
# Makes .venv with the locked packages and prepares the models: `setup.sh [HOST PORT]`.
#
# torch comes from PyTorch's index of CPU builds where that answers, else from pip's own index, whose
# build for Linux needs CUDA. TORCH=cpu and TORCH=default choose. The choice holds for later runs.
#
# With HOST and PORT it first makes sure that a server could listen there. What is done is marked in
# .venv only when it is complete, so that an interrupted run is taken up again by the next one, and
# a run that finds nothing to do takes a moment.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
LOG=$VENV/setup.log
INSTALL_MB=4000

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

free_mb() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }

find_python() {
    local candidate
    local wanted='import sys; sys.exit(sys.version_info < (3, 11))'
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -c "$wanted" 2>/dev/null ||
            fail "PYTHON=$PYTHON does not run, or is older than Python 3.11."
        printf '%s' "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c "$wanted" 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and none was found ($(python3 --version 2>&1 || true)).
  Install one, or say where it is: make setup PYTHON=/path/to/python3"
}

# Sets torch_index. On other systems than Linux pip's own index has the CPU build.
choose_torch() {
    torch_index=
    case "${TORCH:-}" in
    default) ;;
    cpu)
        torch_index=$(scripts/torch_index.sh "$python")
        [ -n "$torch_index" ] || fail "TORCH=cpu: PyTorch's index of CPU builds does not answer."
        ;;
    "")
        if [ -f "$VENV/.torch" ]; then
            torch_index=$(cut -d ' ' -f 2 "$VENV/.torch")
        elif [ "$(uname -s)" = Linux ]; then
            torch_index=$(scripts/torch_index.sh "$python")
        fi
        ;;
    *) fail "TORCH=$TORCH is neither cpu nor default." ;;
    esac
}

make_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python comes without the modules venv and ensurepip.
  Debian and Ubuntu keep them apart: sudo apt install python3-venv"
    say "Making the environment $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV" || fail "the environment $VENV could not be made (see above)."
}

check_disk() {
    compgen -G "$VENV/lib/python*/site-packages/torch" >/dev/null && return
    local free
    free=$(free_mb .)
    [ "$free" -ge "$INSTALL_MB" ] ||
        fail "the disk of $PWD has $free MB free; the packages need about $INSTALL_MB MB
  (three times that for the CUDA build of torch)."
}

explain_pip() {
    say ""
    say "error: pip could not install the packages (its own words are above; all of them in $LOG)."
    if [ "$(free_mb .)" -lt 500 ] || grep -q 'No space left on device' "$LOG"; then
        say "  The disk is full: make room (about $INSTALL_MB MB), then run make again."
    elif grep -qE "command '?[^ ]*(gcc|cc|clang|g\+\+)'? failed|No such file or directory: '(gcc|cc|clang|g\+\+)'|[Uu]nable to find a compatible Visual|CMAKE_C_COMPILER" "$LOG"; then
        say "  A package has no ready-made build for this machine and needs a C compiler:"
        say "  install one (Debian and Ubuntu: sudo apt install build-essential; macOS: xcode-select --install)."
    elif grep -qE 'Max retries exceeded|ConnectTimeout|Read timed out|SSLError|ProxyError' "$LOG"; then
        say "  The package index did not answer: look at the network, or at pip's settings (pip config list)."
    elif grep -q 'DO NOT MATCH THE HASHES' "$LOG"; then
        say "  A file is not the one that requirements/ names by its SHA-256, and was not installed:"
        say "  look at the package index that pip uses (pip config list)."
    elif grep -q 'No matching distribution found' "$LOG"; then
        say "  pip's package index does not have that version for this Python and machine:"
        say "  look at pip's settings (pip config list), or try another Python with make setup PYTHON=..."
    fi
    say "  What was downloaded is kept: the next make goes on from here."
    exit 1
}

install_packages() {
    check_disk
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || moved; then
        make_venv
    fi
    say "Installing the locked packages (about 1 GB on a first run), torch from ${torch_index:-the default index}"
    rm -f "$LOG"
    export PIP_LOG=$LOG
    TORCH_INDEX_URL=$torch_index scripts/install.sh "$VENV" dev || explain_pip
    "$VENV/bin/python" -m pip --disable-pip-version-check --no-input \
        install --no-deps --no-build-isolation -e clients/python -e . || explain_pip
}

# The scripts of an environment carry its path, so one that was moved is made again.
moved() { [ -f "$VENV/.packages" ] && [ "$(tail -n 1 "$VENV/.packages")" != "$PWD" ]; }

packages_key() {
    cat pyproject.toml clients/python/pyproject.toml requirements/*.txt Makefile scripts/*.sh | cksum
    printf '%s\n' "torch from $torch_index" "$PWD"
}

models_key() {
    cat requirements/run.txt service/models/*.py | cksum
    printf '%s\n' "$cache_dir" "${SECONDPASS_ENCODER:-}" "${SECONDPASS_RERANKER:-}"
}

prepare_models() {
    "$VENV/bin/secondpass" models prepare || {
        [ "$(free_mb "$VENV")" -ge 700 ] || say "  The disk is nearly full: the models need about 600 MB."
        fail "the models could not be prepared (see above); run make again once that is mended."
    }
}

done_before() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

python=$(find_python)
if [ $# -eq 2 ]; then
    "$python" scripts/check_port.py "$1" "$2"
fi

choose_torch
key=$(packages_key)
if ! done_before "$VENV/.packages" "$key" || ! [ -x "$VENV/bin/secondpass" ]; then
    install_packages
    printf '%s\n' "$key" >"$VENV/.packages"
fi

cache_dir=${SECONDPASS_CACHE_DIR:-$HOME/.cache/secondpass}
key=$(models_key)
if ! done_before "$VENV/.models" "$key" || ! [ -d "$cache_dir" ]; then
    prepare_models
    printf '%s\n' "$key" >"$VENV/.models"
fi
