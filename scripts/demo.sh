#!/bin/bash
# Runs a container of the embedded image and shows what isolates it. BULKHEAD=FILE takes a binary that is built already.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/env.sh"
scripts/setup.sh demo
if [ -z "${BULKHEAD:-}" ]; then
    need_cargo
    scripts/build.sh
    BULKHEAD=$(built_binary)
fi
bulkhead=$BULKHEAD
name=demo-$$

# The container goes, whatever happens.
trap '"$bulkhead" rm -f "$name" >/dev/null 2>&1 || true' EXIT

bold=$(tput bold 2>/dev/null || true)
plain=$(tput sgr0 2>/dev/null || true)
[ -t 1 ] || bold='' plain=''
title() { printf '\n%s%s%s\n\n' "$bold" "$*" "$plain"; }

title "\$ bulkhead run -d --name $name host sleep 600"
"$bulkhead" run -d --name "$name" host sleep 600

title "\$ bulkhead ps"
"$bulkhead" ps

title "\$ bulkhead exec $name id        root, in its own world"
"$bulkhead" exec "$name" id

title "What isolates it, beside what the same command gets from Docker"
"$bulkhead" explain --compare "$name"

"$bulkhead" rm -f "$name" >/dev/null
trap - EXIT
cat <<END

No image was downloaded: "host" is this machine's own programs, read-only, under
a private writable layer. The container is stopped and removed; nothing is left.

Try next:
  alias bulkhead=$bulkhead
  bulkhead run --rm -it host sh                a shell in a container
  bulkhead run --dry-run host true             every step that a start takes
  bulkhead run --rm --profile strict -u 1000 host id
  bulkhead --help
END
