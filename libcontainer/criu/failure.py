"""CriuFailed: how a request to CRIU failed, in one sentence that says what to do.

What CRIU answers is an errno at best, and the first error that it has logged, which may be unrelated. The log, the exit
signal and stderr say more; CAUSES knows the lines of the log whose cure is not in them.
"""

from __future__ import annotations

import os
from errno import ENOSPC

from libcontainer.criu import log, messages
from libcontainer.criu.process import ending
from libcontainer.errors import Error, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 600  # characters of CRIU's own words: engines read little of stderr
_OLD = "this CRIU is too old for this kernel: Linux 6.16 and later need CRIU 4.2"

# words of an error line ("..." stands for any) -> the sentence that says it better
CAUSES = (
    (("Can't get 1:16 opt", "vdso: "), _OLD),
    (("Can't find pagemap", "soft-dirty"), "this kernel has no soft-dirty memory tracking (CONFIG_MEM_SOFT_DIRTY)"),
    (("Tracking memory is not available",), "this kernel has no soft-dirty memory tracking (CONFIG_MEM_SOFT_DIRTY)"),
    (
        ("userfaultfd descriptor: Operation not permitted",),
        "the container may not use userfaultfd: set sysctl vm.unprivileged_userfaultfd=1",
    ),
    (
        ("Failed to setns when join-ns user",),
        "CRIU cannot restore into a user namespace that is there already: give the container its own, with the same maps",
    ),
    (
        ("page-pipe: splice", "Can't splice all pages", "Unable to grow page pipe", "F_SETPIPE_SZ"),
        "CRIU's pipes are too small without CAP_SYS_RESOURCE: give it, or raise sysctl fs.pipe-max-size to 4194304",
    ),
    (
        ("Can't get rlimit",),
        "CRIU may not read the limits of processes of other users without CAP_SYS_RESOURCE: run as root with all capabilities",
    ),
    (
        ("iptables-restore", "ip6tables-restore", "Network locking failed", "nft_ctx", "locking network"),
        "CRIU could not lock the network: it needs iptables or nft in $PATH (or a checkpoint with --network-lock skip)",
    ),
    (
        ("Locking network failed using nftables",),
        "CRIU before 4.2 cannot lock again what it has locked with nft: delete its table, and dump with iptables",
    ),
    (
        ("Can't open parent path: Permission denied",),
        "the container's user may not search the directories between the images and their parent's: chmod o+x those",
    ),
    (
        ("Can't fork for ... File exists",),
        "in the pid namespace that the container joins another process has that pid: end it, or wait for its parent to reap it",
    ),
    (
        ("Can't fork for ... Resource temporarily unavailable", "fork() failed: Resource temporarily unavailable"),
        "the container's cgroup, or one above it, allows too few processes: raise linux.resources.pids.limit",
    ),
    (
        ("can't write lsm profile",),
        "the processes may not be under their AppArmor profile or SELinux label here: load it, or use --lsm-profile",
    ),
    (
        ("Timeout reached", "Unseizable non-zombie", "found while seizing"),  # also of what is no zombie
        "a process could not be stopped: somebody traces it (TracerPid in /proc/PID/status), or it takes longer than --timeout",
    ),
    (("Can't connect to server",), "no page server answers there: start it first, criu page-server --port PORT"),
    (("(empty-image)",), "an image is missing or cut off: the checkpoint was not finished, or not copied as a whole"),
    (("Failed to resolve hostname",), "--page-server: that host has no address here: give one that has, or the address itself"),
    (
        ("connect to lazy-pages.socket failed",),
        "no lazy-pages daemon answers: start it first, criu lazy-pages with the same images and work directory",
    ),
    (
        ("No space left on device", "Disk quota exceeded", "no space left on device"),
        "a file system is full: make room for the images, or take another directory (--image-path, --work-path)",
    ),
    (
        ("Can't create log file",),
        "CRIU cannot write where its log belongs: --work-path, or without it --image-path, must be a directory that takes it",
    ),
    (("Connected TCP socket",), "the container has established TCP connections: use --tcp-established or --tcp-close"),
    (("In-flight",), "the container has connections that are being made: use --tcp-skip-in-flight"),
    (("Some file locks are hold", "file locks are hold"), "the container holds file locks: use --file-locks"),
    (("Can't create link remap", "link-remap"), "the container has deleted files open: use --link-remap"),
    (("increase limit", "ghost file"), "a deleted file that is open is larger than --ghost-limit"),
    (
        ("without peer",),
        "a unix socket is connected to one in another network namespace, which CRIU cannot dump: close it before",
    ),
    (("External socket is used",), "a socket is connected to outside: use --ext-unix-sk"),
    (("No task found with sid",), "a terminal in the images is the host's: use --shell-job"),
    (("leaves outside", "session leader"), "a process belongs to a session outside the container: use --shell-job"),
)


