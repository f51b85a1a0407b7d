"""What the launcher's image holds: the standard library's part and all modules of pyrunc, imported; and `resume`.

    launcher image|profile IMAGE PROFILE SEED PATHS image.py SEARCH-PATH LIB-DYNLOAD CODE PROGRAM

SEARCH-PATH is what sys.path will begin with, CODE our compiled modules, PROGRAM a static one for train(). No module may
keep at import what differs from process to process (environ, cwd, ids, time): the image would freeze it.
"""

from __future__ import annotations

import _imp
import _signal
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import marshal
import os
import sys

TYPE_CHECKING = False

# Of the standard library: what error paths and rare verbs import. The hot path's comes with our modules. Not threading,
# random and what imports them: they would have work to do in every new process.
STANDARD = ("encodings.ascii", "encodings.latin_1", "json", "signal", "traceback")
BROKEN = 70  # the exit status if a module of ours cannot be imported (EX_SOFTWARE); build.py knows it
STREAMS = {"stdin": (0, "r", "surrogateescape"), "stdout": (1, "w", "surrogateescape"), "stderr": (2, "w", "backslashreplace")}

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any


making = True
WARM_ROUNDS = 20  # an adaptive instruction waits for 8 calls, and tries again later when it fails


class Later:
    """A shared object of the standard library, or something in it, that processes load when they first need it.

    While the image is made nothing can be dlopened: it would point to where libraries happen to be. So what a module
    takes from one at import (`scan = make_scanner(...)`) is remembered, and done at the first call.
    """

    __slots__ = ("_get", "_value")

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get = get
        self._value: Any = None

    def _now(self) -> Any:
        if self._value is None:
            self._value = self._get()
        return self._value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if making:
            return Later(lambda: getattr(self._now(), name))
        return getattr(self._now(), name)

    def __call__(self, *args: object) -> Any:
        if making:
            return Later(lambda: self._now()(*args))
        return self._now()(*args)


class Extensions:
    """Finds the shared objects of lib-dynload while the image is made, as Later."""

    def __init__(self, directory: str) -> None:
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        names = [name for name in os.listdir(directory) if name.endswith(suffix)]
        self.paths = {name.removesuffix(suffix): os.path.join(directory, name) for name in names}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loader: Any = self
        return importlib.machinery.ModuleSpec(name, loader) if name in self.paths else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The default."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        modules: dict[str, Any] = sys.modules
        modules[name] = Later(lambda: self.load(name))

    def load(self, name: str) -> ModuleType:
        """What import does, without searching: half a millisecond for _json."""
        if name in sys.modules:
            return sys.modules[name]
        path = self.paths[name]
        spec = importlib.machinery.ModuleSpec(name, importlib.machinery.ExtensionFileLoader(name, path), origin=path)
        try:
            module = _imp.create_dynamic(spec)
        except ImportError:  # not where it was when the image was made
            return importlib.import_module(name)
        sys.modules[name] = module
        _imp.exec_dynamic(module)
        return module


class Compiled(importlib.machinery.SourceFileLoader):
    """A module of ours, from the code that build.py compiled: nothing of it need exist yet where it will be."""

    def get_code(self, fullname: str) -> CodeType:
        return codes[fullname]


class CompiledFinder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in sys.builtin_module_names and "." in name:
            loader: Any = importlib.machinery.BuiltinImporter
            return importlib.machinery.ModuleSpec(name, loader, origin="built-in")
        if name not in codes:
            return None
        origin = codes[name].co_filename
        places = [os.path.dirname(origin)] if origin.endswith("/__init__.py") else None
        return importlib.util.spec_from_file_location(
            name, origin, loader=Compiled(name, origin), submodule_search_locations=places
        )


def settle() -> None:
    """Leave what a process that starts from the image should find."""
    global making
    making = False
    sys.meta_path[:2] = []
    for module in list(sys.modules.values()):
        spec: Any = getattr(module, "__spec__", None)
        if isinstance(getattr(spec, "loader", None), Compiled):
            module.__loader__ = spec.loader = importlib.machinery.SourceFileLoader(spec.name, spec.origin)
    for name in extensions.paths:
        if isinstance(sys.modules.get(name), Later):
            del sys.modules[name]
    sys.path[:] = [*libraries, *sys.path, dynload]
    sys.path_importer_cache.clear()
    for name in STREAMS:
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


def open_stream(name: str) -> io.TextIOWrapper | None:
    """As the interpreter does it at its start; None where the descriptor is closed."""
    fd, mode, errors = STREAMS[name]
    try:
        raw = io.FileIO(fd, mode, closefd=False)
    except OSError:
        return None
    buffer = (io.BufferedReader if mode == "r" else io.BufferedWriter)(raw)
    stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=fd == 2 or raw.isatty())
    setattr(stream, "mode", mode)  # noqa: B010 - the type says that it cannot be set
    raw.name = f"<{name}>"
    return stream


