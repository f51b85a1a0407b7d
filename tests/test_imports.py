"""What the hot verbs import, held to a list: every module more is paid by every container.

The launcher imports everything at build time, so this looks at the plain interpreter, which is also what runs where there
is no launcher.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
HOT = ("create", "state", "start", "exec", "kill", "delete", "run")

# Of the standard library; ours may be imported freely, they are small and measured together.
ALLOWED = set(
    """
    __future__ __main__ _abc _blake2 _cffi_backend _codecs _collections_abc _frozen_importlib _frozen_importlib_external _imp
    _io _json _signal _socket _stat _struct _thread _warnings _weakref _weakrefset abc builtins codecs encodings
    encodings.aliases encodings.ascii encodings.latin_1 encodings.utf_8 errno fcntl genericpath io itertools marshal math os
    os.path posix posixpath select stat struct sys termios time winreg zipimport
    """.split()
)
OURS = ("pyrunc", "libcontainer", "nsexec")
# Of ours, for what few containers have.
RARE = ("libcontainer.netlink", "libcontainer.net_devices", "libcontainer.resctrl")

# Runs the command line as the script launcher does, then names all modules on a descriptor.
PROBE = """
import os, sys
sys.path[:0] = {path!r}
from pyrunc.__main__ import main
status = main(sys.argv)
os.write({fd}, " ".join(sys.modules).encode())
os._exit(status)
"""


def backend() -> str:
    """Where _cffi_backend is; nsexec's extension modules need it."""
    import _cffi_backend

    return os.path.dirname(_cffi_backend.__file__)


def modules_of(root: Path, *arguments: str, status: int = 0) -> set[str]:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    probe = PROBE.format(path=[str(TOP), backend()], fd=write)
    command = [sys.executable, "-IS", "-c", probe, "--root", str(root), *arguments]
    # The container keeps stdout and stderr: a pipe would never end.
    with tempfile.TemporaryFile() as output:
        result = subprocess.run(
            command, pass_fds=(write,), stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60
        )
        output.seek(0)
        assert result.returncode == status, output.read().decode()
    os.set_blocking(read, False)
    names = os.read(read, 1 << 16).decode().split()
    os.close(read)
    os.close(write)
    return set(names)


def surplus(names: set[str]) -> list[str]:
    return sorted(n for n in names - ALLOWED if n.partition(".")[0] not in OURS or n in RARE)


@pytest.mark.root
def test_the_hot_verbs_import_nothing_but_the_list(bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    name = f"imports-{os.getpid()}"
    calls = {
        "create": ("create", "--bundle", str(bundle), name),
        "state": ("state", name),
        "start": ("start", name),
        "exec": ("exec", name, "/bin/true"),
        "kill": ("kill", name, "KILL"),
        "delete": ("delete", "--force", name),
        "run": ("run", "--detach", "--bundle", str(bundle), name),
    }
    assert tuple(calls) == HOT
    found = {}
    try:
        for verb, arguments in calls.items():
            found[verb] = surplus(modules_of(root, *arguments))
    finally:
        modules_of(root, "delete", "--force", name)
    assert found == {verb: [] for verb in HOT}


def test_a_container_that_is_not_there_costs_no_more(tmp_path: Path) -> None:
    """The error path that engines take most: they ask before they create."""
    assert surplus(modules_of(tmp_path, "state", "nobody", status=1)) == []


def test_the_library_costs_nothing_before_it_is_used() -> None:
    code = "import sys; before = set(sys.modules); sys.path[:0] = sys.argv[1:]; import libcontainer"
    command = [sys.executable, "-IS", "-c", f"{code}; print(*set(sys.modules) - before)", str(TOP)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert set(result.stdout.split()) <= {"libcontainer", "__future__"}


def test_help_of_every_verb_needs_no_linux() -> None:
    """Where nsexec cannot be built, help, spec and version work."""
    code = f"""
import sys
sys.path[:0] = [{str(TOP)!r}]
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("nsexec._", "google")):
            raise ImportError(name)
sys.meta_path.insert(0, Nowhere())
from pyrunc import commands
print([name for name in commands.NAMES if commands.load(name).COMMAND.name == name] == list(commands.NAMES))
"""
    ran = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("True\n", "")
