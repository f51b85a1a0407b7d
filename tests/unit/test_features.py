"""The features document: its keys are read by engines, so they are all named here."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from libcontainer import features, mount_options, seccomp_compiler


@pytest.fixture
def document() -> dict[str, Any]:
    return features.document("1.2.3", "abc")


def linux(document: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = document["linux"]
    return section


def test_top_level(document: dict[str, Any]) -> None:
    assert list(document) == [
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    ]
    assert (document["ociVersionMin"], document["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert document["mountOptions"] == mount_options.known_options()
    assert document["potentiallyUnsafeConfigAnnotations"] == [
        "bundle",
        "org.systemd.property.",
        "org.criu.config",
    ]


def test_hooks_in_the_order_they_run(document: dict[str, Any]) -> None:
    order = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert document["hooks"] == order


def test_linux_section(document: dict[str, Any]) -> None:
    section = linux(document)
    assert section["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert len(section["capabilities"]) == 41
    assert section["cgroup"] == dict.fromkeys(("v1", "v2", "systemd", "systemdUser", "rdma"), True)
    assert section["apparmor"] == section["selinux"] == section["netDevices"] == {"enabled": True}
    assert section["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert section["mountExtensions"] == {"idmap": {"enabled": True}}
    assert set(section["memoryPolicy"]) == {"modes", "flags"}


def test_seccomp_section(document: dict[str, Any]) -> None:
    section = linux(document)["seccomp"]
    assert list(section) == ["enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"]
    assert section["enabled"] is True
    sizes = {"actions": 9, "operators": 7, "knownFlags": 4}
    assert {key: len(set(section[key])) for key in sizes} == sizes
    assert set(section["archs"]) == set(seccomp_compiler.known_architectures())
    assert all(section[key] == sorted(section[key]) for key in (*sizes, "archs"))


def test_supported_flags_are_the_kernels_answer(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    from nsexec import _seccomp

    class OldKernel:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def nsexec_seccomp_flags_known(self, flags: int) -> int:
            return int(flags & ~(2 | 4) == 0)

    real = _seccomp.lib
    # Linux 5.12 is the floor, and has these.
    assert {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"} <= set(
        linux(document)["seccomp"]["supportedFlags"]
    )
    monkeypatch.setattr(_seccomp, "lib", OldKernel())
    supported = linux(features.document("1"))["seccomp"]["supportedFlags"]
    assert supported == [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
    ]


def test_annotations(document: dict[str, Any]) -> None:
    assert document["annotations"] == {
        "org.opencontainers.runc.version": "1.2.3",
        "org.opencontainers.runc.commit": "abc",
        "org.opencontainers.runc.checkpoint.enabled": "true",
        "io.github.seccomp.libseccomp.version": features.libseccomp_version(),
    }


def test_version_of_libseccomp() -> None:
    version = features.libseccomp_version()
    assert version is not None
    assert [part.isdigit() for part in version.split(".")] == [True] * 3


def test_a_host_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nsexec._seccomp", None)
    assert features.libseccomp_version() is None
    document = features.document("1")
    assert linux(document)["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in document["annotations"]
