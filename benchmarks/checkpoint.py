"""checkpoint.py: pre-dump, checkpoint and restore with pyrunc, runc and crun, side by side, on containers of the same bundle.

Times are milliseconds of the whole command from spawn to exit (measure.c), medians of the rounds; in each round the runtimes
take turns. "CRIU" is the part of it from CRIU's first to its last log line; its start before that is the first row. "frozen"
is what CRIU says the processes stood still. What a runtime adds is the rest. Pre-dump needs a kernel with soft-dirty; what
fails is named below the table.

    checkpoint.py --downtime    instead, how long a program stands still while its container moves: downtime.py
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
sys.path[:0] = [str(HERE), str(TOP)]

import downtime  # noqa: E402
from bench import BUILD, Row, Runtime, Table, hugetlb_for_crun, make_rootfs, write_spec  # noqa: E402

from libcontainer.criu import features, stats  # noqa: E402

PYTHON = "/usr/bin/python3"
ROWS = ("total", "CRIU", "frozen")
HOLD = "import os, time; held = os.urandom(1 << 20) * {}; open('/ready', 'w'); time.sleep(1000)"
# Not sleep, nor the shell's wait: CRIU stops processes, which ends their nanosleep(2) and sigsuspend(2).
FORK = "for i in $(seq {}); do tail -f /dev/null & done; : >/ready; exec tail -f /dev/null"


class Case:
    """A kind of container: its name, and what it runs."""

    def __init__(self, name: str, args: list[str]) -> None:
        self.name = name
        self.args = args


def cases(mebibytes: int, processes: int) -> list[Case]:
    return [
        Case("one shell", ["/bin/sh", "-c", FORK.format(1)]),
        Case(f"{mebibytes} MiB of memory", [PYTHON, "-c", HOLD.format(mebibytes)]),
        Case(f"{processes} processes", ["/bin/sh", "-c", FORK.format(processes)]),
    ]


def make_bundle(directory: Path, pyrunc: str, case: Case) -> Path:
    """What `pyrunc spec` writes, with this machine's /usr for Python: crun cannot dump what is mounted below that."""
    bundle = directory / case.name.replace(" ", "-")
    make_rootfs(bundle / "rootfs")
    for name in ("seq", "tail"):
        (bundle / "rootfs/bin" / name).symlink_to("busybox")
    subprocess.run([pyrunc, "spec", "--bundle", bundle], check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["ociVersion"] = "1.0.2"
    spec["root"]["readonly"] = False
    spec["process"].update(terminal=False, args=case.args)
    for name in ("usr", "lib", "lib64") if case.args[0] == PYTHON else ():
        (bundle / "rootfs" / name).mkdir()
        source = os.path.realpath(f"/{name}")  # runc hands the path to CRIU as it is, which mounts no symlink
        options = ["bind", "ro", "rprivate"]  # runc knows nothing of mounts below, nor of propagation
        spec["mounts"].append({"destination": f"/{name}", "type": "bind", "source": source, "options": options})
    write_spec(bundle, spec)
    return bundle


class Trial:
    """One container of a runtime, taken through everything; `times` is what each step took."""

    def __init__(self, runtime: Runtime, bundle: Path, work: Path) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.work = work
        self.container = runtime.new_id()
        self.times: dict[str, Row] = {}

    def run(self, *, pre_dump: bool) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        try:
            self._start()
            if pre_dump:
                self._dump("pre-dump", "pre", "--pre-dump")
                self._dump("checkpoint after it", "images", "--parent-path", "../pre")
            else:
                self._dump("checkpoint", "images")
            self._restore()
        finally:
            self.runtime.remove(self.container)

    def _start(self) -> None:
        ready = self.bundle / "rootfs/ready"
        ready.unlink(missing_ok=True)
        self.runtime.measure("run", "--detach", "--bundle", str(self.bundle), self.container)
        for _ in range(600):
            if ready.exists():
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.runtime.name}: the container does not begin")

    def _dump(self, name: str, images: str, *flags: str) -> None:
        self._measure(name, "dump", images, "checkpoint", *flags)

    def _restore(self) -> None:
        self._measure("restore", "restore", "images", "restore", "--detach", "--bundle", str(self.bundle))

    def _measure(self, name: str, kind: str, images: str, *arguments: str) -> None:
        log = self.work / f"{images}-{kind}"
        log.mkdir()
        paths = ["--image-path", str(self.work / images), "--work-path", str(log)]
        said = log / "runtime.log"
        command = [*self.runtime.argv, "--log", str(said), *arguments, *paths, self.container]
        measured = subprocess.run([BUILD / "measure", *command], capture_output=True, text=True, check=True).stdout.split()
        if measured[2] != "0":
            raise RuntimeError(f"{name}: {_complaint(log / f'{kind}.log', said)}")
        total = int(measured[0]) / 1e6
        self.times[name] = {"total": total, **_criu(log, kind)}


