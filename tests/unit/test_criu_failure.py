"""Which sentence a failure of CRIU is told in: real lines of its log, and the cure that must be said."""

from __future__ import annotations

import pytest

from libcontainer.criu import failure, log, messages
from libcontainer.criu.failure import CriuFailed

HARMLESS = "(00.05) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted"
CONSEQUENCES = """\
(00.1) Error (criu/cr-dump.c:1545): Dump files (pid: 14782) failed with -1
(00.2) Error (criu/cr-dump.c:1975): Dumping FAILED."""


def told(line: str, **how: object) -> str:
    error = CriuFailed(messages.DUMP, exit_code=1, **how)  # type: ignore[arg-type]
    error.add_log("/w/dump.log", f"{HARMLESS}\n(00.0)  7: {line}\n{CONSEQUENCES}\n".splitlines())
    return str(error)


@pytest.mark.parametrize(
    ("own_words", "cure"),
    [
        ("sockets: Can't get 1:16 opt: Operation not supported", "too old for this kernel"),
        ("vdso: Unexpected rt vDSO area bounds", "too old for this kernel"),
        ("Tracking memory is not available. Consider omitting --track-mem option.", "soft-dirty"),
        ("uffd: Unable to open an userfaultfd descriptor: Operation not permitted", "vm.unprivileged_userfaultfd=1"),
        ("page-pipe: splice: -1: Bad file descriptor", "CAP_SYS_RESOURCE"),
        ("Network locking failed", "iptables or nft in $PATH"),
        ("net: Locking network failed using nftables", "dump with iptables"),
        ("can't write lsm profile -2", "--lsm-profile"),
        ("inet: Connected TCP socket, consider using --tcp-established option.", "--tcp-established or --tcp-close"),
        ("inet: In-flight connection (l) for 2ce3ed", "--tcp-skip-in-flight"),
        ("Some file locks are hold by dumping tasks! You can try --file-locks to dump them.", "--file-locks"),
        ("Can't create link remap for /tmp/one. Use link-remap option.", "--link-remap"),
        ("Can't dump ghost file /tmp/big of 2 size, increase limit", "--ghost-limit"),
        ("Can't find pagemap at /proc/7/pagemap", "soft-dirty"),
        ("pagemap-cache: Unable to grow page pipe", "fs.pipe-max-size"),
        ("Can't get rlimit for 7: Operation not permitted", "CAP_SYS_RESOURCE"),
        ("Can't connect to server 127.0.0.1:9", "criu page-server"),
        ("Unexpected EOF on (empty-image)", "copied as a whole"),
        ("Timeout reached. Try to interrupt: 0", "--timeout"),
        ("Unseizable non-zombie 8538 found, state R, err -1/4", "traces it"),
        ("zombie 8538 (comm sh) found while seizing", "traces it"),
        ("Failed to resolve hostname: nobody: No such file or directory", "--page-server"),
        ("uffd: connect to lazy-pages.socket failed: No such file or directory", "criu lazy-pages"),
        ("page-xfer: Unable to spice data: No space left on device", "make room"),
        ("Can't create log file dump.log: Read-only file system", "--work-path"),
        ("write: Disk quota exceeded", "make room"),
        ("tty: No task found with sid 0", "--shell-job"),
        ("Can't fork for 3849: File exists", "wait for its parent to reap it"),
        ("Can't fork for 2: Resource temporarily unavailable", "linux.resources.pids.limit"),
        ("image: Can't open parent path: Permission denied", "chmod o+x"),
        ("Failed to setns when join-ns user", "give the container its own"),
        ("unix: External socket is used. Consider using --ext-unix-sk option.", "--ext-unix-sk"),
        ("unix: Unix socket 2757482 without peer 2757440", "another network namespace"),
        ("The root process 7 is not a session leader. Consider using --shell-job option", "--shell-job"),
    ],
)
def test_each_cause_has_its_cure(own_words: str, cure: str) -> None:
    text = told(f"Error (criu/file.c:12): {own_words}")
    assert cure in text.replace(own_words, "")
    assert own_words in text
    assert text.endswith("(log file: /w/dump.log)")
    assert "\n" not in text
    assert "RLIMIT_NOFILE" not in text


