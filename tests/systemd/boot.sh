#!/bin/sh
# A systemd of its own, for test_real_systemd.py:  boot.sh FOLDER PATH...
#
# Runs as root in namespaces made for it (mount, pid, uts, ipc, net, cgroup), as their PID 1.  The
# machine's files lie below an overlay: systemd sees them all, and whatever it writes or deletes
# is written and deleted in memory.  /tmp, /run, /dev, /sys and the mount table are its own, and
# /sys and /proc/sys can't be changed.  Exit status 77: this machine does not allow it.
#   PATH: folders of the machine that must be there, wherever they lie.
set -eu
folder=$1
shift
need() { "$@" || { echo "refused here: $*" >&2; exit 77; }; }

test $$ = 1 || { echo "not in a PID namespace of its own" >&2; exit 1; }
need mount --make-rprivate /
need mount -t tmpfs -o mode=755 layers "$folder/layers"
mkdir "$folder/layers/upper" "$folder/layers/work"
# What this changes must not lie in what lies below it: that is what the memory is for.
need mount -t overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" \
    overlay "$folder/root"
cd "$folder/root"

need mount -t proc -o nosuid,nodev,noexec proc proc
need mount --bind proc/sys proc/sys
need mount -o remount,bind,ro proc/sys
need mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
need mount -t cgroup2 cgroup2 sys/fs/cgroup
need mount -t tmpfs -o mode=755 dev dev
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    numbers=${device#*:}
    need mknod -m 666 "dev/${device%%:*}" c "${numbers%:*}" "${numbers#*:}"
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts
need mount -t devpts -o newinstance,mode=620,ptmxmode=666 pts dev/pts
ln -s pts/ptmx dev/ptmx
need mount -t tmpfs -o mode=1777 shm dev/shm
for own in tmp:1777 run:755 var/log:755 var/lib:755 var/tmp:1777 etc/systemd/system:755; do
    need mount -t tmpfs -o "mode=${own#*:}" own "${own%:*}"
done
touch tmp/of-its-own

# Of the machine's services only the journal's.  With a machine-id it is not the first boot, at
# which systemd would enable whatever the distribution likes to.
library=$(test -d usr/lib/systemd/system && echo usr/lib/systemd || echo lib/systemd)
for none in "$library/system-generators" "$library"/system/*.target.wants; do
    case $none in */sockets.target.wants) continue ;; esac
    need mount -t tmpfs -o mode=755 none "$none"
done
: > etc/fstab
echo 0123456789abcdef0123456789abcdef > etc/machine-id

# Python and the checkout may lie where that hides them (/tmp), on a file system of their own, or
# where only root gets to; the service has a user of its own.
number=0
for path; do
    if test "$(stat -c %d "/$path")" != "$(stat -c %d /)" || ! test -e "./$path"; then
        number=$((number + 1))
        mkdir -p "$folder/layers/$number/upper" "$folder/layers/$number/work" "./$path"
        need mount -t overlay overlay "./$path" -o \
            "lowerdir=/$path,upperdir=$folder/layers/$number/upper,workdir=$folder/layers/$number/work"
    fi
    while test "$path" != /; do
        chmod o+rx "./$path"
        path=$(dirname "$path")
    done
done

mkdir -p mnt/machine
need pivot_root . mnt/machine
umount -l /mnt/machine
# As systemd has it outside of containers: what is mounted later, services see, too.
need mount --make-rshared /
# A systemd that cleans the machine's own /tmp would be a disaster: never without these.
test -e /tmp/of-its-own && test "$(stat -f -c %T /)" = overlayfs || exit 1
echo booting
exec env -i container=spheroidd PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-mknod \
    "/$library/systemd" --system --unit=multi-user.target --log-target=journal
