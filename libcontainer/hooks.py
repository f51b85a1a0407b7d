"""Hooks that run on the host: prestart, createRuntime, poststart, poststop.

(createContainer and startContainer are run by init, inside.) Each gets the container's state as JSON on its stdin; the
first that fails ends the list.
"""

from __future__ import annotations

import os

from libcontainer import program
from libcontainer.errors import Error, HookError
from libcontainer.jsonfast import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def state_document(
    id: str,
    status: str,
    pid: int | None,
    bundle: str,
    annotations: Mapping[str, str] | None,
    oci_version: str,
) -> dict[str, Any]:
    """The state of the runtime specification; without a pid for a container that has stopped."""
    document: dict[str, Any] = {"ociVersion": oci_version, "id": id, "status": status}
    if pid is not None:
        document["pid"] = pid
    document["bundle"] = bundle
    if annotations:
        document["annotations"] = dict(annotations)
    return document


def run(
    kind: str,
    hooks: Sequence[Mapping[str, Any]],
    state: Mapping[str, Any],
    *,
    inherit_env: bool,
    cwd: str | None = None,
) -> None:
    """Run the `hooks` (as in config.json) of one kind in order.

    `inherit_env`: a hook without an `env` of its own gets ours, else an empty one.
    """
    if not hooks:
        return
    document = dumps(dict(state)).encode()
    for index, hook in enumerate(hooks):
        try:
            _run_one(hook, document, inherit_env, cwd)
        except (Error, OSError) as err:
            raise HookError(f"error running {kind} hook #{index}") from err


def _run_one(hook: Mapping[str, Any], document: bytes, inherit_env: bool, cwd: str | None) -> None:
    path = hook["path"]
    args = hook.get("args") or [path]
    env = _environment(hook.get("env"), inherit_env)
    try:
        program.run(path, args, env, stdin=document, cwd=cwd, timeout=hook.get("timeout"))
    except program.TimedOut as err:
        raise Error(f"hook {err}") from None


def _environment(env: Sequence[str] | None, inherit_env: bool) -> Mapping[str, str]:
    if env is None:
        return os.environ if inherit_env else {}
    pairs = [entry.partition("=") for entry in env]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise Error(
                "invalid environment variable: " + ("name cannot be empty" if equals else "missing '='")
            )
    return {name: value for name, _, value in pairs}
