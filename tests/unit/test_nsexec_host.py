"""The host side of the C part: under sanitizers, and where its resources are short."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from libcontainer.syscalls import RESOLVE_IN_ROOT, openat2
from tests.init_process import SANITIZE, SOURCES, renames
from tests.unit.test_nsexec_init import up_and_down

# Every function of host.h, its errors too; a failed check ends with the number of its line.
DRIVER = r"""
#include "host.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition) do { if (!(condition)) { printf("line %d: %s\n", __LINE__, #condition); exit(1); } } while (0)

static int ended(int pid, int status)
{
	int found;
	return waitpid(pid, &found, 0) == pid && WIFEXITED(found) && WEXITSTATUS(found) == status;
}

static void spawn(int memfd)
{
	int pair[2], many[4096], swapped[] = {2, 1, 0}, pid;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	for (int i = 0; i < 4096; i++)
		many[i] = 0;
	CHECK((pid = nsexec_spawn(memfd, swapped, 3, pair[1])) > 0);
	CHECK(shutdown(pair[0], SHUT_WR) == 0 && ended(pid, 1));
	CHECK((pid = nsexec_spawn(memfd, NULL, 0, pair[1])) > 0 && ended(pid, 1));
	CHECK((pid = nsexec_spawn(memfd, many, 4096, pair[1])) > 0 && ended(pid, 1));
	CHECK(nsexec_spawn(memfd, many, 4097, pair[1]) == -EINVAL);
	CHECK(nsexec_spawn(memfd, many, -1, pair[1]) == -EINVAL);
	many[1] = 99999;
	CHECK(nsexec_spawn(memfd, many, 2, pair[1]) == -EBADF);
	CHECK(nsexec_spawn(pair[0], many, 1, pair[1]) == -EACCES);
	CHECK(waitpid(-1, NULL, 0) < 0 && errno == ECHILD);
}

static void others(void)
{
	uint64_t limit[2];
	int fd;

	CHECK((fd = nsexec_openat2(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0, 0)) >= 0 && close(fd) == 0);
	CHECK(nsexec_openat2(AT_FDCWD, "/nonexistent", O_PATH, 0, 0) == -ENOENT);
	CHECK(nsexec_bpf(-1, NULL, 0) < 0);
	CHECK(nsexec_address(limit) == (int64_t)(intptr_t)limit);
	CHECK(nsexec_prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 && nsexec_prctl(-1, 0, 0, 0, 0) == -EINVAL);
	CHECK(nsexec_sigprocmask(SIG_BLOCK, ~0ULL) == 0 && nsexec_sigprocmask(-1, 0) == -EINVAL);
	CHECK((fd = nsexec_signalfd(-1, 1ULL << (SIGUSR1 - 1))) >= 0);
	CHECK(raise(SIGUSR1) == 0 && read(fd, (char[128]){0}, 128) == 128 && close(fd) == 0);
	CHECK(nsexec_getrlimit(RLIMIT_NOFILE, limit) == 0);
	CHECK(nsexec_prlimit(0, RLIMIT_NOFILE, limit[0], limit[1]) == 0 && nsexec_prlimit(0, 999, 0, 0) == -EINVAL);
	CHECK(nsexec_pidfd_getfd(-1, 0) == -EBADF);
	CHECK(nsexec_close_range(100, 200, 0) == 0 && nsexec_close_range(2, 1, 0) == -EINVAL);
}

int main(void)
{
	int memfd = nsexec_program();

	CHECK(memfd >= 0);
	CHECK(write(memfd, "x", 1) < 0 && ftruncate(memfd, 0) < 0);
	spawn(memfd);
	others();
	return 0;
}
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_under_sanitizers(tmp_path: Path) -> None:
    if not (SOURCES / "init_blob.h").exists():
        pytest.skip("not built here")
    (tmp_path / "driver.c").write_text(DRIVER)
    files = [str(SOURCES / "host.c"), str(tmp_path / "driver.c")]
    subprocess.run(["gcc", *SANITIZE, "-D_GNU_SOURCE", f"-I{SOURCES}", "-o", str(tmp_path / "driver"), *files], check=True)
    done = subprocess.run([str(tmp_path / "driver")], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_that_does_not_fit_is_none() -> None:
    """A limit on file sizes: an error, not the half of a program, and never descriptor 0 in its place."""
    script = (
        "import resource, signal; from nsexec._nsexec import lib; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); print(lib.nsexec_program())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert os.strerror(-int(done.stdout)) == "File too large"


# In a pid namespace of its own, to which the sysctl belongs; as root, or as somebody else.
FORBIDDEN = """
import os, sys
from libcontainer import remote
with open("/proc/sys/vm/memfd_noexec", "w") as sysctl:
    sysctl.write("2")
os.setresuid(*[int(sys.argv[1])] * 3)
channel, pid = remote.spawn(())
assert channel.run(remote.Batch()).results == ()
exe = os.open(f"/proc/{pid}/exe", os.O_RDONLY)  # for when it is not busy any more
channel.close()
os.waitpid(pid, 0)
for attack in (lambda path: os.open(path, os.O_RDWR), lambda path: os.chmod(path, 0o777)):
    try:
        attack(f"/proc/self/fd/{exe}")
    except OSError as error:
        print(error.strerror)
    else:
        raise SystemExit("somebody can change it")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not os.path.exists("/proc/sys/vm/memfd_noexec"), reason="Linux 6.3")
def test_without_executable_memory_files() -> None:
    """vm.memfd_noexec=2: root does without, on a mount of its own; others are told."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", FORBIDDEN]
    done = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Read-only file system"] * 2
    done = subprocess.run([*command, "4711"], capture_output=True, text=True, timeout=60)
    assert "vm.memfd_noexec is 2" in done.stderr


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_paths_with_dots_while_something_is_renamed(tmp_path: Path) -> None:
    path = up_and_down(tmp_path)
    top = os.open(tmp_path / "root", os.O_PATH)
    with renames(tmp_path / "elsewhere"):
        for _ in range(20_000):
            os.close(openat2(top, path, os.O_PATH, resolve=RESOLVE_IN_ROOT))
    os.close(top)
