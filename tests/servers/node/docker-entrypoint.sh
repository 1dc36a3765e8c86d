#!/bin/sh
# No root at any time: the image's user is the service's. A flag is one of node's.
set -e
if [ "${1#-}" != "${1}" ] || [ -z "$(command -v "${1}")" ]; then
    set -- node "$@"
fi
exec "$@"
