"""What a process becomes before its program runs: keyring, labels, scheduling, credentials, working directory.

Shared by the container's init and by exec; each function appends the calls of one kernel feature to a batch.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from libcontainer import capabilities, sysnr
from libcontainer.errors import Error, SyscallError, strerror
from libcontainer.remote import ANY_ERROR, AT_FDCWD, OP_LABEL, OP_PLAIN, REFERENCE, Batch, item
from libcontainer.spec_process import selinux_enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from libcontainer.cgroups import Manager
    from libcontainer.remote import Argument, Data, Reply, Result, StepError

# linux/prctl.h
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
# linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_SETPERM = 5
KEY_SPEC_PROCESS_KEYRING = -2
KEY_USR_SEARCH = 0x080000
KEYRING_PERMISSIONS = 0x3F130000  # as those of a new session keyring: all to the possessor, VIEW, READ and LINK to the user
# linux/capability.h
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER = 1
DEFAULT_UMASK = 0o022
AT_EACCESS = 0x200
_APPARMOR = "apparmor profile "


def session_keyring(batch: Batch, container_id: str, process: dict[str, Any], proc: int, *, new: bool) -> None:
    """The container's session keyring, "_ses.ID" (session-keyring(7)); kernels without keys are tolerated.

    What cannot be made is an error: without it the process would have the caller's, with all that is in it.
    """
    label = process.get("selinuxLabel")
    if label:
        batch.write_file(proc, "thread-self/attr/keycreate", label, name="selinux keyring label")
    name = f"_ses.{container_id}"
    made = _new_keyring(batch, name) if new else []
    batch.tolerate(_keyctl(batch, KEYCTL_JOIN_SESSION_KEYRING, name), errno.ENOSYS)
    for end in made:
        batch.end_skip(end)
    if label:
        batch.write_file(proc, "thread-self/attr/keycreate", "\0", name="selinux keyring label")


def _new_keyring(batch: Batch, name: str) -> list[Result]:
    """A keyring can only be joined by its name, and the oldest with that name is: perhaps not ours, but one that another
    container has made for us to find, or that of a container of this name whose last process is still on its way out. So
    ours is made first, in the process keyring, and compared with what was joined. If that is another it is hidden, and if
    that is refused too the process gets a keyring without the name.

    Returns where it is done. Without that a kernel has no keys, or its LSM does not let us make one there.
    """
    ours = batch.call(
        "add_key", sysnr.ADD_KEY, "keyring", name, 0, 0, KEY_SPEC_PROCESS_KEYRING, path=f"session keyring {name}"
    )
    _keyctl(batch, KEYCTL_SETPERM, ours, KEYRING_PERMISSIONS | KEY_USR_SEARCH)  # exec shall find it
    ends = []
    for _ in range(2):
        joined = _keyctl(batch, KEYCTL_JOIN_SESSION_KEYRING, name)
        batch.tolerate(batch.expect_same(joined, ours, errno.EEXIST), errno.EEXIST, skip=1)
        ends.append(batch.skip())
        batch.tolerate(_keyctl(batch, KEYCTL_SETPERM, joined, KEYRING_PERMISSIONS), ANY_ERROR)
    _keyctl(batch, KEYCTL_JOIN_SESSION_KEYRING, 0)
    ends.append(batch.skip())
    batch.tolerate(ours, errno.ENOSYS, errno.EACCES, skip=batch.count_since(ours))
    return ends


def _keyctl(batch: Batch, command: int, *arguments: Argument) -> Result:
    return batch.call("keyctl", sysnr.KEYCTL, command, *arguments, path="session keyring")


def keyring_refused(err: StepError) -> str | None:
    """What EDQUOT means here."""
    if err.call not in ("add_key", "keyctl") or err.errno != errno.EDQUOT:
        return None
    return (
        "unable to join session keyring: unable to create session key: its user has as many keys as kernel.keys.maxkeys or "
        "maxbytes (root_maxkeys, root_maxbytes) allow; raise them, or use --no-new-keyring"
    )


def apparmor(batch: Batch, profile: str, proc: int) -> None:
    """AppArmor profile for the next execve (proc_pid_attr(5))."""
    enabled = "/sys/module/apparmor/parameters/enabled"
    if not os.path.exists(enabled):
        raise Error(
            f"apparmor failed to apply profile: process.apparmorProfile is {profile!r}, but this host has no AppArmor"
        )
    directory = "apparmor/" if os.path.exists("/proc/self/attr/apparmor/exec") else ""
    batch.write_file(proc, f"thread-self/attr/{directory}exec", f"exec {profile}", name=f"{_APPARMOR}{profile!r}")


def apparmor_refused(err: StepError) -> str | None:
    """The kernel says ENOENT of a profile that it does not know."""
    profile = err.filename or ""
    if err.call != "write" or err.errno != errno.ENOENT or not profile.startswith(_APPARMOR):
        return None
    return f"apparmor failed to apply profile: {profile}: profile not loaded"


def selinux(batch: Batch, label: str, proc: int) -> None:
    """SELinux label for the next execve."""
    if not selinux_enabled():
        raise Error("selinux label is specified in config, but selinux is disabled or not supported")
    batch.write_file(proc, "thread-self/attr/exec", label, name="selinux label")


def no_new_privs(batch: Batch) -> None:
    """process.noNewPrivileges (PR_SET_NO_NEW_PRIVS)."""
    batch.call("prctl", sysnr.PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, path="no_new_privs")


def scheduling(
    batch: Batch,
    process: dict[str, Any],
    personality_wanted: Mapping[str, Any] | None,
    policy: Mapping[str, Any] | None,
) -> None:
    """Scheduler, io priority, personality and memory policy, in the contract's order."""
    if process.get("scheduler"):
        from libcontainer import scheduler

        attributes = batch.put(scheduler.attr(process["scheduler"]))
        batch.call("sched_setattr", sysnr.SCHED_SETATTR, 0, attributes, 0, path="process.scheduler")
    if process.get("ioPriority"):
        from libcontainer import ioprio

        value = ioprio.value(process["ioPriority"])
        batch.call("ioprio_set", sysnr.IOPRIO_SET, ioprio.WHO_PROCESS, 0, value, path="process.ioPriority")
    if personality_wanted:
        from libcontainer import personality

        value = personality.value(personality_wanted)
        batch.call("personality", sysnr.PERSONALITY, value, path="linux.personality")
    if policy:
        memory_policy(batch, policy)


