"""Builds the command: `compile` makes the launcher, `image` makes the command that goes into bin/.

    build.py compile BUILD                         BUILD/launcher, or BUILD/launcher.missing with the reason why there is none
    build.py image BUILD LIB[:MORE] DESTDIR OUT    OUT, which runs the packages in LIB (read from DESTDIR + LIB)

Where the launcher cannot be (no static libpython, another version of Python, another linker), OUT is a script that does
the same, only slower. Run it with the interpreter that the command shall use.
"""

from __future__ import annotations

import marshal
import os
import platform
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(os.path.dirname(HERE), "nsexec", "src")
PACKAGES = ("nsexec", "libcontainer", "pyrunc")
BROKEN = 70  # image.py's exit status for packages that cannot be imported: a script could not either
# _sdbus.py binds at its import; nothing of that may be in an image.
NOT_IN_IMAGE = ("build.py", "seccomp_build.py", "sdbus_build.py", "_sdbus.py")
WARNINGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"]
WRAPPED = "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free"
# -z lazy: of 450 symbols a process needs some 80; -rdynamic: extension modules look for the interpreter here.
LINK = ["-no-pie", "-rdynamic", "-Wl,-z,lazy,-z,relro,-z,noexecstack", WRAPPED]
# libm.c stands for libm: it is linked only if a libpython wants something else of it too.
LIBRARIES = ["-Wl,-Bstatic", "-lexpat", "-lz", "-Wl,-Bdynamic", "-Wl,--as-needed", "-lc", "-lm"]

SCRIPT = """\
#!{interpreter} -IS
import sys

sys.path[:0] = {library!r}
from pyrunc.__main__ import leave, main

leave(main(sys.argv))
"""


class NoLauncher(Exception):
    """Why the command has to be a script."""


def static_library() -> str:
    """libpython to link with; where there is none, NoLauncher."""
    if platform.python_implementation() != "CPython" or sys.version_info[:2] != (3, 11):
        raise NoLauncher(f"the image was verified with CPython 3.11, this is {platform.python_version()}")
    name = sysconfig.get_config_var("LIBRARY") or "libpython3.11.a"
    for directory in (sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBDIR")):
        path = os.path.join(directory or "", name)
        if os.path.exists(path):
            return path
    raise NoLauncher(f"no {name} (Debian: python3-dev)")


def run(*command: str) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise NoLauncher(f"{os.path.basename(command[0])}: {lines[0]}")


def compile_launcher(build: str) -> None:
    """BUILD/launcher from launcher.c, the binding of host.h, and the static libpython."""
    library = static_library()
    compiler = os.environ.get("CC", "cc").split()
    binding = os.path.join(build, "binding.c")
    run(sys.executable, os.path.join(HERE, "bind.py"), os.path.join(SOURCES, "host.h"), binding)
    include = [f"-I{path}" for path in (sysconfig.get_path("include"), HERE, SOURCES)]
    objects = []
    for source in (binding, os.path.join(SOURCES, "host.c"), os.path.join(HERE, "libm.c"), os.path.join(HERE, "launcher.c")):
        objects.append(os.path.join(build, os.path.basename(source)[:-1] + "o"))
        run(*compiler, *WARNINGS, "-fno-pie", "-fno-builtin", *include, "-c", "-o", objects[-1], source)
    script = os.path.join(HERE, "image.lds")
    run(*compiler, *LINK, "-o", os.path.join(build, "launcher"), *objects, "-T", script, library, *LIBRARIES)


def make_image(build: str, library: str, destdir: str, output: str) -> None:
    """Start the interpreter, import everything, and write it down."""
    launcher = os.path.abspath(os.path.join(build, "launcher"))
    if not os.path.exists(launcher):
        raise NoLauncher("see 'make' above")
    standard = sysconfig.get_path("stdlib")
    # Python's protection against crafted keys: another seed on every machine, unless the image shall be reproducible.
    seed = os.environ.get("SOURCE_DATE_EPOCH") or str(secrets.randbelow(2**32 - 1) + 1)
    code = os.path.abspath(os.path.join(build, "code"))
    compile_modules(library.partition(":")[0], destdir.rstrip("/"), code)
    profile = os.path.abspath(os.path.join(build, "profile"))
    files = [code, os.path.join(SOURCES, "init")]
    script = [os.path.join(HERE, "image.py"), library, f"{standard}/lib-dynload", *files]
    if os.path.exists(profile):
        os.unlink(profile)
    for mode in ("profile", "image"):
        command = [launcher, mode, os.path.abspath(output), profile, seed, standard, *script]
        made = subprocess.run(command, env={}, cwd="/", stdin=subprocess.DEVNULL, check=False)
        if made.returncode == BROKEN:
            raise SystemExit(1)
    if made.returncode != 0:
        raise NoLauncher("the launcher made no image")


def modules(library: str) -> Iterator[tuple[str, str]]:
    """(dotted name, path below `library`) of every module of ours but build scripts; __main__ comes last."""
    paths = [
        os.path.relpath(os.path.join(directory, name), library)
        for package in PACKAGES
        for directory, _, files in sorted(os.walk(os.path.join(library, package)))
        for name in sorted(files)
        if name.endswith(".py") and name not in NOT_IN_IMAGE
    ]
    for path in sorted(paths, key=lambda p: p.endswith("__main__.py")):
        yield path[:-3].removesuffix("/__init__").replace("/", "."), path


def compile_modules(library: str, destdir: str, output: str) -> None:
    """
    All our code in one file, as it will be found in tracebacks. Compiled here, because what a compiler leaves behind
    spreads the image over more pages, and without docstrings, which would be pages between those that matter.
    """
    codes = {}
    for name, path in modules(destdir + library):
        with open(os.path.join(destdir + library, path), "rb") as f:
            codes[name] = compile(f.read(), os.path.join(library, path), "exec", dont_inherit=True, optimize=2)
    with open(output, "wb") as f:
        marshal.dump(codes, f)


def write_script(library: str, output: str) -> None:
    with open(output, "w", encoding="utf-8") as f:
        f.write(SCRIPT.format(interpreter=sys.executable, library=library.split(":")))
    os.chmod(output, 0o755)


def main(verb: str, build: str, *rest: str) -> None:
    os.makedirs(build, exist_ok=True)
    try:
        if verb == "compile":
            compile_launcher(build)
        else:
            make_image(build, *rest)
    except NoLauncher as reason:
        print(f"launcher: {reason}; the command will be a script", file=sys.stderr)
        if verb == "compile":
            with open(os.path.join(build, "launcher.missing"), "w", encoding="utf-8") as f:
                f.write(f"{reason}\n")
        else:
            library, _, output = rest
            write_script(library, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
