"""CRIU's image files, read entry by entry: a magic number, then lengths and protobuf messages (criu.org/Images).

The classes of the messages are pycriu's, which comes with CRIU itself. The framing is done here and not by pycriu's own
loader, which believes every length: a directory of images may come from anywhere. So nothing is followed that is a link,
nothing is opened that is no regular file, and what is read in all is bounded.
"""

from __future__ import annotations

import os
import sys

from libcontainer.criu import chain, regular
from libcontainer.errors import Error, SyscallError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from typing import Any, BinaryIO

    Message = Any

LARGEST_ENTRY = 16 << 20
MOST_ENTRIES = 1 << 20  # of one file
MOST_FILES = 1 << 20  # of one directory
# Of one checkpoint, its parents included. Page maps are counted by themselves: they are long, and none is kept.
BUDGET = 256 << 20  # bytes of them
TEXT = 64 << 20  # bytes of everything else
MOST_KEPT = 1 << 19  # entries of everything else

PAGE_MAP = "PAGEMAP"
_COMMON_MAGICS = (0x54564319, 0x55105940)  # IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC: the file's own follows
_MISSING = (
    "reading checkpoint images needs the Python package pycriu, which comes with CRIU:"
    " install python3-pycriu (Debian, Ubuntu) or python3-criu (Fedora)"
)


class BadImage(Error):
    """An image file is missing, damaged, or too large to be believed."""


class Pycriu:
    """pycriu's message classes and magic numbers."""

    __slots__ = ("_handlers", "_magics", "_messages", "errors")

    def __init__(self) -> None:
        package = _import_pycriu()
        from google.protobuf.message import DecodeError

        # Of a message that is none; SystemError: protobuf 3.21 in C++ returns a message with an exception set, and warns only
        # of one that ends early: strict() makes that an error.
        self.errors = (DecodeError, ValueError, SystemError, RuntimeWarning)
        self._messages = package.images.pb
        self._handlers = package.images.handlers
        self._magics = package.magic.by_name

    def magic(self, kind: str) -> int:
        return int(self._magics[kind])

    def classes(self, kind: str) -> tuple[Any, Any]:
        """Of the first entry, and of the others."""
        if kind == PAGE_MAP:
            return self._messages.pagemap_head, self._messages.pagemap_entry
        payload = self._handlers[kind].payload
        return payload, payload

    def file_system(self, number: int) -> str:
        """The name of an fstype of mnt.proto; "" if it has none."""
        known = self._messages.mnt_entry.DESCRIPTOR.file.enum_types_by_name["fstype"].values_by_number
        return known[number].name.lower() if number in known else ""


def _import_pycriu() -> Any:
    """The installed command looks into no directory of packages; pycriu is only ever a distribution's."""
    import importlib

    saved = sys.path[:]
    sys.path.extend(filter(os.path.isdir, _package_directories()))
    try:
        return importlib.import_module("pycriu.images")
    except ImportError as err:
        raise Unsupported(_MISSING) from err
    finally:
        sys.path[:] = saved


def _package_directories() -> Iterator[str]:
    version = "python{}.{}".format(*sys.version_info)
    yield "/usr/lib/python3/dist-packages"
    for top in ("/usr/local/lib", "/usr/lib", "/usr/lib64"):
        yield f"{top}/{version}/dist-packages"
        yield f"{top}/{version}/site-packages"


class Allowance:
    """How much may still be read and kept."""

    __slots__ = ("_kept", "_maps", "_text")

    def __init__(self) -> None:
        self._maps = BUDGET
        self._text = TEXT
        self._kept = MOST_KEPT

    def entry(self, name: str, kind: str, size: int) -> None:
        """An entry of this size is about to be read."""
        if kind == PAGE_MAP:
            self._maps -= size
        else:
            self._kept -= 1
            self._text -= size
        self._check(name)

    def again(self, name: str, text: str) -> None:
        """A text of an entry is told once more."""
        self._text -= len(text)
        self._check(name)

    def _check(self, name: str) -> None:
        if min(self._maps, self._text, self._kept) < 0:
            raise BadImage(f"{name}: the images describe more than is read of one checkpoint")


