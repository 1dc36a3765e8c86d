#!/bin/sh
set -eu
rm -f /etc/nginx/sites-enabled/default
sed "s/@PORT@/${NGINX_PORT:-80}/" /etc/nginx/site.template >/etc/nginx/conf.d/default.conf
# The program's logs are the container's.
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
[ -e /usr/share/nginx/html/index.html ] || echo welcome >/usr/share/nginx/html/index.html
