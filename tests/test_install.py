"""make install: the command works without the checkout, from an empty environment, any directory, any PATH."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
# What a checkout is made of, without what was built in it.
TREE = ("Makefile", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "pyrunc", "libcontainer", "nsexec")
BUILDING = ("launcher", "tools")


def run(*command: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"cwd": "/", "env": {}, "stdin": subprocess.DEVNULL, "timeout": 120} | more
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def make(checkout: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    result = run("make", "-C", checkout, *arguments, env=environment, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean tree, built."""
    target = tmp_path_factory.mktemp("clean") / "checkout"
    target.mkdir()
    for name in (*TREE, *BUILDING):
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, target / name, ignore=shutil.ignore_patterns("*.so", "*.o", "__pycache__", "_*.c"))
        else:
            shutil.copy(TOP / name, target / name)
    make(target)
    return target


@pytest.fixture(scope="module")
def prefixes(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """launcher/ and script/, two prefixes, installed from a tree that is gone."""
    top = tmp_path_factory.mktemp("prefixes")
    tree = top / "tree"
    shutil.copytree(checkout, tree)
    for name in ("launcher", "script"):
        make(tree, "install", f"PREFIX={top / name}")
    write_script(top / "script/lib/pyrunc", top / "script/bin/pyrunc")
    shutil.rmtree(tree)
    return top


@pytest.fixture(params=["launcher", "script"])
def installed(request: pytest.FixtureRequest, prefixes: Path, checkout: Path) -> Path:
    """The installed command; with the launcher, and as the script that stands in for it."""
    missing = checkout / "build/launcher.missing"
    if request.param == "launcher" and missing.exists():
        pytest.skip(f"there is no launcher here: {missing.read_text()}")
    return prefixes / str(request.param) / "bin" / "pyrunc"


def write_script(library: Path, command: Path) -> None:
    command.unlink()
    launcher_build("write_script", library, command)


def launcher_build(function: str, *arguments: str | Path) -> None:
    """Call a function of launcher/build.py with the interpreter that the command uses."""
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import build; build.{function}(*sys.argv[2:])"
    subprocess.run(["/usr/bin/python3", "-c", code, TOP / "launcher", *arguments], check=True, timeout=60)


def test_version_from_an_empty_environment(installed: Path) -> None:
    result = run(installed, "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pyrunc version ")
    assert "spec: " in result.stdout


def test_seccomp_and_cffi_are_found(installed: Path) -> None:
    """features asks libseccomp, through the extension modules beside the packages."""
    result = run(installed, "features")
    assert result.returncode == 0, result.stderr
    assert "SCMP_ACT_ALLOW" in result.stdout


def test_an_error_is_one_line_and_status_1(installed: Path, tmp_path: Path) -> None:
    result = run(installed, "--root", tmp_path, "state", "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "container does not exist" in result.stderr


def test_debug_shows_where(installed: Path, tmp_path: Path) -> None:
    """Tracebacks name the installed files, whichever way the command starts."""
    result = run(installed, "--debug", "--root", tmp_path, "state", "nobody")
    assert result.returncode == 1
    assert f'{installed.parent.parent}/lib/pyrunc/pyrunc/__main__.py", line ' in result.stderr


def test_bytes_that_are_no_text_pass_through(installed: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    result = run(installed, "spec", "--bundle", tmp_path / name)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / name / "config.json").exists()


def test_the_environment_is_this_process_s(installed: Path, tmp_path: Path) -> None:
    """XDG_RUNTIME_DIR and the like must not be those of the build."""
    for number in ("1", "2"):
        runtime = tmp_path / number
        result = run(installed, "--debug", "list", "-q", env={"XDG_RUNTIME_DIR": str(runtime), "ROOTLESS": number})
        assert result.returncode == 0, result.stderr


def test_a_closed_stdout_is_no_crash(installed: Path) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f"{installed} --help >&-; exit 0"], capture_output=True, text=True, env={}, cwd="/", timeout=60
    )
    assert "Traceback" not in result.stderr


def test_a_reader_that_goes_away(installed: Path) -> None:
    command = f"({installed} --help; echo $? >&2) | head -c 1 >/dev/null"
    result = run("/bin/sh", "-c", command, env={"PATH": "/bin:/usr/bin"})
    assert "Traceback" not in result.stderr


def test_modules_that_are_not_in_the_image_load(installed: Path, tmp_path: Path) -> None:
    """The log in JSON, tables and the like may import more than the image holds."""
    log = tmp_path / "log"
    result = run(installed, "--log", log, "--log-format", "json", "--root", tmp_path / "root", "state", "nobody")
    assert result.returncode == 1
    assert '"level":"error"' in log.read_text()


@pytest.mark.root
def test_a_container_from_the_installed_command(installed: Path, bundle: Path, tmp_path: Path) -> None:
    """From create to delete, from an empty environment, from /."""
    root, name = tmp_path / "root", f"install-{os.getpid()}"

    def pyrunc(*arguments: str | Path, status: int = 0) -> str:
        result = run(installed, "--root", root, *arguments)
        assert result.returncode == status, result.stderr
        return result.stdout

    with open(os.devnull, "w") as null:
        created = subprocess.run(
            [installed, "--root", root, "run", "-d", "--bundle", bundle, name],
            stdin=subprocess.DEVNULL, stdout=null, stderr=null, env={}, cwd="/", timeout=60,
        )  # fmt: skip
    try:
        assert created.returncode == 0
        assert '"status": "running"' in pyrunc("state", name)
        assert pyrunc("exec", name, "/bin/echo", "hello") == "hello\n"
        pyrunc("exec", name, "/bin/false", status=1)
    finally:
        pyrunc("delete", "--force", name)
    assert not (root / name).exists()


