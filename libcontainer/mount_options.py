"""The words of a mount's `options` (runtime-spec, "Mounts"): flags, propagation, recursive attributes, data.

Pure: words in, numbers out. What is no word of the tables is data for the filesystem, as mount(8) has it.
"""

from __future__ import annotations

# linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 1 << 1
MS_NODEV = 1 << 2
MS_NOEXEC = 1 << 3
MS_SYNCHRONOUS = 1 << 4
MS_REMOUNT = 1 << 5
MS_MANDLOCK = 1 << 6
MS_DIRSYNC = 1 << 7
MS_NOSYMFOLLOW = 1 << 8
MS_NOATIME = 1 << 10
MS_NODIRATIME = 1 << 11
MS_BIND = 1 << 12
MS_MOVE = 1 << 13
MS_REC = 1 << 14
MS_SILENT = 1 << 15
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_SET = {
    "bind": MS_BIND,
    "dirsync": MS_DIRSYNC,
    "iversion": MS_I_VERSION,
    "lazytime": MS_LAZYTIME,
    "mand": MS_MANDLOCK,
    "noatime": MS_NOATIME,
    "nodev": MS_NODEV,
    "nodiratime": MS_NODIRATIME,
    "noexec": MS_NOEXEC,
    "nosuid": MS_NOSUID,
    "nosymfollow": MS_NOSYMFOLLOW,
    "rbind": MS_BIND | MS_REC,
    "relatime": MS_RELATIME,
    "remount": MS_REMOUNT,
    "ro": MS_RDONLY,
    "silent": MS_SILENT,
    "strictatime": MS_STRICTATIME,
    "sync": MS_SYNCHRONOUS,
}
_CLEAR = {
    "async": MS_SYNCHRONOUS,
    "atime": MS_NOATIME,
    "dev": MS_NODEV,
    "diratime": MS_NODIRATIME,
    "exec": MS_NOEXEC,
    "loud": MS_SILENT,
    "noiversion": MS_I_VERSION,
    "nolazytime": MS_LAZYTIME,
    "nomand": MS_MANDLOCK,
    "norelatime": MS_RELATIME,
    "nostrictatime": MS_STRICTATIME,
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "symfollow": MS_NOSYMFOLLOW,
}
PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
}
_REC_SET = {
    "rnodev": MOUNT_ATTR_NODEV,
    "rnodiratime": MOUNT_ATTR_NODIRATIME,
    "rnoexec": MOUNT_ATTR_NOEXEC,
    "rnosuid": MOUNT_ATTR_NOSUID,
    "rnosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "rro": MOUNT_ATTR_RDONLY,
}
_REC_CLEAR = {
    "rdev": MOUNT_ATTR_NODEV,
    "rdiratime": MOUNT_ATTR_NODIRATIME,
    "rexec": MOUNT_ATTR_NOEXEC,
    "rrw": MOUNT_ATTR_RDONLY,
    "rsuid": MOUNT_ATTR_NOSUID,
    "rsymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}
# mount_setattr(2): access time is not a bit but a choice; to choose, the whole mask must be cleared.
_REC_ATIME = {
    "ratime": MOUNT_ATTR_RELATIME,
    "rnoatime": MOUNT_ATTR_NOATIME,
    "rnorelatime": MOUNT_ATTR_RELATIME,
    "rnostrictatime": MOUNT_ATTR_RELATIME,
    "rrelatime": MOUNT_ATTR_RELATIME,
    "rstrictatime": MOUNT_ATTR_STRICTATIME,
}
_ID_MAPS = ("idmap", "ridmap")
_EXTENSIONS = ("tmpcopyup",)

_ATTRIBUTES = (
    (MS_RDONLY, MOUNT_ATTR_RDONLY),
    (MS_NOSUID, MOUNT_ATTR_NOSUID),
    (MS_NODEV, MOUNT_ATTR_NODEV),
    (MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    (MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
    (MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
)


# Of the file system itself, as fsconfig(2) has them.
SUPERBLOCK_WORDS = ((MS_SYNCHRONOUS, "sync"), (MS_MANDLOCK, "mand"), (MS_DIRSYNC, "dirsync"), (MS_LAZYTIME, "lazytime"))


class MountOptions:
    """What the words of one mount ask for.

    flags        MS_* to set
    cleared      MS_* that a word such as "rw" took away on purpose
    propagation  MS_*, for one mount(2) call each
    data         words for the filesystem
    rec_set      MOUNT_ATTR_* for mount_setattr(AT_RECURSIVE), to set
    rec_clear    the same, to clear
    extensions   the runtime's own words (tmpcopyup)
    idmap        None, "idmap" or "ridmap"
    """

    __slots__ = ("cleared", "data", "extensions", "flags", "idmap", "propagation", "rec_clear", "rec_set")

    def __init__(self) -> None:
        self.flags = 0
        self.cleared = 0
        self.propagation: list[int] = []
        self.data: list[str] = []
        self.rec_set = 0
        self.rec_clear = 0
        self.extensions: list[str] = []
        self.idmap: str | None = None

    def add(self, word: str) -> None:
        """Take one word more; what contradicts an earlier word replaces it."""
        if word in _SET:
            self.flags |= _SET[word]
            self.cleared &= ~_SET[word]
        elif word in _CLEAR:
            self.flags &= ~_CLEAR[word]
            self.cleared |= _CLEAR[word]
        elif word in PROPAGATION:
            self.propagation.append(PROPAGATION[word])
        elif word in _REC_SET or word in _REC_CLEAR or word in _REC_ATIME:
            self._add_recursive(word)
        elif word in _ID_MAPS:
            self.idmap = word
        elif word in _EXTENSIONS:
            self.extensions.append(word)
        elif word:
            self.data.append(word)

    def _add_recursive(self, word: str) -> None:
        on = _REC_SET.get(word, 0)
        off = _REC_CLEAR.get(word, 0)
        if word in _REC_ATIME:
            on, off = _REC_ATIME[word], MOUNT_ATTR__ATIME
        self.rec_set = self.rec_set & ~off | on
        self.rec_clear = self.rec_clear & ~on | off


def parse(options: list[str]) -> MountOptions:
    """The meaning of a mount's options."""
    parsed = MountOptions()
    for word in options:
        parsed.add(word)
    return parsed


def known_options() -> list[str]:
    """The words that are not left to the filesystem, sorted, as `features` reports them (without ID maps)."""
    return sorted([*_SET, *_CLEAR, *PROPAGATION, *_REC_SET, *_REC_CLEAR, *_REC_ATIME, *_EXTENSIONS])


def attributes(flags: int) -> int:
    """MS_* as MOUNT_ATTR_* of a new mount; which atime flag wins is as in path_mount() of the kernel."""
    attr = 0
    for flag, attribute in _ATTRIBUTES:
        if flags & flag:
            attr |= attribute
    if flags & MS_STRICTATIME:
        return attr | MOUNT_ATTR_STRICTATIME
    return attr | (MOUNT_ATTR_NOATIME if flags & MS_NOATIME else MOUNT_ATTR_RELATIME)
