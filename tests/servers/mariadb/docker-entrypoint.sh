#!/bin/bash
# As PostgreSQL's: owners, another user, first use with a server without a network, then the real one.
set -eo pipefail
if [ "${1:0:1}" = - ]; then
    set -- mariadbd "$@"
fi
if [ "$1" = mariadbd ]; then
    if [ "$(id -u)" = 0 ]; then
        mkdir -p /var/lib/mysql /run/mysqld
        find /var/lib/mysql /run/mysqld \! -user mysql -exec chown mysql: '{}' +
        exec setpriv --reuid=mysql --regid=mysql --init-groups "${BASH_SOURCE[0]}" "$@"
    fi
    if [ ! -d /var/lib/mysql/mysql ]; then
        mariadb-install-db --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db >/dev/null
        mariadbd --skip-networking --socket=/run/mysqld/first.sock &
        first=$!
        for _ in $(seq 300); do
            mariadb-admin --socket=/run/mysqld/first.sock -u root ping >/dev/null 2>&1 && break
            sleep 0.1
        done
        mariadb --socket=/run/mysqld/first.sock -u root <<-SQL
            CREATE DATABASE app;
            CREATE USER 'app'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';
            GRANT ALL ON app.* TO 'app'@'%';
            GRANT RELOAD, SHUTDOWN ON *.* TO 'app'@'%';
SQL
        kill "$first"
        wait "$first"
    fi
fi
exec "$@"
