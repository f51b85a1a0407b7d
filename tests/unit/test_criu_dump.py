"""What a checkpoint asks CRIU for: each flag, what is always sent, and what follows from the container and the host."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from libcontainer.criu import features, messages, network
from libcontainer.criu.failure import CriuFailed
from libcontainer.criu.options import CheckpointOptions, page_server, size, status_fd
from libcontainer.criu.progress import Progress, Sample
from libcontainer.errors import Error, Unsupported, describe
from pyrunc import commands
from pyrunc.log import Log
from pyrunc.options import Invocation
from tests.root.laboratory import Snapshot
from tests.unit.criu import FakeCriu, container_of, fake, process

__all__ = ["fake", "process"]

DUMPED = {"notify": ["pre-dump", "network-lock", "query-ext-files", "post-dump"]}


class Maker:
    """Makes checkpoints of one process, left alive."""

    def __init__(self, fake: FakeCriu, process: int, directory: Path) -> None:
        self.fake = fake
        self.process = process
        self.directory = directory
        self.log: list[tuple[str, str]] = []
        self.progress: Progress | None = None

    def checkpoint(self, config: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """The options that CRIU was sent."""
        container = container_of(self.process, self.directory, **(config or {}))
        container.log = lambda level, message, **_fields: self.log.append((level, message))
        options = {"image_path": str(self.directory / "images"), "leave_running": True, **options}
        if options.get("lazy_pages"):
            options.setdefault("page_server", ("127.0.0.1", 1))
        container.checkpoint(CheckpointOptions(**options), self.progress)
        kinds = (messages.DUMP, messages.PRE_DUMP, messages.SINGLE_PRE_DUMP)
        found: dict[str, Any] = next(packet["opts"] for packet in self.fake.packets if packet["type"] in kinds)
        return found


@pytest.fixture
def make(fake: FakeCriu, process: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setattr(features, "has_large_pipes", lambda: True)
    fake.says(features=["mem_track", "lazy_pages"], **DUMPED)
    return Maker(fake, process, tmp_path)


def test_what_is_refused_first_leaves_an_earlier_checkpoint_as_it_is(make: Maker, tmp_path: Path) -> None:
    """Its link to a parent, above all; a dump that is made does away with it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/parent").symlink_to("../pre")
    make.fake.says(features=[])
    with pytest.raises(Unsupported):
        make.checkpoint(pre_dump=True)
    assert (tmp_path / "images/parent").is_symlink()
    make.fake.says(**DUMPED)
    make.checkpoint()
    assert not (tmp_path / "images/parent").is_symlink()


def test_one_at_a_time(make: Maker, tmp_path: Path) -> None:
    """Two CRIUs hinder each other until both give up."""
    make.checkpoint()
    asked = len(make.fake.packets)
    other = os.open(tmp_path / "unit", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(Error, match="^another checkpoint of this container is being made: wait for its end$"):
        make.checkpoint(image_path=str(tmp_path / "second"))
    assert len(make.fake.packets) == asked
    assert not (tmp_path / "second").exists()
    os.close(other)
    make.checkpoint()


def test_what_is_always_sent(make: Maker) -> None:
    sent = make.checkpoint(leave_running=False)
    expected = {
        "pid": make.process,
        "log_level": 4,
        "log_file": "dump.log",
        "root": "/rootfs",
        "manage_cgroups": True,
        "manage_cgroups_mode": messages.CGROUPS_DEFAULT,
        "notify_scripts": True,
        "orphan_pts_master": True,
        "empty_ns": messages.CLONE_NEWNET,
        "freeze_cgroup": "/sys/fs/cgroup/freezer/pyrunc-unit-test",
        "config_file": "/etc/criu/runc.conf",
        "leave_running": False,
    }
    assert {name: sent.get(name) for name in expected} == expected
    assert {name for name, value in sent.items() if value is True} == {"manage_cgroups", "notify_scripts", "orphan_pts_master"}
    assert not {"parent_img", "track_mem", "ps", "timeout", "ghost_limit", "tcp_close"} & set(sent)


@pytest.mark.parametrize(
    "flag",
    [
        *("leave_running", "tcp_established", "tcp_skip_in_flight", "tcp_close", "ext_unix_sk", "shell_job"),
        *("file_locks", "link_remap", "auto_dedup", "lazy_pages"),
    ],
)
def test_each_switch_is_criu_s_of_the_same_name(make: Maker, flag: str) -> None:
    assert make.checkpoint(None, **{flag: True})[flag] is True


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"manage_cgroups_mode": "soft"}, {"manage_cgroups_mode": messages.CGROUPS_SOFT}),
        ({"manage_cgroups_mode": "full"}, {"manage_cgroups_mode": messages.CGROUPS_FULL}),
        ({"manage_cgroups_mode": "strict"}, {"manage_cgroups_mode": messages.CGROUPS_STRICT}),
        ({"manage_cgroups_mode": "ignore"}, {"manage_cgroups_mode": messages.CGROUPS_IGNORE}),
        ({"page_server": ("::1", 27)}, {"ps": {"address": "::1", "port": 27}}),
        ({"network_lock": "iptables"}, {"network_lock": messages.LOCK_IPTABLES}),
        ({"network_lock": "nftables"}, {"network_lock": messages.LOCK_NFTABLES}),
        ({"network_lock": "skip", "tcp_established": True}, {"network_lock": messages.LOCK_SKIP}),
        ({"timeout": 33}, {"timeout": 33}),
        ({"ghost_limit": 4096}, {"ghost_limit": 4096}),
    ],
)
def test_each_value_reaches_criu(make: Maker, given: dict[str, Any], sent: dict[str, Any]) -> None:
    asked = make.checkpoint(**given)
    assert {name: asked.get(name) for name in sent} == sent


