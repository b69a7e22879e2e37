#!/bin/sh
# What the container runs: a command of `secondpass`, `serve` if none is given.
#
# SECONDPASS_DEMO=1 puts the demo corpus into a data folder that holds no documents yet.
set -eu

if [ $# -eq 0 ]; then
    set -- serve
fi
if [ "$1" = serve ] && [ "${SECONDPASS_DEMO:-0}" = 1 ]; then
    secondpass demo --if-empty
fi
exec secondpass "$@"