def scheduler_refused(err: StepError, process: Mapping[str, Any], cgroup: Manager, *, cpus: bool) -> str | None:
    """What EPERM of sched_setattr(2) means in a container: it has no real-time budget, or not all CPUs (`cpus`)."""
    if err.call != "sched_setattr" or err.errno != errno.EPERM:
        return None
    policy = process["scheduler"]["policy"]
    if policy in ("SCHED_FIFO", "SCHED_RR") and cgroup.lacks_real_time():
        return (
            f"process.scheduler.policy: {policy} is refused: cpu.rt_runtime_us of the container's cgroup is 0; "
            "set linux.resources.cpu.realtimeRuntime (the cgroups above need as much)"
        )
    return "process scheduler can't be used together with AllowedCPUs" if cpus else None


def memory_policy(batch: Batch, policy: Any) -> None:
    """linux.memoryPolicy (set_mempolicy(2))."""
    from libcontainer.spec_linux import memory_policy as parse

    mode, nodes = parse(policy)
    mask: Argument = 0
    bits = 0
    if nodes:
        words = (nodes.bit_length() + 63) // 64
        mask = batch.put(nodes.to_bytes(words * 8, "little"))
        bits = words * 64 + 1  # the kernel takes one bit less than it is told: set_mempolicy(2), BUGS
    batch.call("set_mempolicy", sysnr.SET_MEMPOLICY, mode, mask, bits, path="linux.memoryPolicy")


