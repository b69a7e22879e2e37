#!/usr/bin/env bash
# Builds the image, starts it, asks it and measures it: `image_check.sh`.
#
# With a Docker engine it builds as everyone does. Otherwise buildah builds with chroot isolation on
# bases that mmdebstrap makes. Both are Debian packages and need root here. The settings of this
# machine's pip hold for that build too: they and the paths that they name are mounted.
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=secondpass-check
LIMIT_BYTES=1600000000
NEEDED_MB=12000
BUILD_PACKAGES=python3,python3-venv,ca-certificates,binutils
RUN_PACKAGES=python3,ca-certificates,passwd,libstdc++6

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

python=${PYTHON:-python3}
work=$(mktemp -d)
server=
asking=
container=

# buildah hands no signal on to what it runs: that is the last of a chain of processes.
last_child() {
    local process=$1 child
    while child=$(pgrep --oldest --parent "$process"); do
        process=$child
    done
    echo "$process"
}

cleanup() {
    [ -z "$asking" ] || kill "$asking" 2>/dev/null || true
    if [ -n "$server" ]; then
        kill "$(last_child "$server")" 2>/dev/null || true
        wait "$server" || true
    fi
    [ -z "$container" ] || docker rm -f "$container" >/dev/null
    if [ -d "$work/storage" ]; then
        build umount --all >/dev/null || true
        build rm --all >/dev/null || true
        build rmi --all --force >/dev/null || true
        umount "$work/storage/overlay" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

build() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }

# torch's index for the build: what the environment says, else PyTorch's where it answers.
torch_index=${TORCH_INDEX_URL-$(scripts/torch_index.sh "$python")}
arguments=(--build-arg "TORCH_INDEX_URL=$torch_index")
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

with_docker() {
    docker build "${arguments[@]}" --tag "$IMAGE" .
    size=$(docker image inspect --format '{{.Size}}' "$IMAGE")
    container=$(docker run --detach --read-only --tmpfs /tmp --cap-drop ALL --publish "127.0.0.1:$port:8000" \
        --env SECONDPASS_DEMO=0 --env SECONDPASS_ALLOW_ANONYMOUS=1 "$IMAGE")
}

# Debian without documentation and translations, as the slim images of Python are.
base() {
    local name=$1 packages=$2 release=bookworm
    local path
    local options=()
    for path in doc man locale info; do
        options+=("--dpkgopt=path-exclude=/usr/share/$path/*")
    done
    # shellcheck disable=SC1091
    [ -r /etc/os-release ] && release=$(. /etc/os-release && echo "${DEBIAN_CODENAME:-${VERSION_CODENAME:-bookworm}}")
    mmdebstrap --quiet --variant=essential --include="$packages" "${options[@]}" "$release" "$work/$name.tar"
    local empty
    empty=$(build from scratch)
    build add --quiet "$empty" "$work/$name.tar" / >/dev/null
    build commit --quiet --rm "$empty" "$name" >/dev/null
    rm "$work/$name.tar"
}

with_buildah() {
    local volumes=() image root one
    say "Making the bases with mmdebstrap"
    base build-base "$BUILD_PACKAGES"
    base run-base "$RUN_PACKAGES"
    "$python" scripts/pip_settings.py "$work/pip.conf" >"$work/mounts"
    volumes=(--volume "$work/pip.conf:/etc/pip.conf:ro")
    while read -r one; do
        volumes+=(--volume "$one:$one:ro")
    done <"$work/mounts"
    say "Building the image with buildah"
    build bud --isolation chroot --tag "$IMAGE" "${volumes[@]}" "${arguments[@]}" \
        --build-arg BUILD_BASE=localhost/build-base --build-arg RUN_BASE=localhost/run-base .
    image=$(build from "localhost/$IMAGE")
    root=$(build mount "$image")
    size=$(du --summarize --block-size=1 "$root" | cut -f 1)
    install -d -o 10001 -g 10001 "$work/data"
    chmod 755 "$work"
    build run --isolation chroot --volume "$work/data:/data" --env SECONDPASS_HOST=127.0.0.1 \
        --env "SECONDPASS_PORT=$port" "$image" -- /opt/docker/entrypoint.sh serve &
    server=$!
}

if docker info >/dev/null 2>&1; then
    with_docker
elif command -v buildah >/dev/null && command -v mmdebstrap >/dev/null && [ "$(id -u)" = 0 ]; then
    free=$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$NEEDED_MB" ] || fail "$work has $free MB free; the build needs $NEEDED_MB MB."
    with_buildah
else
    fail "neither a Docker engine nor, for root, buildah and mmdebstrap were found.
  Debian and Ubuntu: sudo apt install buildah mmdebstrap"
fi

"$python" scripts/ask.py "http://127.0.0.1:$port" &
asking=$!
wait -n || fail "the server ended, or did not answer as it should (see above)."
asking=
say "The image has $((size / 1000000)) MB."
# TORCH_INDEX_URL= asks for the CUDA build, which is larger.
[ -z "${TORCH_INDEX_URL-cpu}" ] || [ "$size" -lt "$LIMIT_BYTES" ] ||
    fail "the image may have $((LIMIT_BYTES / 1000000)) MB. Does it have the CPU build of torch?"
