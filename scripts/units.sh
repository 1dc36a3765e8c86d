#!/bin/bash
# units.sh PROGRAM DIRECTORY: writes the units for systemd that name PROGRAM, the system's and the users'.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"

program=$1 directory=$2
unit=$repo/contrib/systemd/bulkhead.service
case $program in *[!A-Za-z0-9/._+-]*) die "cannot write units for $program: only letters, digits and /._+- are understood" ;; esac

mkdir -p "$directory/system" "$directory/user"
sed "s|@EXEC@|$program|; s|@TARGET@|multi-user.target|" "$unit" >"$directory/system/bulkhead.service"
sed "s|@EXEC@|$program|; s|@TARGET@|default.target|; /^After=/d" "$unit" >"$directory/user/bulkhead.service"
chmod 0644 "$directory/system/bulkhead.service" "$directory/user/bulkhead.service"