def given(*flags: str) -> CheckpointOptions:
    """What the command makes of its flags."""
    module = commands.load("checkpoint")
    assert module is not None
    call = Invocation("pyrunc", Log())
    call.take_command(module.COMMAND, [*flags, "name"])
    options: CheckpointOptions = module.given(call)  # type: ignore[attr-defined]
    return options


@pytest.mark.parametrize(
    ("flags", "attribute", "value"),
    [
        *(([f"--{name}"], name.replace("-", "_"), True) for name in (
            *("leave-running", "tcp-established", "tcp-skip-in-flight", "tcp-close", "ext-unix-sk", "shell-job"),
            *("file-locks", "link-remap", "auto-dedup", "lazy-pages", "pre-dump"),
        )),
        (["--image-path", "i"], "image_path", "i"),
        (["--work-path", "w"], "work_path", "w"),
        (["--parent-path", "../p"], "parent_path", "../p"),
        (["--page-server", "[::1]:5"], "page_server", ("::1", 5)),
        (["--lazy-pages", "--status-fd", "2"], "status_fd", 2),
        (["--manage-cgroups-mode", "full"], "manage_cgroups_mode", messages.CGROUPS_FULL),
        (["--network-lock", "skip"], "network_lock", "skip"),
        (["--timeout", "77"], "timeout", 77),
        (["--ghost-limit", "3K"], "ghost_limit", 3072),
        (["--ext-mount", "/a=b", "--ext-mount", "/c=d"], "ext_mounts", {"/a": "b", "/c": "d"}),
    ],
)  # fmt: skip
def test_each_flag_is_an_option(flags: list[str], attribute: str, value: object) -> None:
    assert getattr(given(), attribute) != value
    assert getattr(given(*flags), attribute) == value


