"""Compile a linux.seccomp section with libseccomp. Not on the hot path: libcontainer.seccomp keeps results.

A program is the ENOSYS stub, written here, and then libseccomp's filter. The stub answers ENOSYS to system
calls newer than the profile, whatever its default action: on ENOSYS libc falls back, EPERM it reports.
"""

from __future__ import annotations

import os
import struct
from errno import EDOM, EEXIST

from libcontainer.errors import Error, InvalidSpec, SyscallError, Unsupported
from libcontainer.seccomp import (
    FLAG_LOG,
    FLAG_NEW_LISTENER,
    FLAG_SPEC_ALLOW,
    FLAG_WAIT_KILLABLE_RECV,
    INSTRUCTION_SIZE,
    MAX_INSTRUCTIONS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from nsexec._seccomp import _Context

    Condition = tuple[int, int, int, int]  # struct scmp_arg_cmp
    Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k

# linux/seccomp.h, SECCOMP_RET_*
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_TRAP": 0x00030000,
}
# seccomp.h, enum scmp_compare
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
# TSYNC is for threads; the filter is loaded by a process that has one.
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}
ARCHITECTURES = (
    *("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64"),
    *("SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32"),
    *(
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
    ),
    *("SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"),
)

# libseccomp's token of x32; for the kernel x32 is x86_64 with bit 30 set in the number.
_X32 = 0x4000003E
_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_S390 = (0x00000016, 0x80000016)

_EPERM = 1
_ENOSYS = 38
_MAX_ERRNO = 4094  # libseccomp takes less than the kernel's MAX_ERRNO
_NOTIFY_API_LEVEL = 6
_TREE_RULES = 32
_MAX_ARGUMENTS = 6

# linux/bpf_common.h; struct seccomp_data has the number at 0 and the architecture at 4.
_LOAD_NUMBER = (0x20, 0, 0, 0)
_LOAD_ARCHITECTURE = (0x20, 0, 0, 4)
_JUMP, _JUMP_IF_EQUAL, _JUMP_IF_GREATER, _JUMP_IF_SET, _RETURN = 0x05, 0x15, 0x25, 0x45, 0x06
# Targets that get their distance when the stub is complete.
_TO_FILTER, _TO_ENOSYS = -1, -2


class Rule:
    """What to do (`action`, a SECCOMP_RET value) about one system call of the profile."""

    __slots__ = ("action", "conditions", "name", "path")

    def __init__(self, path: str, name: str, action: int, conditions: list[Condition]) -> None:
        self.path = path
        self.name = name
        self.action = action
        self.conditions = conditions

    def alternatives(self) -> list[list[Condition]]:
        """Its conditions as libseccomp takes them: one list if all must hold, several if any of them.

        libseccomp has no rule with two conditions on one argument; such a profile means "any".
        """
        indices = [condition[0] for condition in self.conditions]
        if len(set(indices)) < len(indices):
            return [[condition] for condition in self.conditions]
        return [self.conditions]


