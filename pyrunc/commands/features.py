"""pyrunc features: what this runtime can do, as JSON (runtime-spec, features.md)."""

from __future__ import annotations

import json

from libcontainer.features import document
from pyrunc import __version__
from pyrunc.log import out
from pyrunc.options import Command
from pyrunc.version import commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.options import Invocation

COMMAND = Command(
    "features",
    "show the enabled features",
    description="""\
Show the features of the runtime as a JSON document: what it was built with and knows, not whether the host allows it.""",
)


def run(_call: Invocation) -> int:
    out(json.dumps(document(__version__, commit()), indent=4) + "\n")
    return 0
