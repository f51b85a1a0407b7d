"""What Container.create takes for granted when it is not told."""

from __future__ import annotations

import os
from typing import Any

import pytest

from libcontainer import container_create


def options(**given: Any) -> container_create.Options:
    nothing = dict.fromkeys(("console_socket", "console", "pidfd_socket", "notify_socket", "rootless_euid", "rootless_cgroups"))
    flags = dict.fromkeys(("no_pivot", "no_new_keyring", "systemd_cgroup"), False)
    return container_create.Options(**{"stdio": (), "listen_fds": 0, "log": print, **nothing, **flags, **given})


@pytest.mark.parametrize(
    ("euid", "inside", "given", "expected"),
    [
        (0, False, {}, (False, False)),
        (0, True, {}, (False, True)),
        (1000, False, {}, (True, True)),
        (1000, True, {}, (True, True)),
        (0, True, {"rootless_cgroups": False}, (False, False)),
        (0, False, {"rootless_cgroups": True}, (False, True)),
        (1000, False, {"rootless_cgroups": False}, (True, False)),
        (0, False, {"rootless_euid": True}, (True, True)),
    ],
)
def test_rootless(
    monkeypatch: pytest.MonkeyPatch, euid: int, inside: bool, given: dict[str, bool], expected: tuple[bool, bool]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(container_create, "in_user_namespace", lambda: inside)
    made = options(**given)
    assert (made.rootless_euid, made.rootless_cgroups) == expected
