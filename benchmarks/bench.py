"""`make bench`: pyrunc beside runc, crun and the kernel's floor, all in turn in one run.

Every figure is a whole process from spawn to exit, seen by measure.c. The subjects take turns inside a round, so that
what else the machine does hits all of them; the table shows medians and their ratio to crun, runc and the floor.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
BUILD = TOP / "build" / "bench"
sys.path[:0] = [str(HERE), str(TOP)]

import sid  # noqa: E402
from library import Library  # noqa: E402

VERBS = ("create", "start", "exec", "kill", "delete")
HUGETLB = Path("/sys/fs/cgroup/hugetlb")

Row = dict[str, float]
Table = dict[str, Row]


class Runtime:
    """One runtime command, with a state root of its own."""

    def __init__(self, name: str, argv: list[str], work: Path) -> None:
        self.name = name
        self.root = work / f"root-{name}"
        self.argv = [*argv, "--root", str(self.root)]
        self.numbers = itertools.count(1)

    def new_id(self) -> str:
        return f"bench-{self.name}-{os.getpid()}-{next(self.numbers)}"

    def measure(self, *arguments: str) -> tuple[float, int]:
        """Milliseconds and peak RSS in KiB of one command; RuntimeError if it fails."""
        output = subprocess.run(
            [BUILD / "measure", *self.argv, *arguments], capture_output=True, text=True, check=True
        ).stdout.split()
        if output[2] != "0":
            raise RuntimeError(f"{self.name} {arguments[0]} failed: {self.complain(*arguments)}")
        return int(output[0]) / 1e6, int(output[1])

    def complain(self, *arguments: str) -> str:
        again = subprocess.run([*self.argv, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return (again.stderr.strip() or f"status {again.returncode}").splitlines()[-1]

    def state(self, container: str) -> dict[str, Any]:
        text = subprocess.run([*self.argv, "state", container], capture_output=True, check=True).stdout
        state: dict[str, Any] = json.loads(text)
        return state

    def remove(self, container: str) -> None:
        subprocess.run([*self.argv, "delete", "--force", container], capture_output=True)


# ---- bundles ----


def make_bundles(work: Path, pyrunc: str) -> dict[str, Path]:
    """plain: what `pyrunc spec` writes; seccomp: that behind a profile as engines send it; sleep: plain, lasting."""
    rootfs = work / "rootfs"
    make_rootfs(rootfs)
    bundles = {name: work / name for name in ("plain", "seccomp", "sleep")}
    for name, bundle in bundles.items():
        bundle.mkdir()
        subprocess.run([pyrunc, "spec", "--bundle", bundle], check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["ociVersion"] = "1.0.2"  # crun of Debian 12 knows no later one
        spec["root"]["path"] = str(rootfs)
        spec["process"]["terminal"] = False
        spec["process"]["args"] = ["/bin/sleep", "1000"] if name == "sleep" else ["/bin/true"]
        if name == "seccomp":
            spec["linux"]["seccomp"] = engine_profile()
        write_spec(bundle, spec)
    return bundles


def make_rootfs(rootfs: Path) -> None:
    busybox = shutil.which("busybox")
    if not busybox:
        raise SystemExit("bench: needs busybox-static")
    for name in ("bin", "proc", "sys", "dev", "etc"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin" / "busybox")
    for name in ("true", "sleep", "sh"):
        (rootfs / "bin" / name).symlink_to("busybox")


def engine_profile() -> dict[str, Any]:
    """The size and form of an engine's default profile: a few hundred names allowed, the rest EPERM."""
    names = (HERE / "syscalls.txt").read_text().split()
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}.get(
            platform.machine(), ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
        ),
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }


def write_spec(bundle: Path, spec: dict[str, Any]) -> None:
    (bundle / "config.json").write_text(json.dumps(spec))


# ---- what is measured ----


def in_turn(rounds: int, subjects: dict[str, Callable[[], float]]) -> Row:
    """The median of each subject, all of them once a round; the first round only warms caches."""
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name, subject in subjects.items():
            taken = subject()
            if number:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def bench_run(runtimes: list[Runtime], library: Library, bundles: dict[str, Path], rounds: int) -> Table:
    """run of /bin/true."""
    table: Table = {}
    for kind in ("plain", "seccomp"):
        bundle = bundles[kind]
        subjects: dict[str, Callable[[], float]] = {r.name: partial(run_true, r, bundle) for r in runtimes}
        subjects["library"] = partial(library.run, bundle)
        if kind == "plain":
            subjects["floor"] = partial(floor, bundles["plain"].parent / "rootfs")
        table[f"run true, {kind}"] = in_turn(rounds, subjects)
    return table


def run_true(runtime: Runtime, bundle: Path) -> float:
    return runtime.measure("run", "--bundle", str(bundle), runtime.new_id())[0]


def floor(rootfs: Path) -> float:
    output = subprocess.run([BUILD / "measure", BUILD / "floor", rootfs], capture_output=True, text=True, check=True)
    nanoseconds, _, status = output.stdout.split()
    if status != "0":
        raise RuntimeError("floor failed")
    return int(nanoseconds) / 1e6