def test_every_cause_is_among_them() -> None:
    (table,) = (mark for mark in test_each_cause_has_its_cure.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    for words, _ in failure.CAUSES:
        assert any(failure._found(word, own) for own, _ in table.args[1] for word in words), words


def test_parts_of_a_cause_are_looked_for_in_their_order() -> None:
    assert failure._found("a ... c", "a b c")
    assert not failure._found("a ... c", "c a ")
    assert not failure._found("a ... c", "a b")
    assert failure._found("b", "a b c")


def test_the_cgroup_daemon_s_end_is_not_the_cause() -> None:
    """It says so after every restore that fails."""
    lines = ["Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No such file", "Error (criu/x.c:1): x: the cause"]
    assert log.relevant(lines) == "x: the cause"


def test_a_page_server_that_is_not_there() -> None:
    """CRIU does not call that an error, and then cannot let go of what it has not seized."""
    lines = f"""{HARMLESS}
(00.072884) Connecting to server 127.0.0.1:9
(00.072977) Can't connect to server 127.0.0.1:9
(00.073006) Error (compel/src/lib/infect.c:417): Unable to detach from 7485: No such process
{CONSEQUENCES}""".splitlines()
    error = CriuFailed(messages.DUMP, exit_code=1)
    error.add_log("/w/dump.log", lines)
    assert "no page server answers there" in str(error)
    assert "Can't connect to server 127.0.0.1:9" in str(error)


def test_an_unknown_error_is_quoted_as_it_is() -> None:
    assert told("Error (criu/x.c:1): Something new") == (
        "criu failed: type DUMP errno 0: Something new (log file: /w/dump.log)"
    )


def test_a_consequence_is_better_than_nothing() -> None:
    lines = f"{HARMLESS}\n{CONSEQUENCES}".splitlines()
    assert log.relevant(lines) == "Dump files (pid: 14782) failed with -1"
    assert log.relevant([HARMLESS]) is None


def test_a_criu_too_old_to_be_asked_anything() -> None:
    """3.17 on Linux 6.18: it ends before it has a log."""
    stderr = "Error (criu/vdso.c:381): vdso: UnError (criu/cr-service.c:1246): Can't recv request: Connection reset by peer"
    error = CriuFailed(messages.FEATURE_CHECK, exit_code=1, stderr=stderr)
    assert "type FEATURE CHECK errno 0: this CRIU is too old for this kernel" in str(error)


def test_what_it_says_without_a_log_has_no_place_of_its_source_either() -> None:
    stderr = "Error (criu/log.c:226): Can't create log file dump.log: Read-only file system"
    assert "must be a directory that takes it: Can't create log file dump.log" in str(CriuFailed(messages.DUMP, stderr=stderr))


def test_a_harmless_error_is_no_answer() -> None:
    """CRIU answers with the first one that it had; the log may have had no room for the others."""
    error = CriuFailed(messages.DUMP, exit_code=1, said=HARMLESS.partition(" ")[2])
    assert str(error) == "criu failed: type DUMP errno 0: CRIU gave no reason (exit status 1)"


def test_a_log_that_is_not_there_is_not_named() -> None:
    error = CriuFailed(messages.VERSION, exit_code=127, stderr="criu: error while loading shared libraries: libnl-3.so.200\n")
    error.add_log("/w/dump.log", [])
    assert str(error) == "criu failed: type VERSION errno 0: criu: error while loading shared libraries: libnl-3.so.200"


def test_what_a_hostile_name_puts_into_the_log_stays_one_short_line() -> None:
    text = told("Error (criu/x.c:1): Can't open /" + "a" * 5000 + "\t\x1b[31m")
    assert len(text) < 1000
    assert "\n" not in text


def test_quotes_have_the_lines_before_each_error_once() -> None:
    lines = [str(number) for number in range(20)]
    lines[10] = lines[12] = "(00.1) Error (criu/x.c:1): bad"
    assert log.quote(lines) == lines[5:13]
    assert log.quote([HARMLESS]) == []


def test_an_unreadable_log_is_none(tmp_path: object) -> None:
    import os

    directory = os.open(str(tmp_path), os.O_RDONLY)
    try:
        assert log.read(directory, "dump.log") == []
        os.symlink("/etc/passwd", "dump.log", dir_fd=directory)
        assert log.read(directory, "dump.log") == []
    finally:
        os.close(directory)
