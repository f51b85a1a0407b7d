"""Help texts, made from the tables that the parser uses."""

from __future__ import annotations

from pyrunc import __version__, commands
from pyrunc.options import GLOBAL, HELP, NUMBER, NUMBERS, SWITCH, VERSION, Command, Flag

_ROOT = """\
NAME:
   pyrunc - Open Container Initiative runtime

pyrunc runs containers packaged as bundles: directories that hold a specification
file named "config.json" and a root filesystem. To start one:

    # pyrunc run [ -b bundle ] <container-id>

where "<container-id>" is your name for the container; it must be unique among those
of the state root. The default bundle is the current directory.

USAGE:
   pyrunc [global options] command [command options] [arguments...]

VERSION:
   {version}

COMMANDS:
{commands}

GLOBAL OPTIONS:
{options}
"""
_VERB = """\
NAME:
   pyrunc {name} - {summary}

USAGE:
   pyrunc {name} [command options] {arguments}

DESCRIPTION:
{description}

OPTIONS:
{options}
"""


def overview() -> str:
    """The text of `pyrunc --help`."""
    verbs = [(module.COMMAND.name, module.COMMAND.summary) for module in map(commands.load, commands.NAMES) if module]
    verbs.append(("help, h", "show this list, or help for one command"))
    return _ROOT.format(version=__version__, commands=_columns(verbs), options=_options((*GLOBAL, HELP, VERSION)))


def of(command: Command) -> str:
    """The text of `pyrunc COMMAND --help`."""
    return _VERB.format(
        name=command.name,
        summary=command.summary,
        arguments=command.arguments,
        description="\n".join(f"   {line}" for line in command.description.splitlines()),
        options=_options((*command.flags, HELP)),
    )


def _options(flags: tuple[Flag, ...]) -> str:
    return _columns([(_spelling(flag), _meaning(flag)) for flag in flags if not flag.hidden])


def _spelling(flag: Flag) -> str:
    value = "" if flag.kind == SWITCH else " N" if flag.kind in (NUMBER, NUMBERS) else " value"
    letter = f", -{flag.letter}{value}" if flag.letter else ""
    return f"--{flag.name}{value}{letter}"


def _meaning(flag: Flag) -> str:
    default = f' (default: "{flag.default}")' if isinstance(flag.default, str) and flag.default else ""
    return flag.usage + default


def _columns(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"   {name:<{width}}  {text}" for name, text in rows)
