"""The end of every set-up, of init as of an exec: credentials, seccomp, the search for the program, execve.

    close what is no longer needed; keyring, labels
    seccomp, if no_new_privs is off (loading a filter needs a privilege that is dropped next)
    working directory, bounding set, ids, capabilities
    search for args[0] with the final credentials                --> replies what it found
    seccomp, if no_new_privs is on
    detach; what the caller appends (exec.fifo, hooks); execve
"""

from __future__ import annotations

import os

from libcontainer import environment, namespaces, process_setup, sysnr
from libcontainer.errors import Error
from libcontainer.remote import ANY_ERROR, OP_DETACH, OP_EXEC, OP_LABEL, OP_SYNC, Batch, Channel, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from libcontainer.plan import Slots
    from libcontainer.remote import Result
    from libcontainer.seccomp import Filter

CLOSE_ALL = 0xFFFFFFFF


class Ending:
    """The end of one process.

    `passed` descriptors stay open; `joined`: the process is where others are, and may look at it; `keyring` names the
    session keyring (None: keep the caller's), `new_keyring` says that it is not init's; `hand_over` gets the number that
    the seccomp listener has in the process; `late_apparmor` is a profile that is set after capabilities have been dropped,
    as exec does.
    """

    __slots__ = (
        "_hand_over",
        "_joined",
        "_keyring",
        "_late_apparmor",
        "_log",
        "_new_keyring",
        "_passed",
        "_process",
        "_seccomp",
        "_set_groups",
        "_slots",
        "_userns",
    )

    def __init__(
        self,
        process: dict[str, Any],
        slots: Slots,
        *,
        passed: int,
        keyring: str | None,
        seccomp: Filter | None,
        userns: bool,
        joined: bool,
        set_groups: bool,
        hand_over: Callable[[int], None],
        log: Callable[..., None],
        new_keyring: bool = True,
        late_apparmor: str | None = None,
    ) -> None:
        self._process = process
        self._slots = slots
        self._passed = passed
        self._keyring = keyring
        self._seccomp = seccomp
        self._userns = userns
        self._joined = joined
        self._set_groups = set_groups
        self._hand_over = hand_over
        self._log = log
        self._new_keyring = new_keyring
        self._late_apparmor = late_apparmor

    def run(self, channel: Channel, append: Callable[[Batch, dict[str, Any]], None] | None = None) -> None:
        """Do it; `append` adds to the last batch, before execve. Nobody answers that batch."""
        try:
            path = self._credentials(channel)
        except StepError as err:
            if words := process_setup.keyring_refused(err) or process_setup.apparmor_refused(err):
                raise Error(words) from err
            raise
        if self._seccomp and self._process.get("noNewPrivileges"):
            channel.run(self._load_seccomp(channel, Batch(), self._seccomp))
        batch = Batch()
        batch.op(OP_DETACH, 0, (), "detach")
        if append:
            append(batch, self._process)
        self._exec(batch, path)
        self._log("debug", "init: closing the pipe to signal completion")
        channel.send(batch)

    def _credentials(self, channel: Channel) -> str:
        """Become the user; the path of the program, found as that user."""
        path = self._environment(channel)
        process = self._process
        batch = Batch()
        _close_finished(batch, self._slots)
        if self._keyring is not None:
            process_setup.session_keyring(batch, self._keyring, process, self._slots.proc, new=self._new_keyring)
        if process.get("selinuxLabel"):
            process_setup.selinux(batch, process["selinuxLabel"], self._slots.proc)
        if self._seccomp and not process.get("noNewPrivileges"):
            batch = self._load_seccomp(channel, batch, self._seccomp)
        became = process_setup.become_user(
            batch, process, set_groups=self._set_groups, userns=self._userns, log=self._log
        )
        if self._joined:  # a filter that is in force may not let it
            batch.tolerate(namespaces.append_not_dumpable(batch), ANY_ERROR)
        if self._late_apparmor:
            process_setup.apparmor(batch, self._late_apparmor, self._slots.proc)
        lookup = process_setup.Lookup(batch, process["args"][0], path)
        reply = channel.run(batch)
        became.check(reply, self._log)
        lookup.check_cwd(reply)
        return lookup.result(reply)

    def _environment(self, channel: Channel) -> str | None:
        """Complete the environment; the PATH in it."""
        env, has_home, path = environment.prepare(self._process.get("env") or [])
        if not has_home:
            env = environment.with_home(env, self._home(channel))
        self._process = {**self._process, "env": env}
        return path

    def _home(self, channel: Channel) -> str | None:
        """HOME as the container's own /etc/passwd has it."""
        from libcontainer import inroot, passwd

        fd = inroot.open_file(channel, self._slots.root, "etc/passwd")
        if fd is None:
            return None
        try:
            return passwd.home_of(fd, self._process["user"].get("uid", 0))
        finally:
            os.close(fd)

    def _load_seccomp(self, channel: Channel, batch: Batch, filter_: Filter) -> Batch:
        """Load the filter, and return the batch to go on with. A listener goes to its agent before anything else is
        filtered."""
        loaded = process_setup.seccomp(batch, filter_)
        self._log("debug", f"seccomp filter flags: {filter_.flags}")
        if not filter_.notify:
            return batch
        batch.op(OP_SYNC, 0, (), "sync")
        _close_listener(batch, loaded)
        channel.send(batch)
        self._hand_over(channel.receive(batch)[loaded])
        channel.go()
        channel.receive(batch)
        return Batch()

    def _exec(self, batch: Batch, path: str) -> None:
        """The last calls of all: close everything but what is passed, and execve."""
        argv = batch.vector(self._process["args"])
        envp = batch.vector(self._process["env"])
        # All are close-on-exec; but /proc/self/fd/N as args[0] is looked up before that happens (CVE-2024-21626).
        closed = batch.close_range(self._passed, CLOSE_ALL)
        batch.tolerate(closed, ANY_ERROR)  # a seccomp profile may not know it
        messages = process_setup.exec_messages(batch, path)
        batch.op(OP_EXEC, 0, (path, argv, envp, messages), "execve", path)


def wait_for_reader(batch: Batch, slots: Slots) -> None:
    """At the end of everything: open the fifo for writing, which waits until somebody reads, and say so there."""
    batch.op(OP_LABEL, 0, ("pyrunc: cannot open exec fifo",), "label")
    proc = f"self/fd/{slots.fifo}"
    fifo = batch.call("openat", sysnr.OPENAT, slots.proc, proc, os.O_WRONLY | os.O_CLOEXEC, 0)
    batch.call("write", sysnr.WRITE, fifo, b"0", 1)
    # The fifo's writing end stays open until execve: its end of file tells the reader that the program runs.
    batch.close(slots.fifo)
    batch.close(slots.proc)


def _close_finished(batch: Batch, slots: Slots) -> None:
    """Before init takes the user's ids, and others may look at its descriptors: close all but the procfs and the fifo."""
    batch.close_range(*slots.scratch)
    batch.close_range(slots.fifo + 1, CLOSE_ALL)


def _close_listener(batch: Batch, listener: Result) -> None:
    """Whoever has the notify descriptor decides what the filter lets through: the container must not get at it."""
    batch.tolerate(batch.close(listener), ANY_ERROR)  # the filter is in force, for close(2) as well
