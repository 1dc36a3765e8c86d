#!/bin/sh
# Root: writes the site from a template and the environment, lets drop-in scripts run, becomes the server.
set -eu
if [ "$1" = nginx ]; then
    for script in /docker-entrypoint.d/*.sh; do
        [ ! -x "$script" ] || "$script"
    done
fi
exec "$@"
