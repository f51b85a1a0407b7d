"""Profiles: what is refused in which words; flags; the cache, which never trusts what others wrote."""

from __future__ import annotations

import array
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcontainer import jsonfast, seccomp, seccomp_compiler
from libcontainer.errors import Error, InvalidID, InvalidSpec, SyscallError, Unsupported, describe
from libcontainer.state import check_id
from nsexec import _seccomp
from tests import bpf

CHMOD = 90
PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}],
}
NOTIFY: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_NOTIFY"}],
    "listenerPath": "/run/agent",
    "listenerMetadata": "data",
}
x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="uses numbers of x86_64")


def compiled(profile: dict[str, Any], cache: Path | None = None) -> seccomp.Filter:
    result = seccomp.load(profile, str(cache) if cache else None)
    assert result is not None
    return result


class PatchedLibrary:
    """libseccomp with some functions replaced."""

    def __init__(self, **functions: object) -> None:
        self._real = _seccomp.lib
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def patch_library(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    monkeypatch.setattr(_seccomp, "lib", PatchedLibrary(**functions))


# Disabled, refused


@pytest.mark.parametrize("profile", [{}, {"defaultAction": "", "syscalls": []}, {"syscalls": None, "flags": ["x"]}])
def test_nothing_asked_for_is_no_filter(profile: dict[str, Any]) -> None:
    assert seccomp.load(profile, None) is None


def rule(**fields: object) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"} | fields],
    }


