"""What the documents name is there: files of the packages, tests, targets of links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
DOCUMENTS = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("integration/**/README.md")])
ROOMS = ("", "libcontainer", "libcontainer/cgroups", "libcontainer/criu", "nsexec", "nsexec/src", "launcher", "tests")


def quoted(document: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", document.read_text())


def spelled_out(name: str) -> list[str]:
    """a{b,c}.py: ab.py, ac.py."""
    found = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
    return [found[1] + middle + found[3] for middle in found[2].split(",")] if found else [name]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_files_exist(document: Path) -> None:
    names = [name for text in quoted(document) if re.fullmatch(r"[\w/{},.*]+\.(py|c|h)", text) for name in spelled_out(text)]
    tests = {path.name for path in TOP.glob("tests/**/*.py")}
    missing = [name for name in names if name not in tests and not any([*(TOP / room).glob(name)] for room in ROOMS)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_tests_exist(document: Path) -> None:
    wanted = {name for name in quoted(document) if re.fullmatch(r"test_\w+", name)}
    text = "\n".join(path.read_text() for path in TOP.glob("tests/**/test_*.py"))
    assert wanted <= set(re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert not [t for t in targets if not t.startswith("http") and not (document.parent / t).exists()]


def test_every_module_has_its_place() -> None:
    """docs/architecture.md, "Rooms of libcontainer"."""
    text = (TOP / "docs/architecture.md").read_text()
    named = {name for group in re.findall(r"`([^`\n]+\.py)`", text) for name in spelled_out(group)}
    modules = {path.name for path in (TOP / "libcontainer").glob("*.py")} - {"__init__.py"}
    assert modules <= {Path(name).name for name in named}
