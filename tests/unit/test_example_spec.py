"""The example that `spec` writes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from libcontainer import spec
from libcontainer.example_spec import example


def kinds(document: Any) -> list[str]:
    return [entry["type"] for entry in document["linux"]["namespaces"]]


@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_valid_and_in_the_specification_s_words(rootless: bool, tmp_path: Any) -> None:
    document = example(rootless)
    (tmp_path / "rootfs").mkdir()
    assert spec.normalize(document) == document
    spec.validate(
        document, rootless_euid=rootless, rootless_cgroups=rootless, bundle=os.path.realpath(tmp_path)
    )


@pytest.mark.parametrize(("v2", "more"), [(True, ["cgroup"]), (False, [])])
def test_cgroup_namespace_only_where_cgroup_v2_is(v2: bool, more: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("libcontainer.example_spec.os.path.exists", lambda path: v2)
    assert kinds(example(False)) == ["pid", "network", "ipc", "uts", "mount", *more]
    assert kinds(example(True)) == ["pid", "ipc", "uts", "mount", *more, "user"]


def test_for_root() -> None:
    document = example(False)
    assert document["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert set(document["process"]["capabilities"]) == {"bounding", "effective", "permitted"}
    assert document["mounts"][0] == {"destination": "/proc", "type": "proc", "source": "proc"}
    assert "gid=5" in document["mounts"][2]["options"]


def test_rootless() -> None:
    document = example(True)
    linux, mounts = document["linux"], document["mounts"]
    assert "resources" not in linux
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert [mount for mount in mounts if mount["destination"] == "/sys"] == [
        {
            "destination": "/sys",
            "type": "none",
            "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        }
    ]
    assert not [
        word for mount in mounts for word in mount.get("options", []) if word.startswith(("uid=", "gid="))
    ]
