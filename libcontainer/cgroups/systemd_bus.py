"""A D-Bus connection: libsystemd's client, sd-bus(3).

The rule of this file: the one door to that library, which is opened only when systemd has to do something. No callbacks and
no threads: a signal is read from the connection where we wait for it.
"""

from __future__ import annotations

import errno
import os
import time

from libcontainer.cgroups import gvariant
from libcontainer.errors import Error, SyscallError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = 30.0
_LIBRARY = "libsystemd.so.0"
_CONNECT_ATTEMPTS = 8
_C_TYPES = {
    "y": "uint8_t *",
    "b": "int *",
    "n": "int16_t *",
    "q": "uint16_t *",
    "i": "int32_t *",
    "u": "uint32_t *",
    "x": "int64_t *",
    "t": "uint64_t *",
    "d": "double *",
}
_USEC = 1_000_000
_UNESCAPED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/.\\*")


class BusError(Error):
    """systemd, or the bus, refused a call. name: the D-Bus error; errno: of the connection, or 0."""

    def __init__(self, name: str, text: str, errno: int = 0) -> None:
        self.name = name
        self.errno = errno
        super().__init__(text)


def _library() -> tuple[Any, Any]:
    """cffi's object for the declarations, and the library."""
    from nsexec._sdbus import ffi

    try:
        return ffi, ffi.dlopen(_LIBRARY)
    except OSError as error:
        raise Unsupported(f"the systemd cgroup driver needs {_LIBRARY}") from error


def address(path: str) -> str:
    """The address of a socket: "Server Addresses" in the D-Bus specification."""
    return "unix:path=" + "".join(chr(byte) if byte in _UNESCAPED else f"%{byte:02x}" for byte in os.fsencode(path))


class Bus:
    """A connection, over which one object calls and waits."""

    __slots__ = ("_bus", "_ffi", "_lib")

    def __init__(self, address: str, *, is_bus: bool) -> None:
        """is_bus: a message bus, to which one says Hello; or a socket at which systemd itself listens."""
        self._ffi, self._lib = _library()
        self._bus = self._connect(address, is_bus)

    def _connect(self, address: str, is_bus: bool) -> Any:
        """EAGAIN: more clients than the bus takes at once; again, ever later, for some 12 seconds."""
        delay = 0.1
        for attempt in range(_CONNECT_ATTEMPTS):
            pointer = self._ffi.new("sd_bus **")
            self._check(self._lib.sd_bus_new(pointer), "sd_bus_new")
            bus = self._ffi.gc(pointer[0], self._lib.sd_bus_flush_close_unref)
            self._check(self._lib.sd_bus_set_address(bus, address.encode()), address)
            self._check(self._lib.sd_bus_set_bus_client(bus, is_bus), address)
            code = self._lib.sd_bus_start(bus)
            if code != -errno.EAGAIN or attempt == _CONNECT_ATTEMPTS - 1:
                self._check(code, address, "connect")
                break
            time.sleep(delay)
            delay *= 2
        return bus

    def _check(self, code: int, what: str, call: str = "sd_bus") -> int:
        if code < 0:
            raise SyscallError(call, -code, what)
        return code

    def call(self, destination: tuple[str, str, str], member: str, *arguments: tuple[str, Any]) -> Reply:
        """Call a method of (name, path, interface) with (signature, value) arguments."""
        lib, ffi = self._lib, self._ffi
        pointer = ffi.new("sd_bus_message **")
        names = [word.encode() for word in (*destination, member)]
        self._check(lib.sd_bus_message_new_method_call(self._bus, pointer, *names), member)
        message = ffi.gc(pointer[0], lib.sd_bus_message_unref)
        for signature, value in arguments:
            self._append(message, signature, value)
        error, answer = ffi.new("sd_bus_error *"), ffi.new("sd_bus_message **")
        code = lib.sd_bus_call(self._bus, message, int(TIMEOUT * _USEC), error, answer)
        if code < 0:
            raise self._error(-code, error)
        return Reply(self, ffi.gc(answer[0], lib.sd_bus_message_unref))

    def _error(self, number: int, error: Any) -> BusError:
        name, text = (self._ffi.string(field).decode() if field else "" for field in (error.name, error.message))
        self._lib.sd_bus_error_free(error)
        return BusError(name, text or name or os.strerror(number), number)

    def _append(self, message: Any, signature: str, value: Any) -> None:
        """One value of a single complete type."""
        letter = signature[0]
        if letter in "sog":
            self._check(self._lib.sd_bus_message_append_basic(message, letter.encode(), self._text(value)), signature)
        elif letter in _C_TYPES:
            data = self._ffi.new(_C_TYPES[letter], value)
            self._check(self._lib.sd_bus_message_append_basic(message, letter.encode(), data), signature)
        elif letter == "a":
            items = value.items() if isinstance(value, dict) else value
            self._container(message, "a", signature[1:], [(signature[1:], item) for item in items])
        elif letter == "v":
            self._container(message, "v", value[0], [value])
        else:
            kind = "r" if letter == "(" else "e"
            types = gvariant.split(signature[1:-1])
            self._container(message, kind, signature[1:-1], list(zip(types, value, strict=True)))

    def _text(self, value: str) -> Any:
        if "\0" in value:
            raise Error(f"{value!r} has a null character")
        return self._ffi.new("char[]", value.encode())

    def _container(self, message: Any, kind: str, contents: str, items: list[tuple[str, Any]]) -> None:
        self._check(self._lib.sd_bus_message_open_container(message, kind.encode(), contents.encode()), contents)
        for signature, value in items:
            self._append(message, signature, value)
        self._check(self._lib.sd_bus_message_close_container(message), contents)

    def signal(self, interface: str, member: str, deadline: float) -> Reply | None:
        """The next signal of this kind, also one that has come during a call; None when time is up."""
        lib, pointer = self._lib, self._ffi.new("sd_bus_message **")
        while True:
            if self._check_interruptible(lib.sd_bus_process(self._bus, pointer)) > 0:
                if not pointer[0]:
                    continue
                message = self._ffi.gc(pointer[0], lib.sd_bus_message_unref)
                if lib.sd_bus_message_is_signal(message, interface.encode(), member.encode()) > 0:
                    return Reply(self, message)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._check_interruptible(lib.sd_bus_wait(self._bus, int(left * _USEC) + 1))

    def _check_interruptible(self, code: int) -> int:
        return 0 if code == -errno.EINTR else self._check(code, "sd_bus_process")

    def close(self) -> None:
        """Now, and not when the garbage collector comes."""
        self._ffi.gc(self._bus, None)
        self._lib.sd_bus_flush_close_unref(self._bus)
        self._bus = self._ffi.NULL


class Reply:
    """A message to read from, value by value."""

    __slots__ = ("_bus", "_message")

    def __init__(self, bus: Bus, message: Any) -> None:
        self._bus = bus
        self._message = message

    def texts(self, signature: str) -> list[str]:
        """A value for each letter of `signature`."""
        return [str(self._read(letter)) for letter in signature]

    def variant(self, signature: str) -> str:
        """A variant of a basic type."""
        enter = self._bus._lib.sd_bus_message_enter_container
        self._bus._check(enter(self._message, b"v", signature.encode()), signature)
        return str(self._read(signature))

    def _read(self, letter: str) -> Any:
        ffi, lib = self._bus._ffi, self._bus._lib
        data = ffi.new("const char **" if letter in "sog" else _C_TYPES[letter])
        self._bus._check(lib.sd_bus_message_read_basic(self._message, letter.encode(), data), letter)
        return ffi.string(data[0]).decode() if letter in "sog" else data[0]