def _complaint(log: Path, said: Path) -> str:
    """CRIU's first error, or the runtime's last words; the command cannot be asked again: it may have half done it."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in lines if "Error (" in line and "rlimit" not in line]
    words = said.read_text(errors="replace").splitlines() if said.exists() else []
    return (errors or words[-1:] or ["failed without a word"])[0]


def _criu(work: Path, kind: str) -> Row:
    """Milliseconds from CRIU's own records."""
    found: Row = {}
    stamps = re.findall(r"^\((\d+\.\d+)\)", (work / f"{kind}.log").read_text(errors="replace"), re.MULTILINE)
    if stamps:
        found["CRIU"] = float(stamps[-1]) * 1000
    fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        measured = stats.read(kind, fd) or {}
    finally:
        os.close(fd)
    if "frozen_time" in measured:
        found["frozen"] = measured["frozen_time"] / 1000
    return found


def soft_dirty() -> bool:
    """Whether the kernel tracks what is written: bit 55 of the pages of a heap (admin-guide/mm/soft-dirty)."""
    page = os.sysconf("SC_PAGESIZE")
    heap = next((line for line in Path("/proc/self/maps").read_text().splitlines() if "[heap]" in line), "0-0")
    low, high = (int(word, 16) // page for word in heap.split()[0].split("-"))
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(low * 8)
        data = file.read((high - low) * 8)
    return any(data[at + 6] & 0x80 for at in range(0, len(data), 8))


def bench(runtimes: list[Runtime], all_cases: list[Case], work: Path, rounds: int, say: Callable[[str], None]) -> Table:
    """The table; what failed is said."""
    table: Table = {"start": start_of_criu(runtimes, rounds)}
    broken: set[str] = set()
    for case in all_cases:
        bundle = make_bundle(work, runtimes[0].argv[0], case)
        times: dict[tuple[str, str], dict[str, list[float]]] = {}
        for number in range(rounds + 1):
            for pre_dump in (False, True) if soft_dirty() else (False,):
                for runtime in runtimes:
                    if f"{runtime.name} {pre_dump}" in broken:
                        continue
                    trial = Trial(runtime, bundle, work / "trial")
                    try:
                        trial.run(pre_dump=pre_dump)
                    except (RuntimeError, OSError) as error:
                        broken.add(f"{runtime.name} {pre_dump}")
                        say(f"{runtime.name}: {case.name}: {error}")
                        continue
                    if number:  # the first round only warms caches
                        _note(times, runtime.name, trial.times)
        for (step, row), columns in times.items():
            name = f"{case.name}: {step}" if row == "total" else f"    {row}"
            table[f"{case.name}/{step}/{row}"] = {name: 0.0, **{k: statistics.median(v) for k, v in columns.items()}}
    return table


def bench_downtime(
    runtimes: list[Runtime], mebibytes: int, pages: int, work: Path, rounds: int, say: Callable[[str], None]
) -> Table:
    """Of those that know lazy pages (crun does not), the ways that this machine can."""
    program = downtime.PROGRAM.format(mebibytes=mebibytes, pages=pages)
    case = Case(f"{mebibytes} MiB", [PYTHON, "-IS", "-c", program])
    bundle = make_bundle(work, runtimes[0].argv[0], case)
    ways = list(downtime.WAYS)
    if not soft_dirty():
        say("no soft-dirty: without pre-dump")
        ways = [way for way in ways if "pre-dump" not in way]
    if not features.has_large_pipes():  # of pyrunc it is an error, runc hangs
        say("no CAP_SYS_RESOURCE, and sysctl fs.pipe-max-size below 4 MiB: without lazy pages")
        ways = [way for way in ways if "lazy" not in way]
    able = [runtime for runtime in runtimes if runtime.name != "crun"]
    return downtime.bench(able, bundle, case.name, ways, work, rounds, say)


def start_of_criu(runtimes: list[Runtime], rounds: int) -> Row:
    """The same for all."""
    command = [str(BUILD / "measure"), shutil.which("criu") or "criu", "--version"]
    taken = [int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0]) / 1e6 for _ in range(rounds + 1)]
    return {"start of CRIU": 0.0, **{runtime.name: statistics.median(taken) for runtime in runtimes}}