def condition(**fields: object) -> dict[str, Any]:
    return rule(args=[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"} | fields])


DEFAULT = {"defaultAction": "SCMP_ACT_ALLOW"}
REFUSED = [
    ({"syscalls": [{"names": ["a"]}]}, "defaultAction: string  is not a valid action for seccomp"),
    ({"defaultAction": "ALLOW"}, "defaultAction: string ALLOW is not a valid action for seccomp"),
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"),
    (
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095},
        "defaultAction: errno 4095 is not in the range 0 to 4094",
    ),
    (
        {"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536},
        "defaultAction: errno 65536 is not in the range 0 to 65535",
    ),
    (
        DEFAULT | {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_VAX"]},
        "architectures[1]: string SCMP_ARCH_VAX is not a valid arch for seccomp",
    ),
    (DEFAULT | {"flags": ["FLAG"]}, "flags[0]: seccomp flag FLAG is not known to runc"),
    (rule(names=["chmod", ""]), "syscalls[0].names[1]: empty string is not a valid syscall"),
    (rule(action="NO"), "syscalls[0].action: string NO is not a valid action for seccomp"),
    (rule(errnoRet=-1), "syscalls[0].action: errno -1 is not in the range 0 to 4094"),
    (condition(op="EQ"), "syscalls[0].args[0].op: string EQ is not a valid operator for seccomp"),
    (
        condition(index=6),
        "syscalls[0].args[0].index: system calls have up to 6 arguments, there is no index 6",
    ),
    (condition(value=1 << 64), f"syscalls[0].args[0].value: {1 << 64} is not an unsigned 64-bit integer"),
    (condition(valueTwo=-1), "syscalls[0].args[0].valueTwo: -1 is not an unsigned 64-bit integer"),
    (rule(action="SCMP_ACT_NOTIFY"), "listenerPath: seccomp listenerPath is not set"),
    (
        rule(names=["chmod", "write"], action="SCMP_ACT_NOTIFY"),
        "syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
]


@pytest.mark.parametrize(("profile", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused_with_path_and_reason(profile: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        seccomp.load(profile, None)
    assert str(caught.value) == f"linux.seccomp.{text}"


def test_two_actions_for_the_same_condition_are_refused() -> None:
    first, second = condition()["syscalls"][0], condition()["syscalls"][0] | {"errnoRet": 2}
    with pytest.raises(Error) as caught:
        seccomp.load(DEFAULT | {"syscalls": [first, second]}, None)
    start = "linux.seccomp.syscalls[1].names[0]: error adding seccomp filter rule for syscall chmod: "
    assert describe(caught.value).startswith(start)


def test_a_host_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nsexec._seccomp", None)
    assert seccomp.load({}, None) is None
    with pytest.raises(Unsupported, match=r"seccomp: libseccomp is not installed"):
        seccomp.load(PROFILE, None)


def test_notify_needs_the_api_level(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, seccomp_api_get=lambda: 5)
    with pytest.raises(Unsupported) as caught:
        seccomp.load(NOTIFY, None)
    assert str(caught.value) == (
        "seccomp notify unsupported: API level: got 5, want at least 6. Please try with libseccomp >= 2.5.0 and Linux >= 5.7"
    )


def test_an_architecture_that_this_libseccomp_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, seccomp_arch_resolve_name=lambda name: 0)
    with pytest.raises(Unsupported, match=r"this libseccomp does not know SCMP_ARCH_LOONGARCH64"):
        seccomp.load(DEFAULT | {"architectures": ["SCMP_ARCH_LOONGARCH64"], "syscalls": PROFILE["syscalls"]}, None)


@x86_64
def test_an_architecture_of_another_byte_order() -> None:
    text = "linux.seccomp.architectures: SCMP_ARCH_S390X has another byte order than this machine, and no filter can hold both"
    with pytest.raises(Unsupported, match=text):
        compiled(PROFILE | {"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_S390X"]})


@x86_64
def test_the_architectures_that_can_be_in_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    known = seccomp_compiler.known_architectures()
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"} <= set(known)
    assert not {"SCMP_ARCH_S390X", "SCMP_ARCH_MIPS", "SCMP_ARCH_PPC64"} & set(known)
    patch_library(monkeypatch, seccomp_arch_resolve_name=lambda name: int(name == b"x86") * 0x40000003)
    assert seccomp_compiler.known_architectures() == ["SCMP_ARCH_X86"]


def test_a_filter_longer_than_the_kernel_takes() -> None:
    values = [{"index": 0, "value": i << 33, "op": "SCMP_CMP_EQ"} for i in range(1500)]
    with pytest.raises(Error, match=r"seccomp: the filter has \d+ instructions, the kernel takes 4096"):
        seccomp.load(rule(args=values), None)


# Flags


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"], 6),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),
    ],
)
def test_flags(flags: list[str] | None, value: int) -> None:
    assert compiled(PROFILE | {"flags": flags}).flags == value


def test_a_notify_rule_asks_for_a_listener() -> None:
    result = compiled(NOTIFY)
    assert (result.notify, result.flags) == (True, 4 | 8)
    assert (result.listener_path, result.listener_metadata) == ("/run/agent", "data")
    assert not compiled(PROFILE | {"listenerPath": "/run/agent"}).notify


def test_wait_killable_goes_with_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, nsexec_seccomp_flags_known=lambda flags: 1)
    assert compiled(NOTIFY | {"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}).flags == 32 | 8


def test_spec_allow_is_dropped_on_a_kernel_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, nsexec_seccomp_flags_known=lambda flags: int(not flags & 4))
    assert compiled(PROFILE).flags == 0
    assert compiled(PROFILE | {"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}).flags == 0


def test_another_flag_that_the_kernel_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, nsexec_seccomp_flags_known=lambda flags: int(not flags & 2))
    with pytest.raises(Unsupported, match=r"linux.seccomp.flags: the kernel does not know all of 0x2"):
        compiled(PROFILE | {"flags": ["SECCOMP_FILTER_FLAG_LOG"]})


# Programs


@x86_64
def test_unknown_names_and_rules_equal_to_the_default_are_skipped() -> None:
    syscalls = [{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]
    syscalls += [{"names": ["chmod"], "action": "SCMP_ACT_ALLOW"}]
    program = compiled(DEFAULT | {"syscalls": syscalls}).program
    assert {bpf.run(program, bpf.X86_64, number) for number in range(500)} == {bpf.ALLOW}


@x86_64
def test_stub_covers_the_native_architecture_of_an_empty_list() -> None:
    profile = {"defaultAction": "SCMP_ACT_KILL", "syscalls": PROFILE["syscalls"], "architectures": []}
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, CHMOD - 1) == bpf.KILL
    assert bpf.run(program, bpf.X86_64, CHMOD) == bpf.ERRNO | 1
    assert bpf.run(program, bpf.X86_64, CHMOD + 1) == bpf.ENOSYS


@x86_64
def test_stub_counts_rules_that_the_filter_skips() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO"}],
    }
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, 435) == bpf.ERRNO | 1
    assert bpf.run(program, bpf.X86_64, 436) == bpf.ENOSYS


@x86_64
@pytest.mark.parametrize("action", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_no_stub_where_the_default_lets_calls_through(action: str) -> None:
    program = compiled(PROFILE | {"defaultAction": action}).program
    assert bpf.run(program, bpf.X86_64, 9999) & 0xFFFF0000 == seccomp_compiler.ACTIONS[action]


@x86_64
def test_x32_and_x86_64_have_each_their_limit() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_KILL",
        "architectures": ["SCMP_ARCH_X32"],
        "syscalls": [{"names": ["chmod", "preadv2"], "action": "SCMP_ACT_ALLOW"}],  # preadv2: 327 and 546
    }
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, 327) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, 328) == bpf.ENOSYS
    assert bpf.run(program, bpf.X86_64, bpf.X32_BIT | 546) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, bpf.X32_BIT | 545) == bpf.KILL
    assert bpf.run(program, bpf.X86_64, bpf.X32_BIT | 547) == bpf.ENOSYS