def life(runtime: Runtime, bundle: Path) -> tuple[Row, Row]:
    """One container from create to delete: milliseconds and KiB of each command."""
    container = runtime.new_id()
    calls = {
        "create": ("create", "--bundle", str(bundle), container),
        "start": ("start", container),
        "exec": ("exec", container, "/bin/true"),
        "kill": ("kill", container, "KILL"),
        "delete": ("delete", container),
    }
    times: Row = {}
    sizes: Row = {}
    try:
        for verb, arguments in calls.items():
            if verb == "delete":
                await_stopped(runtime, container)
            times[verb], sizes[verb] = runtime.measure(*arguments)
    except RuntimeError:
        runtime.remove(container)
        raise
    return times, sizes


def await_stopped(runtime: Runtime, container: str) -> None:
    for _ in range(500):
        if runtime.state(container)["status"] == "stopped":
            return
        time.sleep(0.002)
    raise RuntimeError(f"{runtime.name}: {container} does not stop")


def bench_life(runtimes: list[Runtime], library: Library, bundles: dict[str, Path], rounds: int) -> Table:
    """create, start, exec, kill, delete, and the peak RSS of each."""
    times: dict[str, dict[str, list[float]]] = {verb: {} for verb in VERBS}
    sizes: dict[str, dict[str, list[float]]] = {verb: {} for verb in VERBS}
    for number in range(rounds + 1):
        for runtime in runtimes:
            note(number, runtime.name, *life(runtime, bundles["sleep"]), times, sizes)
        note(number, "library", library.life(bundles["sleep"]), {}, times, sizes)
    table = {verb: {name: statistics.median(v) for name, v in times[verb].items()} for verb in VERBS}
    for verb in VERBS:
        table[f"{verb}: peak RSS, MiB"] = {name: max(v) / 1024 for name, v in sizes[verb].items()}
    return table


def note(number: int, name: str, times: Row, sizes: Row, all_times: Any, all_sizes: Any) -> None:
    for all_values, values in ((all_times, times), (all_sizes, sizes)):
        for verb, value in values.items():
            if number:
                all_values[verb].setdefault(name, []).append(value)


def bench_init(runtimes: list[Runtime], _: Library, bundles: dict[str, Path], __: int) -> Table:
    """RSS and PSS of a created container's init."""
    table: Table = {"created init: RSS, KiB": {}, "created init: PSS, KiB": {}}
    for runtime in runtimes:
        container = runtime.new_id()
        runtime.measure("create", "--bundle", str(bundles["sleep"]), container)
        try:
            pid = runtime.state(container)["pid"]
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        finally:
            runtime.remove(container)
        for key in ("Rss", "Pss"):
            line = next(line for line in rollup.splitlines() if line.startswith(f"{key}:"))
            table[f"created init: {key.upper()}, KiB"][runtime.name] = float(line.split()[1])
    return table


def bench_limit(runtimes: list[Runtime], _: Library, bundles: dict[str, Path], __: int) -> Table:
    """The smallest memory limit under which a container starts, to 64 KiB."""
    spec = json.loads((bundles["plain"] / "config.json").read_text())
    bundle = bundles["plain"].parent / "limit"
    bundle.mkdir(exist_ok=True)

    def starts(runtime: Runtime, limit: int) -> bool:
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": limit}
        write_spec(bundle, spec)
        container = runtime.new_id()
        command = [*runtime.argv, "run", "--bundle", str(bundle), container]
        good = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
        if not good:
            runtime.remove(container)
        return good

    row = {}
    for runtime in runtimes:
        low, high = 0, 64 << 20
        if not starts(runtime, high):
            continue
        while high - low > 65536:
            middle = (low + high) // 2
            low, high = (low, middle) if starts(runtime, middle) else (middle, high)
        row[runtime.name] = high / 1024
    return {"smallest memory limit, KiB": row}


def bench_hundred(runtimes: list[Runtime], library: Library, bundles: dict[str, Path], _: int) -> Table:
    """A hundred containers, one after another and eight at a time: milliseconds a container."""
    table: Table = {}
    for title, workers in (("100 in sequence, ms each", 1), ("100, 8 at a time, ms each", 8)):
        row = table[title] = {}
        for runtime in runtimes:
            begin = time.perf_counter()
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(partial(run_true, runtime), [bundles["plain"]] * 100))
            row[runtime.name] = (time.perf_counter() - begin) * 10
        begin = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(library.run, [bundles["plain"]] * 100))
        row["library"] = (time.perf_counter() - begin) * 10
    return table


def bench_thousand(runtimes: list[Runtime], _: Library, bundles: dict[str, Path], rounds: int) -> Table:
    """list and state with 1,000 containers: one that runs, and 999 copies of its state."""
    made = []
    try:
        for runtime in runtimes:
            container = runtime.new_id()
            runtime.measure("create", "--bundle", str(bundles["sleep"]), container)
            made.append((runtime, container))
            multiply(runtime.root, container)
        verbs = {"list of 1,000": ["list"], "list -q of 1,000": ["list", "-q"], "state among 1,000": ["state"]}
        return {
            title: in_turn(min(rounds, 5), {r.name: partial(timed, r, verb, c) for r, c in made})
            for title, verb in verbs.items()
        }
    finally:
        for runtime, container in made:
            for copy in runtime.root.glob(f"{container}-copy*"):
                shutil.rmtree(copy)
            runtime.remove(container)