def test_every_option_has_a_flag() -> None:
    """Those above are all."""
    (table,) = (mark for mark in test_each_flag_is_an_option.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {attribute for _, attribute, _ in table.args[1]} == set(CheckpointOptions.__slots__)


def test_the_status_descriptor_is_that_of_lazy_pages() -> None:
    """As in runc: without them it is not even looked at."""
    assert given("--status-fd", "99").status_fd is None


def test_a_parent_is_tracked_memory(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "pre").mkdir()
    sent = make.checkpoint(parent_path="../pre")
    assert (sent["parent_img"], sent["track_mem"]) == ("../pre", True)


@pytest.mark.parametrize(
    ("parent", "text"),
    [
        ("/pre", "--parent-path must be relative"),
        ("../gone", "invalid --parent-path: stat ../gone: no such file or directory"),
        ("../file", "invalid --parent-path: stat ../file: not a directory"),
    ],
)
def test_a_wrong_parent_is_refused(make: Maker, tmp_path: Path, parent: str, text: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Error) as caught:
        make.checkpoint(parent_path=parent)
    assert describe(caught.value) == text
    assert make.fake.packets == []


@pytest.mark.parametrize("parent", [".", "../two", "../three"])
def test_a_parent_that_builds_on_what_is_replaced_is_refused(make: Maker, tmp_path: Path, parent: str) -> None:
    """The memory that the others lack would be overwritten, and the chain lead in a circle: no restore could follow it."""
    for name, below in (("two", "images"), ("three", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "parent").symlink_to(f"../{below}")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/pages-1.img").write_text("precious")
    with pytest.raises(Error) as caught:
        make.checkpoint(parent_path=parent, leave_running=False)
    assert str(caught.value) == (
        f"invalid --parent-path: {parent} is or builds on {tmp_path}/images, whose images this dump would replace"
    )
    assert make.fake.packets == []
    assert (tmp_path / "images/pages-1.img").read_text() == "precious"


@pytest.mark.parametrize(
    ("version", "kind"), [([3, 16, 1], messages.PRE_DUMP), ([3, 17, 0], messages.SINGLE_PRE_DUMP)]
)
def test_pre_dump_is_a_request_of_its_own(make: Maker, version: list[int], kind: int) -> None:
    make.fake.says(version=version, features=["mem_track"], notify=["pre-dump"])
    make.checkpoint(pre_dump=True, leave_running=False)
    assert make.fake.packets[-2]["type"] == kind
    assert os.path.exists(f"/proc/{make.process}")
    assert not (make.directory / "images/descriptors.json").exists()


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("pre_dump", "criu is missing features: [MemTrack]: this kernel does not track written memory"),
        ("lazy_pages", "criu is missing features: [LazyPages]: this kernel gives no userfaultfd"),
    ],
)
def test_a_missing_feature_is_said_before_anything_is_stopped(make: Maker, flag: str, text: str) -> None:
    make.fake.says(features=[])
    with pytest.raises(Unsupported) as caught:
        make.checkpoint(None, **{flag: True})
    assert str(caught.value).startswith(text)
    assert [packet["type"] for packet in make.fake.packets] == [messages.VERSION, messages.FEATURE_CHECK]


def test_pipes_that_are_too_small_for_lazy_pages_are_said_so(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "has_large_pipes", lambda: False)
    make.checkpoint()
    with pytest.raises(Unsupported, match=r"give it CAP_SYS_RESOURCE, or raise sysctl fs.pipe-max-size to 4194304$"):
        make.checkpoint(lazy_pages=True)


def test_lazy_pages_are_served_at_a_port_that_somebody_knows(make: Maker, tmp_path: Path) -> None:
    with pytest.raises(Error, match="--lazy-pages needs --page-server ADDRESS:PORT"):
        make.checkpoint({"labels": [f"org.criu.config={tmp_path}/none"]}, lazy_pages=True, page_server=None)
    (tmp_path / "criu.conf").touch()
    make.checkpoint({"labels": [f"org.criu.config={tmp_path}/criu.conf"]}, lazy_pages=True, page_server=None)