@x86_64
def test_more_than_32_rules_make_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []

    def set_attribute(_context: object, _attribute: int, value: int) -> int:
        levels.append(value)
        return 0

    known = (
        "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk ioctl access pipe select "
        "mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep getpid alarm fork vfork "
        "execve"
    ).split()
    assert len(known) == 33
    patch_library(monkeypatch, seccomp_attr_set=set_attribute)
    compiled(rule(names=known[:32]))
    assert levels == []
    compiled(rule(names=[*known[:32], "no_such_call"]))
    assert levels == []
    compiled(rule(names=known))
    assert levels == [2]


def test_errors_of_libseccomp_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_library(monkeypatch, seccomp_export_bpf=lambda context, fd: -12)
    with pytest.raises(SyscallError, match="Cannot allocate") as caught:
        compiled(PROFILE)
    assert (caught.value.call, caught.value.errno) == ("seccomp_export_bpf", 12)


# The cache


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A state root, as `create` has made it before it asks for a filter."""
    root = tmp_path / "root"
    root.mkdir(0o700)
    return root


def compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one with each profile that is compiled."""
    calls: list[object] = []
    compile_profile = seccomp_compiler.compile_profile

    def counted(section: Any) -> tuple[bytes, int]:
        calls.append(section)
        return compile_profile(section)

    monkeypatch.setattr(seccomp_compiler, "compile_profile", counted)
    return calls


def entry_of(cache: Path) -> Path:
    (entry,) = cache.iterdir()
    return entry


def test_a_hit_compiles_nothing_and_is_the_same(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = compiled(NOTIFY, cache)
    calls = compilations(monkeypatch)
    second = compiled(NOTIFY, cache)
    assert calls == []
    for name in seccomp.Filter.__slots__:
        assert getattr(first, name) == getattr(second, name)


def test_a_hit_needs_no_libseccomp_loaded(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    first = compiled(PROFILE, cache)
    monkeypatch.setitem(sys.modules, "nsexec._seccomp", None)
    assert compiled(PROFILE, cache).program == first.program


def test_modes(cache: Path) -> None:
    old = os.umask(0)
    try:
        compiled(PROFILE, cache)
    finally:
        os.umask(old)
    assert stat.S_IMODE(entry_of(cache).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_LOG"},
        {"flags": []},
        {"architectures": ["SCMP_ARCH_X86_64"]},
        {"syscalls": [{"names": ["chown"], "action": "SCMP_ACT_ERRNO"}]},
    ],
)
def test_another_profile_is_another_entry(cache: Path, change: dict[str, Any]) -> None:
    compiled(PROFILE, cache)
    compiled(PROFILE | change, cache)
    assert len(list(cache.iterdir())) == 2


def test_equal_profiles_share_an_entry_however_they_were_made(cache: Path) -> None:
    compiled(PROFILE, cache)
    action = "".join(["SCMP_ACT", "_ERRNO"])  # not interned, one reference
    compiled({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod"], "action": action}]}, cache)
    assert len(list(cache.iterdir())) == 1


def test_another_kernel_is_another_entry(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)
    system = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*system[:2], "6.99.0", *system[3:])))
    compiled(PROFILE, cache)
    assert len(list(cache.iterdir())) == 2


