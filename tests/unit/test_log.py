"""Log records: what engines decode, byte by byte."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from pyrunc import log as logging
from pyrunc.log import Log, StdoutClosed

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def json_log(path: Path, *, debug: bool = False) -> Log:
    log = Log()
    log.configure(str(path), "json", debug)
    return log


def test_an_error_is_one_json_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    json_log(tmp_path / "log").fatal('exec: "x": no such\nfile')
    record = json.loads((tmp_path / "log").read_text())
    assert list(record) == ["level", "msg", "time"]
    assert (record["level"], record["msg"]) == ("error", 'exec: "x": no such\nfile')
    assert re.fullmatch(RFC3339, record["time"])
    assert (tmp_path / "log").read_text().count("\n") == 1
    assert capfd.readouterr().err == 'exec: "x": no such\nfile\n'


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    json_log(path)("warning", "one")
    json_log(path)("error", "two")
    assert path.read_text().splitlines()[0] == "before"
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()[1:]] == ["one", "two"]


def test_the_log_exists_before_anything_is_logged(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        json_log(tmp_path / "log")
    finally:
        os.umask(before)
    assert (tmp_path / "log").read_bytes() == b""
    assert (tmp_path / "log").stat().st_mode & 0o7777 == 0o644


def test_fields_are_inline_and_sorted(tmp_path: Path) -> None:
    json_log(tmp_path / "log")("warning", "m", status=3, error=OSError("bad"), pid=None)
    record = json.loads((tmp_path / "log").read_text())
    assert list(record) == ["level", "msg", "time", "error", "pid", "status"]
    assert (record["error"], record["pid"], record["status"]) == ("bad", None, 3)


def test_bytes_that_are_no_text_stay_decodable(tmp_path: Path) -> None:
    json_log(tmp_path / "log")("error", os.fsdecode(b"caf\xe9"))
    (tmp_path / "log").read_bytes().decode("ascii")


def test_debug_records_only_with_debug(tmp_path: Path) -> None:
    json_log(tmp_path / "quiet")("debug", "m")
    assert (tmp_path / "quiet").read_text() == ""
    json_log(tmp_path / "loud", debug=True)("debug", "m")
    record = json.loads((tmp_path / "loud").read_text())
    assert record["level"] == "debug"
    assert record["func"] == f"{__name__}.test_debug_records_only_with_debug"
    assert re.fullmatch(r".*test_log\.py:\d+", record["file"])


def test_fatal_with_debug_names_the_caller_of_fatal(tmp_path: Path) -> None:
    json_log(tmp_path / "log", debug=True).fatal("m")
    assert json.loads((tmp_path / "log").read_text())["func"].endswith("fatal_with_debug_names_the_caller_of_fatal")


def test_text_on_stderr_is_one_record(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.configure("", "text", debug=False)
    log.fatal('exec: "x": not found')
    expected = rf'time="{RFC3339}" level=error msg="exec: \\"x\\": not found"' + "\n"
    assert re.fullmatch(expected, capfd.readouterr().err)


def test_text_quotes_only_what_needs_it(tmp_path: Path) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"), "", debug=False)
    log("info", "plain", path="/a-b_c.d", empty="", two="a b")
    line = (tmp_path / "log").read_text()
    assert line.endswith(' level=info msg=plain empty="" path=/a-b_c.d two="a b"\n')


def test_text_on_a_terminal() -> None:
    master, slave = os.openpty()
    log = Log()
    log.configure(os.ttyname(slave), "text", debug=False)
    log("error", "went wrong", code=7)
    os.close(slave)
    shown = os.read(master, 4096).decode()
    os.close(master)
    assert re.fullmatch(r"\x1b\[31mERRO\x1b\[0m\[\d{4}\] went wrong {34} code=7\r\n", shown)


def test_names_that_a_container_has_chosen_do_not_obey_on_a_terminal() -> None:
    master, slave = os.openpty()
    log = Log()
    log.configure(os.ttyname(slave), "text", debug=False)
    log("error", "no file /a\x1b]0;owned\x07\u202e\nsecond line")
    os.close(slave)
    shown = os.read(master, 4096).decode()
    os.close(master)
    assert "no file /a\\x1b]0;owned\\x07\\u202e\r\nsecond line" in shown


def test_half_a_character_from_json_is_written_somehow(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"), "json", debug=False)
    log.fatal("half \ud800")
    assert "half \\ud800" in capfd.readouterr().err
    assert '"half \\ud800"' in (tmp_path / "log").read_text()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    log = Log()
    with pytest.raises(ValueError, match="^invalid log-format: xml$"):
        log.configure(str(tmp_path / "log"), "xml", debug=False)
    assert not (tmp_path / "log").exists()


def test_a_log_that_cannot_be_opened_leaves_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    with pytest.raises(OSError, match="No such file"):
        log.configure(str(tmp_path / "no" / "log"), "json", debug=False)
    log.fatal("still heard")
    assert "still heard" in capfd.readouterr().err


def test_a_full_disk_is_not_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.configure("/dev/full", "json", debug=False)
    log.fatal("message")
    assert capfd.readouterr().err == "message\n"


def test_write_gets_everything_through_a_non_blocking_pipe() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = "x" * 300_000
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        logging.write(writer, text)
        os._exit(0)
    os.close(writer)
    received = 0
    while chunk := os.read(reader, 65536):
        received += len(chunk)
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0
    assert received == len(text)


def test_a_reader_that_went_away_has_its_own_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fd: int, _text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(logging, "write", broken)
    with pytest.raises(StdoutClosed):
        logging.out("x")
    logging.err("x")  # on stderr it is nothing
