"""pyrunc ps: the processes of a container, as the host numbers them."""

from __future__ import annotations

from libcontainer import jsonfast
from libcontainer.errors import Error, SyscallError
from pyrunc.log import out
from pyrunc.options import TEXT, Command, Flag, quote
from pyrunc.rights import CgroupRights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrunc.options import Invocation

COMMAND = Command(
    "ps",
    "ps displays the processes running inside a container",
    arguments="<container-id> [ps options]",
    count=(1, None),
    options_first=True,
    flags=(Flag("format", TEXT, "select one of: table or json", letter="f", default="table"),),
    description="""\
The default format is table: what the host's ps prints (options: -ef, or those that follow the id), without the lines
of processes that are not the container's. The output of ps must have a column PID.""",
)
_DEFAULT = ("-ef",)


def run(call: Invocation) -> int:
    layout = call.text("format")
    if layout not in ("table", "json"):
        raise Error("invalid format option")
    pids = _processes(call)
    if layout == "json":
        out(jsonfast.dumps(pids or None) + "\n")
    else:
        out("".join(f"{line}\n" for line in select(_ps(call.arguments[1:] or _DEFAULT), pids)))
    return 0


def _processes(call: Invocation) -> Sequence[int]:
    from libcontainer.container import Container

    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    with CgroupRights(call, "ps"):
        return container.processes()


def _ps(arguments: Sequence[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(["ps", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise SyscallError("exec", error.errno or 0, "ps") from None
    if done.returncode:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Error(f"ps {' '.join(arguments)}: exit status {done.returncode}: {text}")
    return done.stdout.decode(errors="surrogateescape")


def select(text: str, pids: Sequence[int]) -> Iterator[str]:
    """The header, and the lines whose field under PID is one of `pids`."""
    header, *lines = text.splitlines() or [""]
    titles = header.split()
    if "PID" not in titles:
        raise Error("couldn't find PID field in ps output")
    column = titles.index("PID")
    yield header
    for line in lines:
        if line and _number(line.split(), column) in pids:
            yield line


def _number(fields: list[str], column: int) -> int:
    field = fields[column] if column < len(fields) else ""
    try:
        return int(field)
    except ValueError:
        raise Error(f"unexpected pid {quote(field)} in ps output") from None