@pytest.mark.root
def test_an_interrupt_reaches_the_container(installed: Path, bundle: Path, tmp_path: Path) -> None:
    """The foreground command forwards signals; one that is ignored at the start stays ignored."""
    name = f"interrupt-{os.getpid()}"
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"]["args"] = ["/bin/sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"]
    (bundle / "config.json").write_text(json.dumps(spec))
    process = subprocess.Popen(
        [installed, "--root", tmp_path / "root", "run", "--bundle", bundle, name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={}, cwd="/",
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 7


def test_destdir_is_not_in_what_is_installed(checkout: Path, tmp_path: Path) -> None:
    make(checkout, "install", f"DESTDIR={tmp_path}/stage", "PREFIX=/opt/pyrunc")
    files = [p for p in (tmp_path / "stage").rglob("*") if p.is_file()]
    assert {p.relative_to(tmp_path / "stage").parts[:2] for p in files} == {("opt", "pyrunc")}
    assert not [p for p in files if str(tmp_path).encode() in p.read_bytes()]
    make(checkout, "uninstall", f"DESTDIR={tmp_path}/stage", "PREFIX=/opt/pyrunc")
    assert not [p for p in (tmp_path / "stage").rglob("*") if p.is_file()]


def test_the_launcher_is_one(prefixes: Path, checkout: Path) -> None:
    """So that the tests above do not run the script twice."""
    if not (checkout / "build/launcher.missing").exists():
        assert (prefixes / "launcher/bin/pyrunc").read_bytes().startswith(b"\x7fELF")
    assert (prefixes / "script/bin/pyrunc").read_bytes().startswith(b"#!")


def test_a_module_that_cannot_be_imported_is_no_image(prefixes: Path, checkout: Path, tmp_path: Path) -> None:
    if (checkout / "build/launcher.missing").exists():
        pytest.skip("there is no launcher here")
    library = tmp_path / "lib"
    shutil.copytree(prefixes / "launcher/lib/pyrunc", library)
    (library / "libcontainer/broken.py").write_text("import nosuchmodule\n")
    build = TOP / "launcher/build.py"
    made = run("/usr/bin/python3", build, "image", checkout / "build", library, "", tmp_path / "pyrunc")
    assert made.returncode == 1
    text = "launcher: libcontainer.broken cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule'\n"
    assert made.stderr == text
    assert not (tmp_path / "pyrunc").exists()


def test_the_image_holds_nothing_of_the_process_that_made_it(checkout: Path, tmp_path: Path) -> None:
    """Made twice with one seed, under different addresses, times and ids, it is the same to the byte."""
    build = checkout / "build"
    if not (build / "launcher").exists():
        pytest.skip("there is no launcher here")
    launcher_build("compile_modules", checkout, "", build / "code")
    images = []
    for number in ("1", "2"):
        image = tmp_path / f"image{number}"
        version = f"/usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
        arguments = ("image", image, "", "7", version, TOP / "launcher/image.py")
        script = (checkout, f"{version}/lib-dynload", build / "code", checkout / "nsexec/src/init")
        surroundings = {"NUMBER": number * 1000 * int(number)}
        result = run(build / "launcher", *arguments, *script, env=surroundings, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        images.append(image.read_bytes())
        time.sleep(0.01)
    differing = sum(a != b for a, b in zip(*images, strict=True))
    assert differing == 0


# Grows, shrinks to nothing, and frees: objects of the image, small ones, large ones, from threads too.
EXERCISE = """
kept = [[0] * n for n in range(300)]

def train(): pass

def resume(argv, interruptible):
    import gc, json, os, random, threading
    random.seed(1)
    for _ in range(60000):
        victim = random.choice(kept)
        what = random.randrange(5)
        if what == 0: kept.append([0] * random.randrange(300))
        elif what == 1: victim.extend(range(random.randrange(200)))
        elif what == 2: del victim[random.randrange(len(victim) + 1):]
        elif what == 3:
            while victim: victim.pop()
        else: kept[random.randrange(len(kept))] = json.loads(json.dumps([str(len(kept)), [len(victim)]]))
    text = bytearray()
    for n in range(2000): text += bytes(n)
    done = []
    work = lambda: done.append(sorted(map(str, range(20000)))[-1])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    gc.enable(); gc.collect()
    os.write(1, f"{len(text)} {done}".encode())
    return 3
"""


def test_the_launcher_s_memory_serves_a_program(checkout: Path, tmp_path: Path) -> None:
    """The image's heap, its own allocator and libc's, mixed: every pointer goes back to where it came from."""
    launcher = checkout / "build" / "launcher"
    if not launcher.exists():
        pytest.skip("there is no launcher here")
    (tmp_path / "exercise.py").write_text(EXERCISE)
    version = f"/usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    made = run(launcher, "image", tmp_path / "image", "", "7", f"{version}:{version}/lib-dynload", tmp_path / "exercise.py")
    assert made.returncode == 0, made.stderr
    result = run(tmp_path / "image")
    assert (result.returncode, result.stdout) == (3, "1999000 ['9999', '9999', '9999', '9999']"), result.stderr


@pytest.mark.slow
def test_pip_install_works(checkout: Path, tmp_path: Path) -> None:
    """Into a virtual environment, without one of its own to build in (no network)."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--system-site-packages", venv)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    pip = (venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    result = run(*pip, "--no-build-isolation", "--no-deps", checkout, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    result = run(venv / "bin/pyrunc", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pyrunc version ")
