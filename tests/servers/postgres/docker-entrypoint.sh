#!/bin/bash
# Root makes the data directory the service user's and becomes him; he makes the cluster on first use, sets it up with a
# server that only he can reach, and starts the real one.
set -Eeuo pipefail
if [ "${1:0:1}" = - ]; then
    set -- postgres "$@"
fi
if [ "$1" = postgres ]; then
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "$PGDATA" /var/run/postgresql
        chmod 00700 "$PGDATA"
        chmod 03775 /var/run/postgresql
        find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
    fi
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        initdb --username=postgres --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 --auth-local=trust
        PGUSER=postgres pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
        psql -v ON_ERROR_STOP=1 -U postgres --no-password -c "CREATE DATABASE \"${POSTGRES_DB:-app}\""
        PGUSER=postgres pg_ctl -D "$PGDATA" -m fast -w stop
        echo 'listen_addresses = '"'*'" >>"$PGDATA/postgresql.conf"
    fi
fi
exec "$@"