class Stream:
    """sys.stdin, stdout or stderr, opened at its first use: most runs use none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        stream = open_stream(self._name)
        setattr(sys, self._name, stream)
        return getattr(stream, attribute)


def finish(code: object) -> int:
    """The exit status for what main() returned, or SystemExit carried."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not isinstance(stream, Stream):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 120
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def resume(argv: list[str], interruptible: bool) -> int:
    """Called in every process that starts from the image."""
    sys.argv = argv
    if interruptible:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    for name in STREAMS:
        stream = Stream(name)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    try:
        return finish(main(argv))
    except SystemExit as e:
        return finish(e.code)
    except BaseException:  # noqa: BLE001 - as the interpreter ends a program
        sys.excepthook(*sys.exc_info())
        return finish(1)


def train() -> None:
    """Do what most processes will do, each in a fork, so that the launcher learns which memory that takes.

    As root these are containers; whoever may make none fails early, and learns less. Nothing of it stays.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pyrunc-train-") as work:
        for directory in ("bundle", "bundle/rootfs", "bundle/rootfs/proc", "bundle/rootfs/sys", "bundle/rootfs/dev"):
            os.mkdir(os.path.join(work, directory))
        with open(program, "rb") as f, open(os.path.join(work, "bundle/rootfs/true"), "wb") as g:
            g.write(f.read())
            os.chmod(g.fileno(), 0o755)
        name, bundle = os.path.basename(work), ["--bundle", os.path.join(work, "bundle")]
        _rehearse(work, "spec", *bundle)
        _rewrite(os.path.join(work, "bundle/config.json"))
        for verb in (
            ["--version"],
            ["state", name],
            ["create", *bundle, name],
            ["state", name],
            ["exec", name, "/true"],
            ["start", name],
            ["kill", name, "KILL"],
            ["delete", "--force", name],
            ["run", *bundle, name],
        ):
            _rehearse(work, *verb)


def warm_up() -> None:
    """Compute what creating a container takes, often enough for the interpreter to have adapted the code to its types
    (PEP 659) and to have filled its method cache: every process would do that again, on pages that it has to copy.

    Nothing is opened, made or asked of the kernel here: that would stay in the image.

    The cache is emptied first. An entry holds its name: what imports have left there would be given up by each process
    whose own entries push it out, a hundred times, and each time on a page that it touches for nothing else.
    """
    sys._clear_type_cache()
    for _ in range(WARM_ROUNDS):
        _plan_a_container()


def _plan_a_container() -> None:
    from libcontainer import config, create, example_spec, remote, spec_rules
    from libcontainer.cgroups import Hierarchy, Manager
    from libcontainer.plan import Plan
    from libcontainer.spec import normalize
    from libcontainer.steps import Step

    spec: Any = normalize(example_spec.example(rootless=False))
    spec["process"]["terminal"], spec["root"]["path"] = False, "/"
    flags: dict[str, Any] = {"rootless_euid": False, "rootless_cgroups": False, "no_pivot": False}
    spec_rules.validate(spec, bundle="/", **flags)
    plan = Plan("id", spec, "/", passed_fds=3, no_new_keyring=False, in_userns=False, **flags)
    plan.cgroup_version = 1
    plan.cgroup_hierarchies = [Hierarchy("cpu", "cpu", "/", []), Hierarchy("unified", None, "/", [])]
    names: dict[str, Any] = {"id": "id", "bundle": "/", "rootfs": "/", "cgroup": {"path": "", "name": "id", "scope_prefix": ""}}
    config.to_runc(spec, no_new_keyring=False, systemd=False, **names, **flags)
    nothing: Any = None
    creation = create.Creation(plan, Manager({}), nothing, stdio=(), fifo=-1, seccomp=None, console=None, log=nothing)
    batch = remote.Batch()
    for step in (*creation._mount_steps(), *creation._late_steps()):
        if isinstance(step, Step):
            step.emit(batch)
    batch.encode()


def _rewrite(config: str) -> None:
    from libcontainer import jsonfast

    with open(config, encoding="utf-8") as f:
        spec = jsonfast.loads(f.read())
    spec["process"].update(terminal=False, args=["/true"])
    with open(config, "w", encoding="utf-8") as f:
        f.write(jsonfast.dumps(spec))


def _rehearse(work: str, *arguments: str) -> None:
    fork: Callable[[Callable[[list[str]], None], list[str]], None] = globals()["profile_fork"]  # the launcher's
    fork(_quietly, ["pyrunc", "--root", os.path.join(work, "root"), *arguments])


def _quietly(argv: list[str]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    resume(argv, True)


libraries, dynload = sys.argv[1].split(":"), sys.argv[2]
program = sys.argv[4]
with open(sys.argv[3], "rb") as file:
    codes: dict[str, CodeType] = marshal.loads(file.read())
extensions = Extensions(dynload)
sys.meta_path.insert(0, CompiledFinder)
sys.meta_path.insert(1, extensions)
for name in STANDARD:
    try:
        importlib.import_module(name)
    except ImportError as e:
        print(f"launcher: {name} stays out of the image: {e}", file=sys.stderr)
for name in codes:
    try:
        importlib.import_module(name)
    except Exception as e:  # noqa: BLE001 - whatever it is, every process that needs the module would meet it
        print(f"launcher: {name} cannot be imported: {type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(BROKEN)
main = sys.modules["pyrunc.__main__"].main
warm_up()
settle()
codes.clear()
gc.collect()
gc.freeze()
gc.disable()