class Profile:
    """A linux.seccomp section whose every value has been checked. `flags` is None if absent."""

    __slots__ = ("architectures", "default", "flags", "rules")

    def __init__(self, section: Mapping[str, Any]) -> None:
        path = "linux.seccomp"
        default, errno = section.get("defaultAction"), section.get("defaultErrnoRet")
        self.default = _action(f"{path}.defaultAction", default, errno)
        if self.default == NOTIFY:
            raise InvalidSpec(f"{path}.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
        self.architectures = _architectures(f"{path}.architectures", section.get("architectures") or ())
        self.flags = _flags(f"{path}.flags", section.get("flags"))
        self.rules = list(_rules(f"{path}.syscalls", section.get("syscalls") or ()))
        if self.notifies() and not section.get("listenerPath"):
            raise InvalidSpec(f"{path}.listenerPath", "seccomp listenerPath is not set")

    def notifies(self) -> bool:
        return any(rule.action == NOTIFY for rule in self.rules)


def _action(path: str, name: object, errno: int | None) -> int:
    action = ACTIONS.get(str(name or ""))
    if action is None:
        raise InvalidSpec(path, f"string {name or ''} is not a valid action for seccomp")
    if action not in (ERRNO, TRACE):
        return action
    errno = _EPERM if errno is None else errno
    greatest = _MAX_ERRNO if action == ERRNO else 0xFFFF
    if not 0 <= errno <= greatest:
        raise InvalidSpec(path, f"errno {errno} is not in the range 0 to {greatest}")
    return action | errno


def _architectures(path: str, names: Iterable[str]) -> list[str]:
    known = list(dict.fromkeys(names))
    for index, name in enumerate(known):
        if name not in ARCHITECTURES:
            raise InvalidSpec(f"{path}[{index}]", f"string {name} is not a valid arch for seccomp")
    return known


def _flags(path: str, names: Iterable[str] | None) -> int | None:
    if names is None:
        return None
    flags = 0
    for index, name in enumerate(names):
        if name not in FLAGS:
            raise InvalidSpec(f"{path}[{index}]", f"seccomp flag {name} is not known to runc")
        flags |= FLAGS[name]
    return flags


def _rules(path: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[Rule]:
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]"
        action = _action(f"{where}.action", entry.get("action"), entry.get("errnoRet"))
        arguments = enumerate(entry.get("args") or ())
        conditions = [_condition(f"{where}.args[{i}]", argument) for i, argument in arguments]
        for i, name in enumerate(entry.get("names") or ()):
            rule = Rule(f"{where}.names[{i}]", name, action, conditions)
            if not name:
                raise InvalidSpec(rule.path, "empty string is not a valid syscall")
            _refuse_notify_on_write(rule)
            yield rule


def _refuse_notify_on_write(rule: Rule) -> None:
    """Whoever hands out the listener must write before an agent can answer: it would wait for ever."""
    if rule.action == NOTIFY and rule.name == "write":
        raise InvalidSpec(rule.path, "SCMP_ACT_NOTIFY cannot be used for the write syscall")


def _condition(path: str, argument: Mapping[str, Any]) -> Condition:
    name = argument.get("op") or ""
    operator = OPERATORS.get(name)
    if operator is None:
        raise InvalidSpec(f"{path}.op", f"string {name} is not a valid operator for seccomp")
    index = argument.get("index") or 0
    if not 0 <= index < _MAX_ARGUMENTS:
        raise InvalidSpec(f"{path}.index", f"system calls have up to 6 arguments, there is no index {index}")
    return index, operator, _operand(path, argument, "value"), _operand(path, argument, "valueTwo")


def _operand(path: str, argument: Mapping[str, Any], key: str) -> int:
    value: int = argument.get(key) or 0
    if not 0 <= value < 1 << 64:
        raise InvalidSpec(f"{path}.{key}", f"{value} is not an unsigned 64-bit integer")
    return value


def compile_profile(section: Mapping[str, Any]) -> tuple[bytes, int]:
    """The program (an array of struct sock_filter) and the seccomp(2) flags of a linux.seccomp section."""
    profile = Profile(section)
    try:
        compiler = _Compiler(profile)
    except ImportError as err:
        raise Unsupported("seccomp: libseccomp is not installed") from err
    flags = compiler.flags()
    program = compiler.enosys_stub() + compiler.filter()
    if len(program) > MAX_INSTRUCTIONS * INSTRUCTION_SIZE:
        length = len(program) // INSTRUCTION_SIZE
        raise Error(f"seccomp: the filter has {length} instructions, the kernel takes {MAX_INSTRUCTIONS}")
    return program, flags


def kernel_knows(flag: str) -> bool:
    """Whether the running kernel has a filter flag (TSYNC, which is never passed on, always counts)."""
    from nsexec._seccomp import lib

    listener = FLAG_NEW_LISTENER if FLAGS[flag] == FLAG_WAIT_KILLABLE_RECV else 0
    return bool(lib.nsexec_seccomp_flags_known(FLAGS[flag] | listener))


def known_architectures() -> list[str]:
    """Those that can be in a filter here: that this libseccomp knows, and that have this machine's byte order."""
    from nsexec._seccomp import lib

    context = lib.seccomp_init(ALLOW)
    try:
        tokens = {name: _token(name) for name in ARCHITECTURES}
        return [name for name, token in tokens.items() if token and lib.seccomp_arch_add(context, token) in (0, -EEXIST)]
    finally:
        lib.seccomp_release(context)


def _token(name: str) -> int:
    """libseccomp's number of an architecture, 0 if it does not know it."""
    from nsexec._seccomp import lib

    return lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())