def test_a_large_pipe_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says, not a guess from capabilities."""
    monkeypatch.setattr(features, "PIPE", 4096)
    assert features.has_large_pipes()
    before = Snapshot()
    with open("/proc/self/status", encoding="ascii") as file:
        capable = next(int(line.split()[1], 16) >> 24 & 1 for line in file if line.startswith("CapEff"))
    monkeypatch.setattr(features, "PIPE", 1 << 26)
    assert features.has_large_pipes() == bool(capable)
    before.assert_unchanged()


@pytest.mark.parametrize(
    ("version", "given", "least"),
    [
        ([2, 12, 1], {}, 30000),
        ([3, 11, 0], {"tcp_close": True}, 31200),
        ([3, 15, 0], {"network_lock": "nftables"}, 31600),
        ([3, 18, 0], {"network_lock": "skip"}, 31900),
    ],
)
def test_a_criu_that_is_too_old_is_said_so(make: Maker, version: list[int], given: dict[str, Any], least: int) -> None:
    make.fake.says(version=version)
    with pytest.raises(Unsupported, match=f"CRIU version [0-9]+ must be {least} or higher"):
        make.checkpoint(**given)


@pytest.mark.parametrize(
    ("labels", "sent"),
    [
        ([], "/etc/criu/runc.conf"),
        (["org.criu.config=/etc/mine.conf"], "/etc/mine.conf"),
        (["org.criu.config="], None),
    ],
)
def test_the_annotation_names_criu_s_configuration(make: Maker, labels: list[str], sent: str | None) -> None:
    assert make.checkpoint({"labels": ["bundle=/b", *labels]}).get("config_file") == sent


def test_namespaces_given_by_path_are_external(make: Maker) -> None:
    namespaces = [
        {"type": "NEWNET", "path": "/gone"},
        {"type": "NEWPID", "path": "/gone"},
        {"type": "NEWIPC", "path": "/gone"},
        {"type": "NEWUTS", "path": ""},
    ]
    inode = {name: os.stat(f"/proc/{make.process}/ns/{name}").st_ino for name in ("net", "pid")}
    sent = make.checkpoint({"namespaces": namespaces})["external"]
    assert sent == [f"net[{inode['net']}]:extRootNetNS", f"pid[{inode['pid']}]:extRootPidNS"]


def test_cgroup2_is_frozen_as_a_whole_since_criu_3_14() -> None:
    from libcontainer.criu import freezer

    class Cgroup:
        def __init__(self) -> None:
            self.paths = {"": "/sys/fs/cgroup/x"}

        def exists(self) -> bool:
            return True

    cgroup: Any = Cgroup()
    assert freezer.directory(cgroup, 31399) is None
    assert freezer.directory(cgroup, 31400) == "/sys/fs/cgroup/x"
    cgroup.paths = {"memory": "/sys/fs/cgroup/memory/x"}
    assert freezer.directory(cgroup, 40200) is None


def test_a_freezer_that_criu_left_frozen_is_released_but_a_paused_container_stays() -> None:
    from libcontainer.criu import freezer

    class Cgroup:
        thawed = 0

        def frozen(self) -> bool:
            return True

        def thaw(self) -> None:
            self.thawed += 1

    cgroup: Any = Cgroup()
    freezer.release(cgroup, was_frozen=True)
    assert cgroup.thawed == 0
    freezer.release(cgroup, was_frozen=False)
    assert cgroup.thawed == 1


@pytest.mark.parametrize(
    ("version", "established", "sockets", "chosen"),
    [
        (40200, False, False, messages.LOCK_SKIP),
        (40200, False, True, None),
        (40200, True, False, None),
        (31800, False, False, None),
    ],
)
def test_the_network_is_held_only_where_there_is_tcp(
    monkeypatch: pytest.MonkeyPatch, version: int, established: bool, sockets: bool, chosen: int | None
) -> None:
    monkeypatch.setattr(network, "has_tcp_sockets", lambda _pid: sockets)
    assert network.choose("", 1, version, tcp_established=established) == chosen


@pytest.mark.parametrize(
    ("version", "lock", "path", "warned"),
    [
        ([4, 1, 1], "nftables", "/run/netns/n", True),
        ([4, 2, 0], "nftables", "/run/netns/n", False),
        ([4, 1, 1], "iptables", "/run/netns/n", False),
        ([4, 1, 1], "nftables", "", False),
    ],
)
def test_a_lock_that_stays_is_warned_of(make: Maker, version: list[int], lock: str, path: str, warned: bool) -> None:
    make.fake.says(version=version, **DUMPED)
    make.checkpoint({"namespaces": [{"type": "NEWNET", "path": path}]}, network_lock=lock)
    assert any("locked with nft" in text for level, text in make.log if level == "warning") == warned


@pytest.mark.parametrize(
    ("four", "six", "expected"),
    [
        ("TCP: inuse 0 orphan 0 tw 0 alloc 7 mem 1\nUDP: inuse 3 mem 0", "TCP6: inuse 0\nUDP6: inuse 1", False),
        ("TCP: inuse 1 orphan 0 tw 0 alloc 7 mem 1", "TCP6: inuse 0", True),
        ("TCP: inuse 0 orphan 0 tw 1 alloc 7 mem 1", "TCP6: inuse 0", True),
        ("TCP: inuse 0 orphan 0 tw 0 alloc 7 mem 1", "TCP6: inuse 2", True),
        ("TCP: inuse 0 orphan 0 tw 0 alloc 7 mem 1", None, False),
    ],
)
def test_tcp_sockets_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, four: str, six: str | None, expected: bool
) -> None:
    (tmp_path / "sockstat").write_text(f"sockets: used 9\n{four}\n")
    if six is not None:
        (tmp_path / "sockstat6").write_text(f"{six}\n")
    counts = network._counts
    monkeypatch.setattr(network, "_counts", lambda path: counts(str(tmp_path / Path(path).name)))
    assert network.has_tcp_sockets(1) == expected


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_that_listens_is_one(family: int) -> None:
    if family == socket.AF_INET6 and not os.path.exists("/proc/self/net/if_inet6"):
        pytest.skip("no IPv6")
    with socket.socket(family) as listener:
        listener.bind(("localhost", 0) if family == socket.AF_INET else ("::", 0))
        listener.listen()
        assert network.has_tcp_sockets(os.getpid())


def test_descriptors_are_written_as_runc_writes_them(make: Maker) -> None:
    make.checkpoint()
    file = make.directory / "images/descriptors.json"
    assert file.read_text() == '["/dev/null","pipe:[1]","pipe:[2]"]'
    assert file.stat().st_mode & 0o777 == 0o600
    assert (make.directory / "images").stat().st_mode & 0o777 == 0o700


def test_the_work_path_takes_the_log(make: Maker, tmp_path: Path) -> None:
    make.fake.says(log="here\n", **DUMPED)
    make.checkpoint(work_path=str(tmp_path / "a/work"))
    assert (tmp_path / "a/work/dump.log").read_text() == "here\n"
    assert not (tmp_path / "images/dump.log").exists()


def test_the_status_descriptor_gets_a_nul_when_the_server_listens(make: Maker) -> None:
    make.fake.says(features=["lazy_pages"], notify=["post-dump", "status-ready"])
    read, write = os.pipe()
    make.checkpoint(lazy_pages=True, status_fd=write)
    assert os.read(read, 10) == b"\0"
    assert os.read(read, 10) == b""
    os.close(read)


def test_between_dump_and_end_a_marker_says_that_the_images_are_all_there_is(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for leave_running, marked in ((True, False), (False, True)):
        monkeypatch.setattr("libcontainer.container.Container.delete", lambda _self, force: None)
        make.checkpoint(leave_running=leave_running)
        assert (make.directory / "unit/checkpoint").exists() == marked
    make.fake.says(end="fail", **DUMPED)
    with pytest.raises(CriuFailed):
        make.checkpoint(leave_running=False)
    assert not (make.directory / "unit/checkpoint").exists()


@pytest.mark.parametrize(
    ("options", "kind", "known"),
    [({}, "checkpoint", True), ({"pre_dump": True}, "pre-dump", True), ({"parent_path": "../pre"}, "checkpoint", False)],
)
def test_its_progress_is_told(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: str, known: bool
) -> None:
    """How much there will be nobody knows where an earlier dump has a part of it."""
    (tmp_path / "pre").mkdir()
    monkeypatch.setattr("libcontainer.criu.dump.resident_bytes", lambda _pids: 4096)
    samples: list[Sample] = []
    make.progress = Progress(samples.append)
    make.checkpoint(**options)
    assert {(sample.kind, sample.expected) for sample in samples} == {(kind, 4096 * known)}
    phases = [phase for phase, _ in groupby(sample.phase for sample in samples)]
    assert phases[-4:] == ["locking the network", "writing memory", "finishing", "done"]
    assert [sample.last for sample in samples] == [False] * (len(samples) - 1) + [True]


def test_the_time_that_it_may_take_counts_before_it_is_taken_for_hung(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And while it is waited for, whoever watches is told so."""
    monkeypatch.setattr("libcontainer.criu.dump.STALL", 0.5)
    make.fake.says(end="hang", **DUMPED)
    samples: list[Sample] = []
    make.progress = Progress(samples.append)
    with pytest.raises(CriuFailed, match="CRIU did nothing for 2 seconds and was killed"):
        make.checkpoint(timeout=1)
    assert [sample.phase for sample in samples].count("finishing") > 2