def _note(times: Any, runtime: str, found: dict[str, Row]) -> None:
    for step, rows in found.items():
        for row in ROWS:
            if row in rows:
                times.setdefault((step, row), {}).setdefault(runtime, []).append(rows[row])


def show(table: Table, names: list[str]) -> str:
    lines = [f"{'milliseconds':<36}" + "".join(f"{name:>12}" for name in names)]
    for row in table.values():
        label = next(iter(row))
        lines.append(f"{label:<36}" + "".join(f"{row[name]:>12.1f}" if name in row else f"{'-':>12}" for name in names))
    return "\n".join(lines)


def find_runtimes(work: Path, pyrunc: str, wanted: list[str]) -> list[Runtime]:
    """pyrunc first: it writes the bundles too."""
    found = [Runtime("pyrunc", [pyrunc], work)]
    for name in ("runc", "crun"):
        path = shutil.which(name)
        if path and name in wanted:
            found.append(Runtime(name, [path], work))
    return found


def alone() -> None:
    """Go on in a mount namespace of our own: where mounts are shared, runc's restore takes the host's below a source away."""
    if os.readlink("/proc/self/ns/mnt") == os.environ.get("BENCH_HOST", os.readlink("/proc/self/ns/mnt")):
        os.environ["BENCH_HOST"] = os.readlink("/proc/self/ns/mnt")
        command = ["unshare", "--mount", "--propagation=private", sys.executable, *sys.argv]
        os.execvp(command[0], command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=128, metavar="MIB")
    parser.add_argument("--processes", type=int, default=30)
    parser.add_argument("--downtime", action="store_true", help="how long a program stands still when it is moved")
    parser.add_argument("--pages", type=int, default=4, help="that it writes to in a millisecond (--downtime)")
    parser.add_argument("--pyrunc", default=str(TOP / "build/pyrunc"))
    parser.add_argument("--runtimes", nargs="*", default=["runc", "crun"])
    parser.add_argument("--format", choices=("text", "json"), default="text")
    given = parser.parse_args()
    alone()
    criu = TOP / "build/criu/bin/criu"
    if criu.exists():
        os.environ["PATH"] = f"{criu.parent}:{os.environ['PATH']}"
    if not shutil.which("criu"):
        raise SystemExit("checkpoint.py: no CRIU; tools/criu fetches one")
    if not (BUILD / "measure").exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-static", "-o", BUILD / "measure", HERE / "measure.c"], check=True)
    work = Path(tempfile.mkdtemp(prefix="pyrunc-bench-"))
    problems: list[str] = []
    try:
        runtimes = find_runtimes(work, given.pyrunc, given.runtimes)
        with hugetlb_for_crun():
            if given.downtime:
                table = bench_downtime(runtimes, given.memory, given.pages, work, given.rounds, problems.append)
            else:
                table = bench(runtimes, cases(given.memory, given.processes), work, given.rounds, problems.append)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if given.format == "json":
        print(json.dumps({"milliseconds": table, "problems": problems}))
        return
    print(show(table, [runtime.name for runtime in runtimes]))
    print("\n".join(problems))


if __name__ == "__main__":
    main()