def library() -> bytes:
    """The path of the libseccomp in use."""
    from nsexec._seccomp import ffi, lib

    return ffi.string(lib.nsexec_seccomp_library())


class _Compiler:
    """One profile and the libseccomp that knows about its architectures."""

    __slots__ = ("architectures", "ffi", "lib", "native", "profile")

    def __init__(self, profile: Profile) -> None:
        from nsexec._seccomp import ffi, lib

        self.ffi = ffi
        self.lib = lib
        self.profile = profile
        self.native = lib.seccomp_arch_native()
        self.architectures = {self.native: "the machine's"}  # token -> name
        for name in profile.architectures:
            token = _token(name)
            if not token:
                raise Unsupported(f"linux.seccomp.architectures: this libseccomp does not know {name}")
            self.architectures[token] = name

    def _number(self, architecture: int, name: str) -> int:
        """The number of a system call; -1 if unknown, less if only other architectures have it."""
        return self.lib.seccomp_syscall_resolve_name_arch(architecture, name.encode(errors="replace"))

    def flags(self) -> int:
        """The flags asked for, or the default ones, as far as this kernel has them."""
        flags = FLAG_SPEC_ALLOW if self.profile.flags is None else self.profile.flags
        if not self.lib.nsexec_seccomp_flags_known(FLAG_SPEC_ALLOW):
            flags &= ~FLAG_SPEC_ALLOW  # without it there is only more mitigation
        if self.profile.notifies():
            self._need_notify()
            flags |= FLAG_NEW_LISTENER
        else:
            flags &= ~FLAG_WAIT_KILLABLE_RECV  # the kernel refuses it where there is no listener
        if not self.lib.nsexec_seccomp_flags_known(flags):
            raise Unsupported(f"linux.seccomp.flags: the kernel does not know all of {flags:#x}")
        return flags

    def _need_notify(self) -> None:
        level = self.lib.seccomp_api_get()
        if level < _NOTIFY_API_LEVEL:
            raise Unsupported(
                f"seccomp notify unsupported: API level: got {level}, want at least {_NOTIFY_API_LEVEL}. "
                "Please try with libseccomp >= 2.5.0 and Linux >= 5.7"
            )

    def filter(self) -> bytes:
        """libseccomp's program of the profile."""
        context = self.lib.seccomp_init(self.profile.default)
        if context == self.ffi.NULL:
            action = self.profile.default
            raise Unsupported(f"linux.seccomp.defaultAction: the kernel does not know {action:#x}")
        try:
            self._add_architectures(context)
            self._add_rules(context)
            return self._export(context)
        finally:
            self.lib.seccomp_release(context)

    def _add_architectures(self, context: _Context) -> None:
        for token, name in self.architectures.items():
            if token == self.native:  # every context has that one
                continue
            added = self.lib.seccomp_arch_add(context, token)
            if added == -EDOM:
                raise Unsupported(
                    f"linux.seccomp.architectures: {name} has another byte order than this machine, "
                    "and no filter can hold both: remove it, no program of it runs here"
                )
            _check("seccomp_arch_add", added)

    def _add_rules(self, context: _Context) -> None:
        rules = [rule for rule in self.profile.rules if self._matters(rule)]
        for rule in rules:
            self._add_rule(context, rule)
        if len(rules) > _TREE_RULES and self._every_architecture_has_one_of(rules):
            optimize = self.lib.SCMP_FLTATR_CTL_OPTIMIZE
            _check("seccomp_attr_set", self.lib.seccomp_attr_set(context, optimize, 2))

    def _matters(self, rule: Rule) -> bool:
        return rule.action != self.profile.default and self._number(self.native, rule.name) != -1

    def _every_architecture_has_one_of(self, rules: list[Rule]) -> bool:
        """libseccomp <= 2.5.3 loses the default action in a binary tree without rules (its issue 370)."""
        return all(any(self._number(token, rule.name) >= 0 for rule in rules) for token in self.architectures)

    def _add_rule(self, context: _Context, rule: Rule) -> None:
        number = self._number(self.native, rule.name)
        try:
            for conditions in rule.alternatives():
                array = self.ffi.new("struct scmp_arg_cmp[]", conditions)
                added = self.lib.seccomp_rule_add_array(context, rule.action, number, len(conditions), array)
                _check("seccomp_rule_add_array", added)
        except SyscallError as err:
            raise Error(f"{rule.path}: error adding seccomp filter rule for syscall {rule.name}") from err

    def _export(self, context: _Context) -> bytes:
        """The program, by way of a file: libseccomp before 2.6 writes to nothing else."""
        fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            _check("seccomp_export_bpf", self.lib.seccomp_export_bpf(context, fd))
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)

    def enosys_stub(self) -> bytes:
        """Instructions to put before the filter; none if its default action lets system calls through."""
        if self.profile.default in (ALLOW, LOG) or self.profile.default & ~0xFFFF == TRACE:
            return b""
        return assemble_enosys_stub(self._greatest_numbers())

    def _greatest_numbers(self) -> dict[int, list[int]]:
        """For each architecture of the kernel's, the greatest number that the profile names in each ABI."""
        greatest: dict[int, list[int]] = {}
        for token in self.architectures:
            number = max((self._number(token, rule.name) for rule in self.profile.rules), default=-1)
            if number >= 0:
                greatest.setdefault(_X86_64 if token == _X32 else token, []).append(number)
        return greatest


