"""Which file system a path lies on, and whether a database is safe there."""

import re
from dataclasses import dataclass
from pathlib import Path

from spheroidd.errors import StoreError

TABLE = Path("/proc/self/mountinfo")

# Another machine holds the files, so two kernels may write to one file, and neither knows the
# other's locks nor the other's memory: SQLite's write-ahead log can't work there.
NETWORK = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "orangefs", "pvfs2", "smb3", "smbfs"),
    }
)
# The same by way of FUSE (`fuse.<name>`). Others are let be: many are a local disk's in disguise
# (fuseblk, mergerfs, bindfs, gocryptfs).
_NETWORK_BY_FUSE = frozenset(
    {
        *("afpfs", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "curlftpfs", "davfs", "davfs2"),
        *("gcsfuse", "glusterfs", "goofys", "gvfsd-fuse", "juicefs", "kio-fuse", "lizardfs"),
        *("mfs", "moosefs", "rclone", "s3fs", "seaweedfs", "smbnetfs", "sshfs"),
    }
)


@dataclass(frozen=True)
class Mount:
    """Where something is mounted, its type, such as `ext4` or `cifs`, and its own options."""

    point: str
    filesystem: str
    options: str = ""


def read_mounts() -> list[Mount]:
    """All mounts that this process sees, in the order in which they were made."""
    try:
        text = TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return parse_mounts(text)


def parse_mounts(text: str) -> list[Mount]:
    """The mounts in the text of /proc/self/mountinfo (proc(5))."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) >= 5 and kind:
            mounts.append(Mount(unescaped(fields[4]), kind[0], kind[-1]))
    return mounts


def unescaped(field: str) -> str:
    r"""A field of mountinfo or /etc/fstab, which write blanks and the like as \040 (fstab(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def holding(target: str, mounts: list[Mount]) -> Mount:
    """The mount that a path without links lies on."""
    best = Mount("", "")
    for mount in mounts:
        # The last mount on a point hides the others.
        if is_inside(target, mount.point) and len(mount.point) >= len(best.point):
            best = mount
    return best


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def filesystem_of(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that holds `path`, such as `ext4` or `cifs`; '': not known.

    Args:
        mounts: the text of /proc/self/mountinfo; read from there when None.
    """
    return _mount_of(path, mounts).filesystem


def network_filesystem(path: Path, mounts: str | None = None) -> str:
    """The type of the network file system that holds `path`; '': it is on none.

    A share of a virtual machine's own host (virtiofs, 9p, vboxsf) is none: one kernel uses it,
    and containers and VMs have their whole disk there. Whether it can do what SQLite needs,
    SQLite itself finds out. 9p over TCP is one.
    """
    mount = _mount_of(path, mounts)
    kind, options = mount.filesystem, mount.options.split(",")
    by_fuse = kind.startswith("fuse.") and kind.removeprefix("fuse.") in _NETWORK_BY_FUSE
    far = kind == "9p" and bool({"trans=tcp", "trans=rdma"}.intersection(options))
    return kind if kind in NETWORK or by_fuse or far else ""


def refuse_network(folder: Path) -> None:
    """
    Raises:
        StoreError: the folder lies on a network file system; says where it should be.
    """
    kind = network_filesystem(folder)
    if kind:
        point = _mount_of(folder, None).point
        raise StoreError(
            f"The state folder {folder} lies on a network file system ({kind}, mounted at "
            f"{point}), where SQLite can't keep the database safe.",
            "Put `state_dir` on a disk of this machine; `backup.folder` may be on the share.",
        )


def _mount_of(path: Path, mounts: str | None) -> Mount:
    table = read_mounts() if mounts is None else parse_mounts(mounts)
    return holding(str(path.resolve()), table)