def test_the_other_host_may_take_its_time(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page server that listens has nothing to do until then."""
    monkeypatch.setattr("libcontainer.criu.dump.STALL", 0.5)
    make.fake.says(features=["lazy_pages"], notify=["post-dump", "status-ready"], end="hang")

    def report(sample: Sample) -> None:
        if sample.seconds > 3 and not sample.last:
            raise TimeoutError

    make.progress = Progress(report)
    with pytest.raises(TimeoutError):
        make.checkpoint(lazy_pages=True)


LOG = """(00.01) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.02) some
(00.03)   7: Error (criu/sockets.c:9): sockets: Can't get 1:16 opt: Operation not supported
(00.04) Error (criu/cr-dump.c:1): Dump files (pid: 7) failed with -1
(00.05) Error (criu/cr-dump.c:2): Dumping FAILED.
"""


def test_a_failure_quotes_the_log_and_leaves_the_container(make: Maker) -> None:
    make.fake.says(log=LOG, end="fail", errno=95)
    with pytest.raises(CriuFailed) as caught:
        make.checkpoint(leave_running=False)
    log = os.path.realpath(make.directory / "images/dump.log")
    assert str(caught.value) == (
        "criu failed: type DUMP errno 95: this CRIU is too old for this kernel: Linux 6.16 and later need CRIU 4.2: "
        f"sockets: Can't get 1:16 opt: Operation not supported (log file: {log})"
    )
    warnings = [message for level, message in make.log if level == "warning"]
    assert warnings[0] == f'--- Quoting "{log}"'
    assert warnings[-1] == "---"
    assert "(00.02) some" in warnings
    assert os.path.exists(f"/proc/{make.process}")


def test_with_debug_each_option_is_logged(make: Maker) -> None:
    make.checkpoint(timeout=77)
    assert ("debug", "CRIU option timeout with value 77") in make.log


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"manage_cgroups_mode": "none"}, "invalid manage-cgroups-mode value"),
        ({"network_lock": "ebpf"}, 'invalid network-lock value "ebpf": it is one of iptables, nftables, skip'),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(Error) as caught:
        CheckpointOptions(image_path="x", **options)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), ("127.0.0.1:27", ("127.0.0.1", 27)), ("[::1]:65535", ("::1", 65535)), ("host:1", ("host", 1))],
)
def test_the_page_server(text: str, found: tuple[str, int] | None) -> None:
    assert page_server(text) == found


@pytest.mark.parametrize("text", ["host", ":27", "host:"])
def test_a_page_server_has_an_address_and_a_port(text: str) -> None:
    with pytest.raises(Error, match="^Use --page-server ADDRESS:PORT to specify page server$"):
        page_server(text)


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "²"])
def test_a_port_is_a_number(port: str) -> None:
    with pytest.raises(Error, match="^Invalid port number$"):
        page_server(f"host:{port}")


@pytest.mark.parametrize(("text", "found"), [("0", 0), ("4096", 4096), ("64K", 65536), ("2m", 2 << 20), ("3G", 3 << 30)])
def test_sizes(text: str, found: int) -> None:
    assert size(text) == found


@pytest.mark.parametrize("text", ["x", "K", "1.5M", "-1", "4G", "1T"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Error, match="invalid size"):
        size(text)


def test_the_status_descriptor_must_be_one_that_can_be_written_to() -> None:
    read, write = os.pipe()
    assert status_fd(write) == write
    assert status_fd(-1) is None
    with pytest.raises(Error, match=f"invalid --status-fd argument {read}: not writable"):
        status_fd(read)
    os.close(read)
    os.close(write)
    with pytest.raises(Error) as caught:
        status_fd(write)
    assert describe(caught.value) == f"invalid --status-fd argument {write}: bad file descriptor"


@pytest.mark.parametrize("number", [-5, 1 << 31, (1 << 63) - 1])
def test_the_status_descriptor_is_a_number_that_one_may_have(number: int) -> None:
    with pytest.raises(Error) as caught:
        status_fd(number)
    assert describe(caught.value) == f"invalid --status-fd argument {number}: bad file descriptor"


def test_state_rules(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    for status in ("created", "stopped"):
        monkeypatch.setattr("libcontainer.container.Container.status", lambda _self, status=status: status)
        with pytest.raises(Error, match=f"^Container cannot be checkpointed in {status} state$"):
            make.checkpoint()
    assert make.fake.packets == []
    assert not (make.directory / "images").exists()
    monkeypatch.setattr("libcontainer.container.Container.status", lambda _self: "paused")
    make.checkpoint()


def test_json_of_the_record_is_what_the_tests_read() -> None:
    """The fake's record is what the tests above stand on: a missing field must not look like a false one."""
    from tests.fake_criu import plain

    request = messages.request(messages.DUMP)
    request.opts.CopyFrom(messages.options(leave_running=False))
    assert json.loads(json.dumps(plain(request))) == {"type": 1, "opts": {"images_dir_fd": -1, "leave_running": False}}