def assemble_enosys_stub(greatest: Mapping[int, list[int]]) -> bytes:
    """Code that returns ENOSYS above an architecture's greatest number, and else falls into the filter."""
    code: list[Instruction] = [_LOAD_ARCHITECTURE]
    for architecture, numbers in greatest.items():
        body = _enosys_section(architecture, sorted(numbers))
        code += [(_JUMP_IF_EQUAL, 0, len(body), architecture), *body]
    code += [(_JUMP, 0, 0, 1), (_RETURN, 0, 0, ERRNO | _ENOSYS)]
    targets = {_TO_FILTER: len(code), _TO_ENOSYS: len(code) - 1}
    return b"".join(_assemble(instruction, index + 1, targets) for index, instruction in enumerate(code))


def _enosys_section(architecture: int, numbers: list[int]) -> list[Instruction]:
    body: list[Instruction] = [_LOAD_NUMBER]
    if architecture in _S390:
        # Number 0 of s390 is no system call: it marks one that passes its number in a register (svc 0).
        body.append((_JUMP_IF_EQUAL, _TO_ENOSYS, 0, 0))
    if len(numbers) > 1:  # x86_64 and x32: the smaller is x86_64's
        body.append((_JUMP_IF_SET, 1, 0, _X32_BIT))
    body += [(_JUMP_IF_GREATER, _TO_ENOSYS, _TO_FILTER, number) for number in numbers]
    return body


def _assemble(instruction: Instruction, following: int, targets: Mapping[int, int]) -> bytes:
    code, if_true, if_false, operand = instruction
    distances = [targets[to] - following if to in targets else to for to in (if_true, if_false)]
    return struct.pack("=HBBI", code, *distances, operand)


def _check(call: str, result: int) -> None:
    if result < 0:
        raise SyscallError(call, -result)
