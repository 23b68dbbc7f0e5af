#!/bin/sh
# The units, their drop-ins and a first configuration into their places; install.sh calls it.
#   place.sh PREFIX [DESTDIR]
set -eu
prefix=$1 destdir=${2-}
cd "$(dirname "$0")/.."
system=$destdir/etc/systemd/system
documents=$destdir$prefix/share/doc/spheroidd
mkdir -p "$system" "$destdir/etc/spheroidd" "$documents/drop-ins"
for one in systemd/*.service; do
    sed "s|/opt/spheroidd|$prefix|g" "$one" > "$system/${one##*/}"
done
cp README.md docs/web.md "$documents/"
for one in systemd/drop-ins/*.conf; do
    sed "s|/opt/spheroidd|$prefix|g" "$one" > "$documents/drop-ins/${one##*/}"
done
# So that people find the command.
mkdir -p "$destdir/usr/local/bin"
ln -sfn "$prefix/venv/bin/spheroidd" "$destdir/usr/local/bin/spheroidd"
# What somebody has edited stays as it is.
config=$destdir/etc/spheroidd/config.yaml
test -e "$config" || cp config.example.yaml "$config"