class Images:
    """A directory of images. `path` is as it was given, for messages only: all access is through the descriptor `fd`."""

    __slots__ = ("_pycriu", "allowance", "fd", "names", "path")

    def __init__(self, fd: int, path: str, pycriu: Pycriu, allowance: Allowance) -> None:
        self.fd = fd
        self.path = path
        self._pycriu = pycriu
        self.allowance = allowance
        self.names = frozenset(self._list())

    def _list(self) -> Iterator[str]:
        with os.scandir(self.fd) as found:
            for number, entry in enumerate(found):
                if number == MOST_FILES:
                    raise BadImage(f"{self.path} has more than {MOST_FILES} files")
                yield entry.name

    def numbers(self, prefix: str) -> list[int]:
        """The N of files PREFIX-N.img, in order."""
        found = (name[len(prefix) + 1 : -4] for name in self.names if name.startswith(f"{prefix}-") and name.endswith(".img"))
        return sorted(int(text) for text in found if text.isascii() and text.isdigit() and len(text) < 11)

    def size(self) -> int:
        """Bytes that its files take on the disk (pages that were moved to a later checkpoint are holes)."""
        return sum(self._disk_usage(name) for name in self.names)

    def _disk_usage(self, name: str) -> int:
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            return 0

    def open(self, name: str) -> BinaryIO:
        """A regular file of the directory."""
        try:
            return os.fdopen(regular.open_file(self.fd, name), "rb")
        except SyscallError as err:
            raise BadImage("unable to read the checkpoint") from err

    def entries(self, name: str, kind: str) -> Iterator[Message]:
        """The messages of a file, one at a time."""
        with self.open(name) as file:
            if _magic(file) != self._pycriu.magic(kind):
                raise BadImage(f"image {name} does not begin as one of kind {kind} does")
            first, following = self._pycriu.classes(kind)
            for number, data in enumerate(self._chunks(file, name, kind)):
                yield _parse(following if number else first, data, name, self._pycriu.errors)

    def _chunks(self, file: BinaryIO, name: str, kind: str) -> Iterator[bytes]:
        for _ in range(MOST_ENTRIES):
            head = file.read(4)
            if not head:
                return
            size = _number(head)
            if size > LARGEST_ENTRY:
                break
            self.allowance.entry(name, kind, size + len(head))
            data = file.read(size)
            if len(head) < 4 or len(data) < size:
                raise BadImage(f"image {name} ends in the middle of an entry")
            yield data
        raise BadImage(f"image {name} is larger than any that is believed")

    def only(self, name: str, kind: str) -> Message:
        """The message of a file that has one."""
        for entry in self.entries(name, kind):
            return entry
        raise BadImage(f"image {name} is empty")

    def file_system(self, number: int) -> str:
        return self._pycriu.file_system(number)


def _magic(file: BinaryIO) -> int:
    value = _number(file.read(4))
    return _number(file.read(4)) if value in _COMMON_MAGICS else value


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _parse(message: Any, data: bytes, name: str, errors: tuple[type[Exception], ...]) -> Message:
    try:
        found = message.FromString(data)
    except errors as err:
        raise BadImage(f"image {name} has an entry that cannot be decoded") from err
    if not found.IsInitialized():  # not every version of protobuf looks
        raise BadImage(f"image {name} has an entry that lacks what it must have")
    return found


def text(value: str | bytes) -> str:
    """A string field; protobuf gives bytes where they are not UTF-8."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def strict(stack: ExitStack) -> None:
    """What protobuf only warns of is an error, as long as the stack stands."""
    import warnings

    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("error", RuntimeWarning)


def open_chain(stack: ExitStack, path: str) -> list[Images]:
    """The images of a directory and what they build on, newest first; the stack closes them."""
    pycriu, allowance = Pycriu(), Allowance()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    directories = [(fd, path), *chain.parents(stack, fd, path)]
    return [Images(*directory, pycriu, allowance) for directory in directories]