class CriuFailed(Error):
    """A request failed. `exit_code` is CRIU's (-N: signal N), `errno` its cr_errno, `log` the path of its log."""

    def __init__(
        self,
        kind: int,
        *,
        exit_code: int | None = None,
        hung: float = 0.0,
        stderr: str = "",
        errno: int = 0,
        said: str = "",
    ) -> None:
        self.kind = kind
        self.exit_code = exit_code
        self.hung = hung
        self.stderr = stderr
        self.errno = errno
        self.said = said
        self.log = ""
        self.line: str | None = None
        super().__init__()

    def add_log(self, path: str, lines: Sequence[str]) -> None:
        """Give it the log to quote from."""
        self.log = path if lines else ""  # it may have ended before it had one
        self.line = log.relevant(lines)

    def __str__(self) -> str:
        name = messages.NAMES.get(self.kind, str(self.kind))
        where = f" (log file: {self.log})" if self.log else ""
        return f"criu failed: type {name.upper()} errno {self.errno}: {self._cause()}{where}"

    def _cause(self) -> str:
        words = " ".join((self.line or self._stderr() or _plain(self.said)).split())[:LONGEST]
        if self.hung:
            hung = f"CRIU did nothing for {self.hung:.0f} seconds and was killed"
            words = f"{hung}; its first error: {words}" if words else hung
        elif self.exit_code is not None and self.exit_code < 0:
            words = f"CRIU crashed ({ending(self.exit_code)})" + (f": {words}" if words else "")
        cure = next((sentence for known, sentence in CAUSES if any(_found(text, words) for text in known)), None)
        if cure:
            return f"{cure}: {words}"
        return words or f"CRIU gave no reason ({ending(self.exit_code or 0)})"

    def _stderr(self) -> str:
        """Its last line; CRIU repeats its usage text for a wrong option."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return _plain(next((line for line in lines if "rror" in line), lines[-1] if lines else ""))


def _plain(line: str) -> str:
    """Words that are not in the log: without the place in the source, and nothing if they are a harmless error's."""
    return log.relevant([line]) or "" if log.MARK in line else line


def _found(text: str, words: str) -> bool:
    """Whether its parts are in the words, in this order."""
    at = 0
    for part in text.split("..."):
        at = words.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def explain(err: CriuFailed, work: int, path: str, warn: Callable[..., None]) -> None:
    """Let `err` quote from CRIU's log at `path`, in the directory `work`; its error lines become warnings, as runc has it."""
    path = os.path.realpath(path)
    lines = log.read(work, os.path.basename(path))
    err.add_log(path, lines)
    if err.line is None and not os.fstatvfs(work).f_bavail:  # the log ends where there was no room for it
        err.line = strerror(ENOSPC)
    quoted = log.quote(lines)
    if quoted:
        warn("warning", f'--- Quoting "{path}"')
        for line in quoted:
            warn("warning", line)
        warn("warning", "---")