def seccomp(batch: Batch, filter_: Any) -> Result:
    """Load a compiled filter (seccomp(2)); from here on plain reads and writes only."""
    program = batch.put(filter_.program)
    head = batch.put(struct.pack("=HxxxxxxQ", len(filter_.program) // 8, program & REFERENCE))
    batch.pointer(head, 8)
    loaded = batch.call("seccomp", sysnr.SECCOMP, SECCOMP_SET_MODE_FILTER, filter_.flags, head, path="linux.seccomp")
    batch.op(OP_PLAIN, 0, (), "plain")
    return loaded


def bounding_set(batch: Batch, bounding: int) -> None:
    """Drop from the bounding set what is not in `bounding` (PR_CAPBSET_DROP)."""
    dropped = [(capability,) for capability in range(capabilities.last_cap() + 1) if not bounding >> capability & 1]
    if dropped:
        each = batch.each(dropped)
        batch.call("prctl", sysnr.PRCTL, PR_CAPBSET_DROP, item(), 0, 0, 0, path="bounding set")
        batch.end_each(each)


def user(batch: Batch, process_user: dict[str, Any], *, keep_caps: bool, set_groups: bool) -> None:
    """setgroups, setgid, setuid; with keep_caps the permitted set survives leaving uid 0."""
    groups = process_user.get("additionalGids") or []
    uid, gid = process_user.get("uid", 0), process_user.get("gid", 0)
    if keep_caps:
        batch.call("prctl", sysnr.PRCTL, PR_SET_KEEPCAPS, 1, 0, 0, 0, path="keepcaps")
    if set_groups:
        packed = batch.put(struct.pack(f"={len(groups)}I", *groups))
        batch.call("setgroups", sysnr.SETGROUPS, len(groups), packed, path="process.user.additionalGids")
    batch.call("setgid", sysnr.SETRESGID, gid, gid, gid, path=f"process.user.gid {gid}")
    batch.call("setuid", sysnr.SETRESUID, uid, uid, uid, path=f"process.user.uid {uid}")
    if keep_caps:
        batch.call("prctl", sysnr.PRCTL, PR_SET_KEEPCAPS, 0, 0, 0, 0, path="keepcaps")


def capability_sets(batch: Batch, masks: capabilities.Masks) -> list[tuple[int, Result]]:
    """capset(2) and the ambient set; the result lists the ambient calls, whose failure is only worth a warning."""
    header = batch.put(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    sets = (masks.effective, masks.permitted, masks.inheritable)
    words = [s & 0xFFFFFFFF for s in sets] + [s >> 32 for s in sets]
    batch.call("capset", sysnr.CAPSET, header, batch.put(struct.pack("=6I", *words)), path="process.capabilities")
    cleared = batch.call("prctl", sysnr.PRCTL, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, path="ambient")
    batch.tolerate(cleared, errno.EINVAL)
    raised = []
    for capability in range(64):
        if masks.ambient >> capability & 1:
            arguments = (PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            call = batch.call("prctl", sysnr.PRCTL, *arguments)
            batch.tolerate(call, ANY_ERROR)
            raised.append((capability, call))
    return raised


def change_directory(batch: Batch, cwd: str) -> Result:
    """chdir, called before and after setuid: that one of the two works is enough, see check_directory()."""
    moved = batch.call("chdir", sysnr.CHDIR, cwd)
    batch.tolerate(moved, ANY_ERROR)
    return moved


def check_directory(reply: Reply, cwd: str, attempts: Sequence[Result]) -> None:
    """Either root or the user must have had access to the working directory."""
    if all(reply[attempt] < 0 for attempt in attempts):
        raise Error(f'chdir to cwd ("{cwd}") set in config.json failed') from SyscallError("", -reply[attempts[-1]])


def become_user(
    batch: Batch, process: dict[str, Any], *, set_groups: bool, userns: bool, log: Callable[..., None]
) -> Became:
    """Working directory, bounding set, ids, capabilities."""
    caps = process.get("capabilities")
    masks = None
    if caps is not None:
        masks = capabilities.masks(caps, capabilities.supported() if userns else None)
        if masks.unknown:
            log("warning", masks.warning())
        bounding_set(batch, masks.bounding)
    before = change_directory(batch, process["cwd"])
    user(batch, process["user"], keep_caps=masks is not None, set_groups=set_groups)
    after = change_directory(batch, process["cwd"])
    raised = capability_sets(batch, masks) if masks is not None else []
    return Became(process, (before, after), raised)


class Became:
    """The calls of become_user() that may fail, to be looked at when their results are there."""

    __slots__ = ("_directories", "_process", "_raised")

    def __init__(self, process: dict[str, Any], directories: tuple[int, int], raised: list[tuple[int, int]]) -> None:
        self._process = process
        self._directories = directories
        self._raised = raised

    def check(self, reply: Reply, log: Callable[..., None]) -> None:
        """Raise if nobody could enter the working directory. A capability that cannot be ambient (it is not
        inheritable, say) is worth a warning only."""
        check_directory(reply, self._process["cwd"], self._directories)
        for capability, result in self._raised:
            if reply[result] < 0:
                name = capabilities.NAMES[capability]
                log("warning", f"can't raise ambient capability {name}: {strerror(-reply[result])}")


# -- finding the program


class Lookup:
    """The search for args[0] in the container, with the final credentials: what exec.LookPath does in Go."""

    __slots__ = ("_access", "_name", "_paths", "_place", "_stats")
    _SIZE = 144

    def __init__(self, batch: Batch, name: str, path: str | None) -> None:
        self._name = name
        self._paths = [name] if "/" in name else [os.path.join(d or ".", name) for d in (path or "").split(":")]
        # The working directory comes back behind the stats: one region a batch.
        self._place = batch.out(len(self._paths) * self._SIZE + 4096)
        self._stats = []
        self._access = []
        for i, candidate in enumerate(self._paths):
            place = self._place + i * self._SIZE
            found = batch.call("stat", sysnr.NEWFSTATAT, AT_FDCWD, candidate, place, 0)
            batch.tolerate(found, ANY_ERROR)
            self._stats.append(found)
            access = batch.call("faccessat2", sysnr.FACCESSAT2, AT_FDCWD, candidate, os.X_OK, AT_EACCESS)
            batch.tolerate(access, ANY_ERROR)
            self._access.append(access)
        self._cwd(batch)

    def _cwd(self, batch: Batch) -> None:
        place = self._place + len(self._paths) * self._SIZE
        batch.call("getcwd", sysnr.GETCWD, place, 4096, path="getcwd")

    def check_cwd(self, reply: Reply) -> None:
        """A working directory outside the root would be a leaked host directory (CVE-2024-21626)."""
        if not reply.data[len(self._paths) * self._SIZE :].startswith(b"/"):
            raise Error(
                "current working directory is outside of container mount namespace root"
                " -- possible container breakout detected"
            )

    def result(self, reply: Reply) -> str:
        """The path to execute; raises what Go programs say when there is none."""
        for i, candidate in enumerate(self._paths):
            problem = self._problem(reply, i)
            if problem == 0:
                return candidate
            if "/" in self._name:
                verb = "stat " + self._name if reply[self._stats[i]] < 0 else ""
                raise _not_found(self._name, verb, problem)
        raise Error(f'exec: "{self._name}": executable file not found in $PATH')

    def _problem(self, reply: Reply, i: int) -> int:
        if reply[self._stats[i]] < 0:
            return -reply[self._stats[i]]
        mode = self._mode(reply, i)
        if stat.S_ISDIR(mode):
            return errno.EISDIR
        access = -reply[self._access[i]]
        if access in (errno.ENOSYS, errno.EPERM):  # a seccomp profile that does not know faccessat2
            return 0 if mode & 0o111 else errno.EACCES
        return access

    def _mode(self, reply: Reply, i: int) -> int:
        from libcontainer.inroot import STAT_MODE

        (mode,) = struct.unpack_from("=I", reply.data, i * self._SIZE + STAT_MODE)
        return int(mode)


def _not_found(name: str, verb: str, problem: int) -> Error:
    return Error(": ".join(part for part in (f'exec: "{name}"', verb, strerror(problem)) if part))


def _message_table() -> bytes:
    """struct message[] (protocol.h) and its texts: how a failed execve is worded after the label."""
    known = (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.EISDIR, errno.E2BIG),
        *(errno.ETXTBSY, errno.ELOOP, errno.ENOMEM, errno.EINVAL, errno.EIO, errno.ENAMETOOLONG, errno.EAGAIN),
    )
    texts = {number: f": {strerror(number)}\n\0".encode() for number in known}
    texts[0] = b": failed\n\0"
    at = len(texts) * 8
    rows, content = b"", b""
    for number, text in texts.items():
        rows += struct.pack("=II", number, at + len(content))
        content += text
    return rows + content


EXEC_MESSAGES = _message_table()


def exec_messages(batch: Batch, path: str) -> Data:
    """What init prints on the container's stderr when execve itself fails: one line, as nobody else listens by then."""
    batch.op(OP_LABEL, 0, (f"exec {path}",), "label")
    return batch.put(EXEC_MESSAGES)