def flip(entry: Path, at: int) -> None:
    content = bytearray(entry.read_bytes())
    content[at] ^= 1
    entry.write_bytes(content)


def symlinked(entry: Path) -> None:
    target = entry.parent.parent / "elsewhere"
    entry.rename(target)
    entry.symlink_to(target)


def fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


DAMAGE = {
    "first byte of the checksum": lambda entry: flip(entry, 0),
    "flags": lambda entry: flip(entry, 16),
    "last byte of the program": lambda entry: flip(entry, -1),
    "truncated": lambda entry: os.truncate(entry, entry.stat().st_size - 8),
    "truncated to nothing": lambda entry: os.truncate(entry, 0),
    "longer": lambda entry: os.truncate(entry, entry.stat().st_size + 8),
    "enormous": lambda entry: os.truncate(entry, 1 << 24),
    "writable by a group": lambda entry: entry.chmod(0o660),
    "writable by all": lambda entry: entry.chmod(0o602),
    "a symbolic link": symlinked,
    "a fifo": fifo,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_ignored_and_replaced(monkeypatch: pytest.MonkeyPatch, cache: Path, damage: Any) -> None:
    first = compiled(PROFILE, cache)
    calls = compilations(monkeypatch)
    damage(entry_of(cache))
    second = compiled(PROFILE, cache)
    assert len(calls) == 1
    assert second.program == first.program
    third = compiled(PROFILE, cache)
    assert len(calls) == 1
    assert third.program == first.program


def test_an_entry_under_another_name_is_ignored(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)
    content = entry_of(cache).read_bytes()
    strict = PROFILE | {"defaultAction": "SCMP_ACT_ERRNO"}
    compiled(strict, cache)
    for entry in cache.iterdir():
        entry.write_bytes(content)
    calls = compilations(monkeypatch)
    assert compiled(strict, cache).program != compiled(PROFILE, cache).program
    assert calls == [strict]


def test_an_upgrade_of_libseccomp_is_a_miss(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)
    stamp = seccomp._stamp(seccomp_compiler.library())
    calls = compilations(monkeypatch)
    monkeypatch.setattr(seccomp, "_stamp", lambda library: [*stamp[:2], stamp[2] + 1])
    compiled(PROFILE, cache)
    assert len(calls) == 1


def test_an_uninstalled_libseccomp_is_a_miss(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)

    def gone(library: bytes) -> list[int]:
        raise FileNotFoundError(library)

    monkeypatch.setattr(seccomp, "_stamp", gone)
    calls = compilations(monkeypatch)
    compiled(PROFILE, cache)
    assert len(calls) == 1


def test_a_directory_that_others_can_write_is_not_used(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)
    cache.chmod(0o722)
    calls = compilations(monkeypatch)
    compiled(PROFILE, cache)
    compiled(PROFILE | {"flags": []}, cache)
    assert len(calls) == 2
    assert len(list(cache.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_nothing_of_another_owner_is_used(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    compiled(PROFILE, cache)
    calls = compilations(monkeypatch)
    os.chown(entry_of(cache), 1234, 0)
    compiled(PROFILE, cache)
    assert len(calls) == 1
    os.chown(cache, 1234, 0)
    compiled(PROFILE, cache)
    assert len(calls) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="chown")
def test_behind_a_symbolic_link_the_directory_counts(tmp_path: Path, cache: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(cache)
    compiled(PROFILE, link)
    assert len(list(cache.iterdir())) == 1
    os.chown(cache, 1234, 0)
    compiled(PROFILE | {"flags": []}, link)
    assert len(list(cache.iterdir())) == 1


def test_entries_are_plain_files_with_a_name_that_no_container_has(cache: Path) -> None:
    compiled(PROFILE, cache)
    assert entry_of(cache).is_file()
    with pytest.raises(InvalidID):
        check_id(entry_of(cache).name)


def test_no_place_for_a_cache_is_no_error(tmp_path: Path) -> None:
    program = compiled(PROFILE).program
    assert compiled(PROFILE, tmp_path / "no" / "parent").program == program
    (tmp_path / "file").touch()
    assert compiled(PROFILE, tmp_path / "file").program == program


def test_a_full_disk_is_no_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def write(_fd: int, _data: bytes) -> int:
        raise OSError(28, "no space")

    with monkeypatch.context() as context:
        context.setattr(os, "write", write)
        compiled(PROFILE, cache)
    assert list(cache.iterdir()) == []


def test_values_that_are_no_plain_json_are_compiled_without_cache(cache: Path) -> None:
    class Word(str):
        """As an enumeration of strings would be."""

    result = compiled(PROFILE | {"defaultAction": Word("SCMP_ACT_ALLOW")}, cache)
    assert result.program == compiled(PROFILE).program
    assert list(cache.iterdir()) == []


def test_a_large_cache_loses_its_older_half(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(seccomp, "_MAX_ENTRIES", 4)
    (cache / "a-container").mkdir()
    os.utime(cache / "a-container", (1, 1))
    for age in range(4):
        (cache / f".seccomp-old{age}").touch()
        os.utime(cache / f".seccomp-old{age}", (1000 - age, 1000 - age))
    compiled(PROFILE, cache)
    names = {entry.name for entry in cache.iterdir()}
    assert {name for name in names if "old" in name} == {".seccomp-old0", ".seccomp-old1"}
    assert "a-container" in names
    assert len(names) == 4


# The agent


def agent_at(address: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(address)
    server.listen()
    return server


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[socket.socket]:
    with agent_at(str(tmp_path / "agent")) as server:
        yield server


NO_AGENT = "failed to connect with seccomp agent specified in the seccomp profile"
STATE = {"ociVersion": "1.3.0", "id": "c", "status": "creating", "pid": 42, "bundle": "/b"}


@pytest.mark.parametrize("metadata", ["", "some metadata"])
def test_the_agent_gets_the_state_and_the_descriptor(agent: socket.socket, metadata: str) -> None:
    reading, writing = os.pipe()
    seccomp.send_listener(agent.getsockname(), writing, STATE, 42, metadata)
    os.close(writing)
    connection, _ = agent.accept()
    with connection:
        text, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
        assert connection.recv(1) == b""
    wanted: dict[str, Any] = {"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 42, "state": STATE}
    assert jsonfast.loads(text) == (wanted | {"metadata": metadata} if metadata else wanted)
    ((level, kind, data),) = ancillary
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    (received,) = array.array("i", data)
    os.write(received, b"same pipe")
    assert os.read(reading, 100) == b"same pipe"
    os.close(received)
    os.close(reading)


def test_no_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody")
    with pytest.raises(Error) as caught:
        seccomp.send_listener(path, 0, STATE, 1, "")
    assert describe(caught.value) == f"{NO_AGENT}: {path}: no such file or directory"


def test_an_agent_at_an_abstract_address() -> None:
    name = f"pyrunc-test-{os.getpid()}"
    with agent_at(f"\0{name}") as agent:
        seccomp.send_listener(f"@{name}", 0, STATE, 42, "")
        connection, _ = agent.accept()
        with connection:
            assert jsonfast.loads(connection.recv(65536))["pid"] == 42


def test_an_agent_whose_path_is_longer_than_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with agent_at("agent") as agent:
        seccomp.send_listener(str(deep / "agent"), 0, STATE, 42, "")
        connection, _ = agent.accept()
        with connection:
            assert jsonfast.loads(connection.recv(65536))["pid"] == 42
    path = str(deep / "nobody")
    with pytest.raises(Error) as caught:
        seccomp.send_listener(path, 0, STATE, 1, "")
    assert describe(caught.value) == f"{NO_AGENT}: {path}: no such file or directory"


def test_a_descriptor_that_cannot_be_sent(agent: socket.socket) -> None:
    with pytest.raises(Error) as caught:
        seccomp.send_listener(agent.getsockname(), 1 << 20, STATE, 1, "")
    assert describe(caught.value) == f"cannot send seccomp fd to {agent.getsockname()}: bad file descriptor"
