"""Hooks that init runs inside: createContainer (before the pivot) and startContainer (last, as the container's user)."""

from __future__ import annotations

import os

from libcontainer import sysnr
from libcontainer.errors import Error, HookError, strerror
from libcontainer.jsonfast import dumps
from libcontainer.process_setup import DEFAULT_UMASK
from libcontainer.program import signal_text, tail
from libcontainer.remote import HOOK_STATUS, OP_HOOK, OP_LABEL, Batch, Channel, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from libcontainer.plan import Plan

ETIMEDOUT = 110


def inner_pid(pid: int) -> int:
    """The pid as the innermost namespace sees it (NSpid of proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", "rb") as lines:
        for line in lines:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return pid


def run(channel: Channel, plan: Plan, hooks: Sequence[dict[str, Any]], document: Mapping[str, Any]) -> None:
    """createContainer hooks: one after the other, cwd in the rootfs, an empty environment unless they have their own."""
    for index, hook in enumerate(hooks):
        stdin = memory_file(dumps(dict(document)).encode())
        out, err = memory_file(b""), memory_file(b"")
        try:
            batch = Batch()
            batch.call("umask", sysnr.UMASK, DEFAULT_UMASK)  # init's own is 0 while it makes nodes
            batch.call("fchdir", sysnr.FCHDIR, plan.slots.root, path=plan.rootfs)
            _hook(batch, hook, hook.get("env") or [], batch.local(stdin), batch.local(out), batch.local(err))
            channel.run(batch)
        except StepError as error:
            raise HookError(f"error running createContainer hook #{index}") from _cause(hook, error, out, err)
        finally:
            for fd in (stdin, out, err):
                os.close(fd)


def append(
    batch: Batch, hooks: Sequence[dict[str, Any]], document: Mapping[str, Any], process: dict[str, Any]
) -> None:
    """startContainer hooks, in the last batch: nobody listens any more, so a failure is told on the container's stderr,
    and with it what the hook printed, which nobody sees otherwise."""
    state = dumps(dict(document)).encode()
    for index, hook in enumerate(hooks):
        batch.op(OP_LABEL, 0, (f"error running startContainer hook #{index}",), "label")
        files = [batch.call("memfd_create", sysnr.MEMFD_CREATE, name, 1) for name in ("state", "stdout", "stderr")]
        batch.call("write", sysnr.WRITE, files[0], state, len(state))
        batch.call("lseek", sysnr.LSEEK, files[0], 0, 0)
        _hook(batch, hook, hook.get("env") or process["env"], *files)
        for file in files:
            batch.close(file)


def _hook(batch: Batch, hook: dict[str, Any], env: Sequence[str], stdin: Any, out: Any, err: Any) -> None:
    argv = batch.vector(hook.get("args") or [hook["path"]])
    milliseconds = int((hook.get("timeout") or 0) * 1000)
    arguments = (hook["path"], argv, batch.vector(env), stdin, out, err)
    batch.op(OP_HOOK, milliseconds, arguments, "hook", hook["path"])


def memory_file(content: bytes) -> int:
    """A memfd with `content`, to be read from the start."""
    fd = os.memfd_create("pyrunc", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _cause(hook: dict[str, Any], error: StepError, out: int, err: int) -> Exception:
    """Worded as the hooks on the host are: the cause, then what the hook printed."""
    number = error.errno or 0
    if error.call != "hook":
        return error
    if number == ETIMEDOUT:
        return Error(f"hook ran past specified timeout of {float(hook.get('timeout') or 0):.1f}s")
    if number < HOOK_STATUS:
        return Error(f"fork/exec {hook['path']}: {strerror(number)}")
    return Error(f"{_status(number - HOOK_STATUS)}, stdout: {tail(out)}, stderr: {tail(err)}")


def _status(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal: {signal_text(os.WTERMSIG(status))}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
