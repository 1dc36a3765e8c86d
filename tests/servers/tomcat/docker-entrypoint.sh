#!/bin/bash
# A base directory of its own below the volume, filled on first use, by the user of the image.
set -eu
export CATALINA_HOME=/usr/share/tomcat10 CATALINA_BASE=/srv/tomcat CATALINA_TMPDIR=/tmp
export CATALINA_OPTS="-Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
if [ ! -d "$CATALINA_BASE/conf" ]; then
    mkdir -p "$CATALINA_BASE"/{conf,logs,webapps/ROOT,work}
    cp /usr/share/tomcat10/etc/{server,web,context,tomcat-users}.xml /usr/share/tomcat10/etc/logging.properties "$CATALINA_BASE/conf/"
    echo 'from a page: <%= 6 * 7 %>' >"$CATALINA_BASE/webapps/ROOT/index.jsp"
fi
exec "$@"
