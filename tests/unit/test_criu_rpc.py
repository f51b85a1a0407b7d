"""The conversation with criu: requests, notifications, and each way in which it can end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from libcontainer.criu import messages
from libcontainer.criu.failure import CriuFailed
from libcontainer.criu.process import Criu, find
from libcontainer.criu.rpc import Notification, Session
from libcontainer.errors import Unsupported
from tests.root.conftest import LIMIT, wait_until
from tests.root.laboratory import Snapshot
from tests.unit.criu import FakeCriu, fake

__all__ = ["fake"]


def ask(handler: object = None, stall: float = LIMIT) -> object:
    with Session(stall=stall) as session:
        return session.request(messages.DUMP, messages.options(), handler)  # type: ignore[arg-type]


def test_version_features_and_a_dump_in_one_process(fake: FakeCriu) -> None:
    fake.says(version=[3, 17, 1], features=["lazy_pages"])
    with Session() as session:
        assert session.version() == 31701
        assert session.features("mem_track", "lazy_pages") == {"lazy_pages"}
        session.request(messages.DUMP, messages.options(pid=7))
    kinds = [packet["type"] for packet in fake.packets]
    assert kinds == [messages.VERSION, messages.FEATURE_CHECK, messages.DUMP, messages.NOTIFY, messages.NOTIFY]
    assert fake.packets[1]["features"] == {"mem_track": True, "lazy_pages": True}
    assert fake.request(messages.DUMP)["opts"]["pid"] == 7


def test_a_build_from_git_is_the_next_minor_version(fake: FakeCriu) -> None:
    fake.says(version=[4, 1, 5], gitid="v4.1-7-gabc")
    with Session() as session:
        assert session.version() == 40200


def test_the_handler_sees_each_notification_and_may_answer_with_options(fake: FakeCriu) -> None:
    fake.says(notify=["pre-dump", "query-ext-files", "post-dump"])
    seen = []

    def handler(notification: Notification) -> None:
        seen.append(notification.script)
        assert notification.pid > 0
        if notification.script == "query-ext-files":
            notification.options = messages.options(external=["mnt[/a]:b"])

    ask(handler)
    assert seen == ["pre-dump", "query-ext-files", "post-dump"]
    replies = [packet for packet in fake.packets if packet["type"] == messages.NOTIFY]
    assert [reply["notify_success"] for reply in replies] == [True, True, True]
    assert replies[1]["opts"] == {"images_dir_fd": -1, "external": ["mnt[/a]:b"]}
    assert "opts" not in replies[0]


def test_a_descriptor_comes_with_a_notification_and_is_closed_after_it(fake: FakeCriu) -> None:
    fake.says(notify=["orphan-pts-master"], fd="orphan-pts-master")
    seen = []

    def handler(notification: Notification) -> None:
        assert notification.fd is not None
        os.fstat(notification.fd)
        assert not os.get_inheritable(notification.fd)
        seen.append(notification.fd)

    before = Snapshot()
    ask(handler)
    assert len(seen) == 1
    before.assert_unchanged()


def test_a_handler_that_raises_refuses_and_its_error_comes_out(fake: FakeCriu) -> None:
    fake.says(notify=["post-dump"])

    def handler(_notification: Notification) -> None:
        raise RuntimeError("mine")

    before = Snapshot()
    with pytest.raises(RuntimeError, match="mine"):
        ask(handler)
    assert fake.packets[-1]["notify_success"] is False
    before.assert_unchanged()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"end": "crash"}, "CRIU crashed (signal: segmentation fault)"),
        ({"end": "crash", "stderr": "Error (criu/config.c:1061): bad\n"}, "CRIU crashed (signal: segmentation fault): bad"),
        ({"end": "hang"}, "CRIU did nothing for 2 seconds and was killed"),
        ({"end": "eof", "stderr": "Error (x.c:1): half\0\0\0"}, "errno 0: half"),
        ({"end": "eof", "stderr": "usage...\nUnknown option\n"}, "Unknown option"),
        ({"end": "garbage"}, "an answer that is none of CRIU's protocol"),
        ({"end": "fail", "errno": 52}, "errno 52"),
        ({"end": "exit"}, "CRIU gave no reason (exit status 1)"),
    ],
)
def test_each_end_is_one_sentence(fake: FakeCriu, script: dict[str, object], words: str) -> None:
    fake.says(**script)
    before = Snapshot()
    with pytest.raises(CriuFailed) as caught:
        ask(stall=1.5 if script["end"] == "hang" else LIMIT)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("criu failed: type DUMP errno ")
    before.assert_unchanged()


def test_what_criu_waits_for_is_killed_with_it(fake: FakeCriu, tmp_path: Path) -> None:
    """Such as an iptables that does not get its lock: afterwards it would close a network that nobody opens any more."""
    program = tmp_path / "fake/criu"
    program.write_text(program.read_text().replace("PYTHONPATH", f"sleep 1000 & echo $! > {tmp_path}/pid\nPYTHONPATH", 1))
    fake.says(end="hang")
    with pytest.raises(CriuFailed, match="did nothing for 2 seconds and was killed"):
        ask(stall=1.5)
    helper = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{helper}").exists() or " Z " in Path(f"/proc/{helper}/stat").read_text())


def test_criu_may_end_as_it_likes_after_a_pre_dump(fake: FakeCriu) -> None:
    fake.says(end="exit")
    with Session() as session:
        assert session.request(messages.PRE_DUMP, messages.options()).success


def test_a_criu_that_works_is_waited_for(fake: FakeCriu, tmp_path: Path) -> None:
    """It says nothing for longer than the limit, but burns processor time."""
    program = tmp_path / "fake/criu"
    busy = "import time; t = time.time()\nwhile time.time() < t + 4: sum(range(10000))"
    program.write_text(program.read_text().replace("PYTHONPATH", f"{os.sys.executable} -c '{busy}'\nPYTHONPATH"))  # type: ignore[attr-defined]
    begin = time.monotonic()
    ask(stall=1.5)
    assert time.monotonic() - begin > 3


def test_without_a_deadline_it_may_wait_for_others(fake: FakeCriu) -> None:
    fake.says(end="hang")
    ticks = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 4:
            raise TimeoutError

    with Session(stall=1.5, tick=tick) as session:
        session.no_deadline()
        with pytest.raises(TimeoutError):
            session.request(messages.DUMP, messages.options())


def test_passed_descriptors_keep_their_numbers(fake: FakeCriu, tmp_path: Path) -> None:
    fake.says(log="written\n")
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with Session(pass_fds=[directory]) as session:
        session.request(messages.DUMP, messages.options(work_dir_fd=directory, log_file="x.log"))
    os.close(directory)
    assert (tmp_path / "x.log").read_text() == "written\n"


def test_no_criu_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("libcontainer.criu.process.DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    before = Snapshot()
    with pytest.raises(Unsupported, match="criu is not installed: no executable criu in \\$PATH"):
        Criu()
    before.assert_unchanged()


def test_criu_is_found_in_path_first_and_then_where_administrators_have_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("user", "sbin"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("libcontainer.criu.process.DIRECTORIES", (str(tmp_path / "sbin"),))
    monkeypatch.setenv("PATH", f"{tmp_path}/user:relative:")
    assert find() is None
    (tmp_path / "sbin/criu").touch(0o755)
    assert find() == f"{tmp_path}/sbin/criu"
    (tmp_path / "user/criu").mkdir()  # a directory is no program
    assert find() == f"{tmp_path}/sbin/criu"
    (tmp_path / "user/criu").rmdir()
    (tmp_path / "user/criu").touch(0o755)
    assert find() == f"{tmp_path}/user/criu"


def test_criu_gets_a_path_with_the_directories_of_administrators(fake: FakeCriu, tmp_path: Path) -> None:
    program = tmp_path / "fake/criu"
    program.write_text(program.read_text().replace("PYTHONPATH", f"echo $PATH > {tmp_path}/path\nPYTHONPATH"))
    ask()
    assert {"/usr/sbin", "/usr/bin"} <= set((tmp_path / "path").read_text().strip().split(":"))
