#!/bin/sh
# The unit, its drop-ins and a first configuration into their places; install.sh calls it.
#   place.sh PREFIX [DESTDIR]
set -eu
prefix=$1 destdir=${2-}
cd "$(dirname "$0")/.."
system=$destdir/etc/systemd/system
documents=$destdir$prefix/share/doc/spheroidd
mkdir -p "$system" "$destdir/etc/spheroidd" "$documents/drop-ins"
sed "s|/opt/spheroidd|$prefix|g" systemd/spheroidd.service > "$system/spheroidd.service"
cp README.md "$documents/"
for one in systemd/drop-ins/*.conf; do
    sed "s|/opt/spheroidd|$prefix|g" "$one" > "$documents/drop-ins/${one##*/}"
done
# So that people find the command.
mkdir -p "$destdir/usr/local/bin"
ln -sfn "$prefix/venv/bin/spheroidd" "$destdir/usr/local/bin/spheroidd"
# What somebody has edited stays as it is.
config=$destdir/etc/spheroidd/config.yaml
test -e "$config" || cp config.example.yaml "$config"
