#!/bin/sh
# What the container runs: a command of `secondpass`, `serve` if none is given.
#
# SECONDPASS_DEMO=1 adds --demo to `serve`: the demo corpus, where there are no documents yet.
set -eu

if [ $# -eq 0 ]; then
    set -- serve
fi
if [ "$1" = serve ] && [ "${SECONDPASS_DEMO:-0}" = 1 ]; then
    shift
    set -- serve --demo "$@"
fi
exec secondpass "$@"
