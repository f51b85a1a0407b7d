"""pyrunc spec: write a config.json to begin with."""

from __future__ import annotations

import os

from libcontainer import jsonfast
from libcontainer.errors import Error, SyscallError
from libcontainer.example_spec import example
from pyrunc.log import write
from pyrunc.options import SWITCH, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "spec",
    "create a new specification file",
    flags=(
        Flag("bundle", TEXT, "path of the bundle directory, defaults to the current directory", letter="b"),
        Flag("rootless", SWITCH, "generate a configuration for a rootless container"),
    ),
    description="""\
The spec command creates the new specification file named "config.json" for the bundle. It runs "sh" in a terminal,
in a root filesystem named "rootfs".""",
)
_NAME = "config.json"


def run(call: Invocation) -> int:
    bundle = call.text("bundle")
    if bundle:
        try:
            os.chdir(bundle)
        except OSError as error:
            raise SyscallError("chdir", error.errno or 0, bundle) from None
    text = jsonfast.dumps(example(call.switch("rootless")), indent="\t")
    try:
        fd = os.open(_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Error(f"File {_NAME} exists. Remove it first") from None
    try:
        write(fd, text)
    finally:
        os.close(fd)
    return 0
