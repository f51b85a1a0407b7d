"""The C part for arm64: compiled as the build does it, its numbers held against the kernel's headers, and what user-mode
emulation can run of it run."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64-static"
# What the emulator does not know: clone3, openat2, CLONE_PIDFD; and it has handlers of its own. The embedded program is ours.
NOT_EMULATED = "clone or hook or vectors or a_loop or row_that or dots or signals_are or embedded or valgrind or arguments_of"

needs_compiler = pytest.mark.skipif(not shutil.which(COMPILER), reason=f"needs {COMPILER}")


def columns() -> dict[str, tuple[int, int]]:
    """libcontainer/sysnr.py as it is written: x86-64, arm64."""
    text = (TOP / "libcontainer/sysnr.py").read_text()
    found = {}
    for name, numbers in re.findall(r"^([A-Z][A-Z0-9_]+) = (\(\d+, \d+\)|\d+)", text, re.MULTILINE):
        values = [int(number) for number in re.findall(r"\d+", numbers)]
        found[name] = (values[0], values[-1])
    assert len(found) > 40
    return found


@pytest.mark.parametrize(("compiler", "column"), [("gcc", 0), (COMPILER, 1)])
def test_system_call_numbers(compiler: str, column: int) -> None:
    """As asm/unistd.h has them."""
    if not shutil.which(compiler) or (compiler == "gcc" and os.uname().machine != "x86_64"):
        pytest.skip(f"needs {compiler} for this architecture")
    ours = columns()
    source = "#include <asm/unistd.h>\n" + "".join(f"{name}: __NR_{name.lower()}\n" for name in ours)
    command = [compiler, "-E", "-P", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    theirs = {name: int(number) for name, number in re.findall(r"([A-Z0-9_]+): (\d+)", text)}
    assert theirs == {name: numbers[column] for name, numbers in ours.items()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nsexec/src with the init for arm64, by the project's own build script, which refuses relocations and warnings."""
    copy = tmp_path_factory.mktemp("arm64") / "nsexec"
    shutil.copytree(TOP / "nsexec", copy, ignore=shutil.ignore_patterns("*.so", "_*.c", "init", "init_blob.h"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", COMPILER)
        script = runpy.run_path(str(copy / "build.py"))
    command = [COMPILER, *script["WARNINGS"], "-O2", "-c", "-o", str(copy / "host.o"), str(copy / "src/host.c")]
    subprocess.run(command, check=True)
    return copy / "src"


@needs_compiler
def test_it_compiles(built: Path) -> None:
    """init.c and host.c, with the init embedded, without a warning."""
    assert (built / "init").read_bytes()[18:20] == b"\xb7\0", "EM_AARCH64"
    assert (built.parent / "host.o").exists()


@needs_compiler
@pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"needs {EMULATOR}")
def test_it_serves_batches(built: Path) -> None:
    """Most of test_nsexec_init.py: calls, results, failures, descriptors, execve, malformed requests."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.arm64"]
    done = subprocess.run(
        [*command, "-k", f"not ({NOT_EMULATED})", "tests/unit/test_nsexec_init.py"],
        cwd=TOP, env={**os.environ, "PYRUNC_ARM64_INIT": str(built / "init")}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 60
