"""Debian sid's crun beside the machine's own packages: fetched with an apt of its own, unpacked, run by its own loader."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


def crun(directory: Path) -> list[str]:
    """The command line that runs it; fetched the first time."""
    tree = directory / "tree"
    if not (tree / "usr/bin/crun").exists():
        fetch(directory, tree)
    machine = platform.machine()
    loader = next(tree.glob("usr/lib*/ld-linux*.so.*"), None) or next(tree.glob("usr/lib/*/ld-linux*.so.*"))
    libraries = f"{tree}/usr/lib/{machine}-linux-gnu"
    return [str(loader), "--library-path", libraries, "--argv0", "crun", f"{tree}/usr/bin/crun"]


def fetch(directory: Path, tree: Path) -> None:
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
    subprocess.run([*apt, "install", "-y", "--download-only", "crun"], check=True)
    for package in (directory / "cache/archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
