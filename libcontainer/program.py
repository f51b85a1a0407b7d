"""Run a program of the host (a hook, newuidmap) to its end: input given, output kept for the error message, time bounded.

posix_spawn(3) is what starts it: safe in a process with threads, no copy of the interpreter's memory, and unlike
subprocess's helper it clears the signal mask, which the foreground `run` has filled for its signalfd.
"""

from __future__ import annotations

import errno
import os
import select

from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Mapping, Sequence
else:
    import _signal

QUOTED = 3072  # bytes of each stream in an error: conmon reads 8 KiB of our stderr
CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000  # linux/sched.h
LONGEST_POLL = 0x7FFFFFFF


class TimedOut(Error):
    """The program ran past its timeout and was killed."""


def run(
    path: str,
    args: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: bytes = b"",
    cwd: str | None = None,
    timeout: float | None = None,
) -> None:
    """Run `path` (no PATH search) with `args` as its whole argv; raise unless it exits with 0 in time."""
    stdio: list[int] = []
    try:
        # Memory files, not pipes: nothing to pump, and a daemon that the program leaves behind cannot make us wait.
        stdio.extend(os.memfd_create(name) for name in ("stdin", "stdout", "stderr"))
        os.pwrite(stdio[0], stdin, 0)
        ended = _wait(_start(path, args, env, stdio, cwd), timeout)
        if ended.si_code != os.CLD_EXITED or ended.si_status:
            raise Error(f"{_status(ended)}, stdout: {tail(stdio[1])}, stderr: {tail(stdio[2])}")
    finally:
        for fd in stdio:
            os.close(fd)


def _start(path: str, args: Sequence[str], env: Mapping[str, str], stdio: list[int], cwd: str | None) -> int:
    def spawn() -> int:
        try:
            return _spawn(path, args, env, stdio)
        except OSError as err:
            raise SyscallError("fork/exec", err.errno or 0, path) from None
        except ValueError as err:  # a NUL, a lone surrogate
            raise Error(f"fork/exec {path!r}: {err}") from None

    return spawn() if cwd is None or _is_current(cwd) else _in_directory(cwd, spawn)


def _spawn(path: str, args: Sequence[str], env: Mapping[str, str], stdio: list[int]) -> int:
    actions: list[tuple[int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(stdio)
    ]
    actions.extend((os.POSIX_SPAWN_CLOSE, fd) for fd in leaked())
    return os.posix_spawn(
        path, list(args), env, file_actions=actions, setsigmask=(), setsigdef=_signal.valid_signals()
    )


def leaked() -> list[int]:
    """Descriptors above stdio that we inherited and that would be passed on (ours are all close-on-exec)."""
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and _inheritable(fd)]


def _inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # closed meanwhile, as the listing's own descriptor is
        return False


def _is_current(cwd: str) -> bool:
    try:
        return os.path.samefile(cwd, ".")
    except OSError:  # then chdir gives the reason
        return False


def _in_directory(cwd: str, spawn: Callable[[], int]) -> int:
    """Call `spawn` in another working directory, which posix_spawn cannot set."""
    return _aside(lambda: _chdir(cwd), spawn)


def in_mount_namespace(namespace: int, spawn: Callable[[], int]) -> int:
    """Call `spawn` in the mount namespace behind this descriptor: what it starts is in there."""
    return _aside(lambda: _join(namespace, CLONE_NEWNS), spawn)


def in_network_namespace(namespace: int, action: Callable[[], int]) -> int:
    """Call `action` in the network namespace behind this descriptor: what it starts is in there."""
    return _aside(lambda: _join(namespace, CLONE_NEWNET), action)


def _aside(move: Callable[[], None], spawn: Callable[[], int]) -> int:
    """Call `move`, then `spawn`, without changing where the calling program is.

    The working directory and the root belong to all threads: so a thread with a fs_struct of its own (unshare(2), CLONE_FS
    needs no privilege) does it, and ends.
    """
    import _thread

    answers: list[int | BaseException] = []
    done = _thread.allocate_lock()
    done.acquire()

    def in_thread() -> None:
        try:
            _unshare_fs()
            move()
            answers.append(spawn())
        except BaseException as err:  # noqa: BLE001  # raised again in the calling thread
            answers.append(err)
        finally:
            done.release()

    _thread.start_new_thread(in_thread, ())
    done.acquire()
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


def _join(namespace: int, kind: int) -> None:
    """setns(2) is in os since 3.12."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(namespace, kind):
        raise SyscallError("setns", ctypes.get_errno(), "namespace")


def _chdir(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as err:
        raise SyscallError("chdir", err.errno or 0, cwd) from None


def _unshare_fs() -> None:
    unshare = getattr(os, "unshare", None)  # since 3.12
    if unshare is not None:
        unshare(CLONE_FS)
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_FS):
        raise SyscallError("unshare", ctypes.get_errno())


def _wait(pid: int, timeout: float | None) -> os.waitid_result:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:  # reaped by others already
        raise SyscallError("wait", errno.ECHILD) from None
    ended = False
    try:
        ended = _poll(pidfd, timeout)
    finally:
        if not ended:
            _kill(pidfd)
        result = _reap(pidfd)
    if not ended:
        raise TimedOut(f"ran past specified timeout of {timeout:.1f}s")
    return result


def _poll(pidfd: int, timeout: float | None) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(None if timeout is None else min(timeout * 1000, LONGEST_POLL)))


def _kill(pidfd: int) -> None:
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:
        pass


def _reap(pidfd: int) -> os.waitid_result:
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ChildProcessError:  # the calling program ignores SIGCHLD, or reaps everything
        raise SyscallError("wait", errno.ECHILD) from None
    finally:
        os.close(pidfd)
    assert result is not None  # only with WNOHANG
    return result


def _status(ended: os.waitid_result) -> str:
    """As Go's os.ProcessState words it."""
    if ended.si_code == os.CLD_EXITED:
        return f"exit status {ended.si_status}"
    core = " (core dumped)" if ended.si_code == os.CLD_DUMPED else ""
    return f"signal: {signal_text(ended.si_status)}{core}"


def signal_text(number: int) -> str:
    """The kernel's words for a signal, lower case but for abbreviations ("killed", "CPU time limit exceeded")."""
    text = _signal.strsignal(number)
    if text is None or number >= _signal.SIGRTMIN:
        return f"signal {number}"
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def tail(fd: int) -> str:
    """The last of what was written to a memory file, for an error message."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, QUOTED, max(size - QUOTED, 0))
    return ("..." if size > QUOTED else "") + data.decode(errors="replace")
