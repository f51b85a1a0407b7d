"""The README's example of the library runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root.laboratory import Laboratory

TOP = Path(__file__).parents[2]


def example() -> str:
    text = (TOP / "README.md").read_text()
    found = re.search(r"```python\n(from libcontainer import Container.*?)```", text, re.DOTALL)
    assert found, "the README has no example"
    return found[1]


@pytest.mark.root
def test_the_example(tmp_path: Path, busybox_rootfs: Path) -> None:
    laboratory = Laboratory(tmp_path, busybox_rootfs)
    spec = laboratory.spec("trap 'exit 7' TERM; : >/ready; while :; do sleep 0.1; done")
    # The example does not wait for its program: its echo does.
    echo = laboratory.rootfs / "bin/echo"
    echo.unlink()
    echo.write_text('#!/bin/sh\nuntil [ -e /ready ]; do sleep 0.1; done\nexec /bin/busybox echo "$@"\n')
    echo.chmod(0o755)
    (laboratory.bundle / "config.json").write_text(json.dumps(spec))
    code = example().replace("/run/example", str(tmp_path / "state"))
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout == "hello\n7\n"
    assert not (tmp_path / "state" / "c1").exists()
