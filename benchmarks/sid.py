"""Debian sid's programs beside the machine's own packages: fetched by an apt of their own, unpacked, with their own loader."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def crun(directory: Path) -> list[str]:
    """The command line that runs it; fetched the first time."""
    return command(directory, "crun", "usr/bin/crun")


def command(directory: Path, package: str, program: str, *also: str) -> list[str]:
    """The command line of a package's program, in a tree below `directory` that is fetched the first time.

    `also` are packages that shall be in the tree with it.
    """
    tree = directory / "tree"
    if not (tree / program).exists():
        fetch(directory, tree, package, *also)
    machine = platform.machine()
    loader = next(tree.glob("usr/lib*/ld-linux*.so.*"), None) or next(tree.glob("usr/lib/*/ld-linux*.so.*"))
    libraries = f"{tree}/usr/lib/{machine}-linux-gnu"
    return [str(loader), "--library-path", libraries, "--argv0", Path(program).name, f"{tree}/{program}"]


def fetch(directory: Path, tree: Path, *packages: str) -> None:
    """The mirror is the one that this machine's apt uses."""
    site = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    for name in ("lists/partial", "cache/archives/partial", "sources.d"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(f"deb {site} sid main\n")
    settings = {
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": directory / "sources.d",
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "install", "-y", "--download-only", *packages], check=True)
    for archive in (directory / "cache/archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, tree], check=True)