def timed(runtime: Runtime, verb: list[str], container: str) -> float:
    return runtime.measure(*verb, *([container] if verb == ["state"] else []))[0]


def multiply(root: Path, container: str) -> None:
    files = {path.name: path.read_text() for path in (root / container).iterdir() if path.is_file()}
    for number in range(999):
        copy = root / f"{container}-copy{number}"
        copy.mkdir()
        for name, text in files.items():
            (copy / name).write_text(text.replace(f'"id":"{container}"', f'"id":"{copy.name}"'))


BENCHES = {
    "run": bench_run,
    "life": bench_life,
    "init": bench_init,
    "limit": bench_limit,
    "hundred": bench_hundred,
    "thousand": bench_thousand,
}


# ---- the machine ----


def build_tools() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-Wno-format-truncation", "-static"]
    for name in ("measure", "floor"):
        subprocess.run(["cc", *flags, "-o", BUILD / name, HERE / f"{name}.c"], check=True)


@contextlib.contextmanager
def hugetlb_for_crun() -> Iterator[None]:
    """crun refuses a hybrid machine whose hugetlb controller is on cgroup v2: lend it the v1 hierarchy meanwhile."""
    unified = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if HUGETLB.exists() or not unified.exists() or "hugetlb" not in unified.read_text().split():
        yield
        return
    HUGETLB.mkdir()
    try:
        lent = subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", HUGETLB], capture_output=True)
        if lent.returncode != 0:
            raise SystemExit("bench: cgroup v2 uses the hugetlb controller, which crun needs on v1: end what is in its cgroups")
        try:
            yield
        finally:
            subprocess.run(["umount", HUGETLB], check=True)
    finally:
        HUGETLB.rmdir()


def find_runtimes(arguments: argparse.Namespace, work: Path) -> list[Runtime]:
    found = [Runtime("pyrunc", [arguments.pyrunc], work)]
    for name in ("crun", "runc"):
        path = shutil.which(name)
        if path:
            found.append(Runtime(name, [path], work))
    if arguments.sid:
        found.append(Runtime("crun-sid", sid.crun(TOP / "build" / "sid"), work))
    return found


# ---- the report ----


def report(table: Table, names: list[str]) -> str:
    """A table with ratios, and a bar for every figure."""
    lines = []
    for title, row in table.items():
        lines.append(f"\n{title}")
        top = max(row.values(), default=0) or 1
        present = [name for name in names if name in row]
        lines += [f"  {n:9} {row[n]:9.2f}  {ratios(row, n):38} {'#' * round(30 * row[n] / top)}" for n in present]
    return "\n".join(lines)


def ratios(row: Row, name: str) -> str:
    return "  ".join(
        f"{row[name] / row[other]:5.2f} x {other}"
        for other in ("crun", "runc", "floor")
        if other in row and other != name and row[other]
    )


def plot(table: Table, names: list[str], path: Path) -> str:
    """A picture beside the text, where matplotlib is installed."""
    try:
        from matplotlib import pyplot
    except ImportError:
        return ""
    timed = {title: row for title, row in table.items() if "KiB" not in title and "MiB" not in title}
    figure, axes = pyplot.subplots(len(timed), 1, figsize=(8, 1.4 * len(timed)), layout="constrained")
    for axis, (title, row) in zip(axes if len(timed) > 1 else [axes], timed.items(), strict=True):
        present = [name for name in reversed(names) if name in row]
        axis.barh(present, [row[name] for name in present])
        axis.set_title(f"{title} (ms)", fontsize=9)
    figure.savefig(path)
    return f"\nplot: {path}"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyrunc", default=str(TOP / "build" / "pyrunc"), help="the command to measure")
    parser.add_argument("--only", action="append", choices=BENCHES, help="one part; may be repeated")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sid", action="store_true", help="also Debian sid's crun, unpacked under build/sid")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args()


def main() -> int:
    arguments = options()
    if os.geteuid() != 0:
        raise SystemExit("bench: needs root")
    build_tools()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-") as directory, hugetlb_for_crun():
        work = Path(directory)
        bundles = make_bundles(work, arguments.pyrunc)
        runtimes = find_runtimes(arguments, work)
        library = Library(str(work / "root-library"))
        table: Table = {}
        for name in arguments.only or BENCHES:
            print(f"... {name}", file=sys.stderr)
            table.update(BENCHES[name](runtimes, library, bundles, arguments.rounds))
    names = ["floor", "library", *[r.name for r in runtimes]]
    if arguments.format == "json":
        print(json.dumps(table, indent=2))
    else:
        print(f"medians in ms of {arguments.rounds} rounds; load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
        print(report(table, names) + plot(table, names, BUILD / "bench.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
