"""Imports point one way: pyrunc -> libcontainer -> libcontainer.syscalls -> nsexec."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGES = ("pyrunc", "libcontainer", "nsexec")
# What each package may import of ours besides itself.
BELOW = {"pyrunc": {"libcontainer"}, "libcontainer": {"nsexec"}, "nsexec": set()}
# The doors to nsexec: everything else in libcontainer goes through them.
DOORS = {
    "libcontainer/syscalls.py",
    "libcontainer/remote.py",
    "libcontainer/seccomp.py",
    "libcontainer/seccomp_compiler.py",
    "libcontainer/features.py",
    "libcontainer/cgroups/systemd_bus.py",
}
BUILD_SCRIPTS = {"nsexec/build.py", "nsexec/seccomp_build.py", "nsexec/sdbus_build.py"}


def modules() -> list[Path]:
    return [p.relative_to(TOP) for package in PACKAGES for p in sorted((TOP / package).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all imports, wherever in the file; relative ones made absolute."""
    for node in ast.walk(ast.parse((TOP / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(path.parts[: len(path.parts) - node.level]) if node.level else ""
            yield ".".join(filter(None, (base, node.module)))


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_imports_only_what_lies_below(path: Path) -> None:
    package = path.parts[0]
    ours = {name.partition(".")[0] for name in imported(path)} & set(PACKAGES)
    assert ours <= BELOW[package] | {package}


@pytest.mark.parametrize("path", [p for p in modules() if str(p) not in DOORS | BUILD_SCRIPTS], ids=str)
def test_only_the_doors_import_nsexec(path: Path) -> None:
    assert not [name for name in imported(path) if name.partition(".")[0] == "nsexec"]


def test_the_doors_exist_and_are_used() -> None:
    unused = [door for door in sorted(DOORS) if not (TOP / door).exists()]
    assert not unused


def test_relative_imports_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walker is what the tests above stand on."""
    (tmp_path / "pyrunc").mkdir()
    (tmp_path / "pyrunc/x.py").write_text("def f():\n    from . import log\n    from .commands import run\n    import os.path")
    monkeypatch.setattr("tests.test_layering.TOP", tmp_path)
    assert list(imported(Path("pyrunc/x.py"))) == ["pyrunc", "pyrunc.commands", "os.path"]
