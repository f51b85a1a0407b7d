#!/usr/bin/env python3
"""The host's side of the test VM: boots it, keeps it as a snapshot, runs jobs in it. Standard library only.

    vm.py snapshot IMAGE                  boot IMAGE/disk.ext4 until it is ready; IMAGE/snapshot.{disk,state}
    vm.py run [OPTIONS] IMAGE JOB.tar     resume the snapshot, run the job, print what it prints, exit with its status

JOB.tar is unpacked below / of the guest, where /job/run is executed, with --disk as /dev/vdd. What it puts into /out is
unpacked into --out.
Each run has a disk of its own above the snapshot's: any number can run at the same time. 124: the time was up; 125: the
guest died. In both cases the end of its console is on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

# QEMU's two emulated processors share one thread: two threads cost half as much again, and the host has others to run.
MACHINE = (
    "-nodefaults -no-user-config -display none -no-reboot -machine q35,usb=off -accel tcg,thread=single,tb-size=512 "
    "-cpu max,svm=off -smp 2 -m 1536 -rtc base=utc,clock=host -device virtio-rng-pci -device virtio-serial-pci,max_ports=4"
)
KERNEL = (
    "console=ttyS0 8250.nr_uarts=1 quiet panic=-1 mitigations=off audit=0 random.trust_cpu=on systemd.show_status=0 "
    "no_timer_check tsc=reliable nokaslr init_on_alloc=0 cryptomgr.notests"
)
DISK_SIZE = 256 << 20  # of a job's three disks: the snapshot knows it
TIMED_OUT = 124
DIED = 125


class Failure(Exception):
    """The guest did not do what it should; `status` is what the command exits with."""

    def __init__(self, text: str, status: int = DIED) -> None:
        super().__init__(text)
        self.status = status


class Machine:
    """A running QEMU, its monitor, and the two serial ports of the guest's agent."""

    __slots__ = ("console", "control", "monitor", "output", "pending", "process")

    def __init__(self, image: str, scratch: str, disk: str, extra: str, incoming: str = "") -> None:
        self.console = os.path.join(scratch, "console")
        listeners = {name: listen(os.path.join(scratch, name)) for name in ("control", "output", "monitor")}
        command = [
            # It ends with us, however we end; tests of this machine go first.
            *("setpriv", "--pdeathsig", "KILL", "nice", os.path.join(image, "base", "qemu-system-x86_64"), *MACHINE.split()),
            *("-kernel", os.path.join(image, "vmlinuz"), "-initrd", os.path.join(image, "initrd"), "-append", KERNEL),
            *drive(disk, "qcow2", "discard=unmap"),
            *drive(os.path.join(scratch, "in.tar"), "raw", "readonly=on"),
            *drive(os.path.join(scratch, "out.tar"), "raw"),
            *drive(extra or os.path.join(scratch, "none"), "raw", "readonly=on"),
            *port(scratch, "control", 1),
            *port(scratch, "output", 2),
            *("-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=monitor,path={scratch}/monitor", "-mon", "chardev=monitor,mode=control"),
            *(("-incoming", f"exec:cat {incoming}") if incoming else ()),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.control, self.output, monitor = (self._accept(listener) for listener in listeners.values())
        self.monitor = monitor.makefile("rwb", buffering=0)
        self.monitor.readline()
        self.pending = b""
        self.order("qmp_capabilities")

    def _accept(self, listener: socket.socket) -> socket.socket:
        with listener:
            while not select.select([listener], [], [], 1)[0]:
                if self.process.poll() is not None:
                    raise Failure(f"QEMU ended with status {self.process.returncode}")
            return listener.accept()[0]

    def order(self, name: str, **arguments: object) -> Any:
        """Have QEMU do something; what it returns."""
        self.monitor.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while line := self.monitor.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise Failure(f"QEMU: {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise Failure(f"QEMU: {name}: no answer")

    def wait_status(self, unwanted: str) -> None:
        """Until QEMU's run state is another one."""
        while self.order("query-status")["status"] == unwanted:
            time.sleep(0.02)

    def tell(self, line: str) -> None:
        """A line to the agent."""
        self.control.sendall(line.encode() + b"\n")

    def await_line(self, word: str, deadline: float) -> str:
        """The agent's line that begins with `word`; until it comes, pass on what the job prints."""
        while word.encode() not in self.pending or not self.pending.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure("the time is up", TIMED_OUT)
            ready = select.select([self.control, self.output], [], [], min(left, 1))[0]
            if self.output in ready:
                self._pass_on()
            if self.control in ready:
                chunk = self.control.recv(4096)
                if not chunk:
                    raise Failure("the guest died")
                self.pending += chunk
        line = self.pending[self.pending.index(word.encode()) :].split(b"\n")[0].decode()
        self.pending = b""
        self._drain()
        return line

    def _pass_on(self) -> bool:
        chunk = self.output.recv(65536)
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return bool(chunk)

    def _drain(self) -> None:
        while select.select([self.output], [], [], 0.1)[0] and self._pass_on():
            pass

    def end(self) -> None:
        """Kill it: its disk is nobody's any more."""
        self.process.kill()
        self.process.wait()


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    return listener


def drive(path: str, kind: str, more: str = "") -> tuple[str, str]:
    return "-drive", f"file={path},if=virtio,format={kind},cache=unsafe" + (f",{more}" if more else "")


def port(scratch: str, name: str, number: int) -> tuple[str, ...]:
    device = f"virtserialport,chardev={name},nr={number},name={name}"
    return "-chardev", f"socket,id={name},path={scratch}/{name}", "-device", device


def make_disks(scratch: str, job: str | None) -> None:
    """in.tar, out.tar and an empty one, of the size that the snapshot was made with."""
    inward = os.path.join(scratch, "in.tar")
    if job:
        shutil.copyfile(job, inward)
        if os.path.getsize(inward) > DISK_SIZE:
            raise Failure(f"{job} is larger than {DISK_SIZE >> 20} MiB")
    for path in (inward, os.path.join(scratch, "out.tar"), os.path.join(scratch, "none")):
        with open(path, "ab") as f:
            f.truncate(DISK_SIZE)


def overlay(image: str, scratch: str, backing: str, kind: str) -> str:
    """A disk that holds what is written, above one that stays as it is."""
    path = os.path.join(scratch, "disk")
    tool = os.path.join(image, "base", "qemu-img")
    subprocess.run([tool, "create", "-q", "-f", "qcow2", "-F", kind, "-b", backing, path], check=True)
    return path


@contextlib.contextmanager
def running(
    image: str, job: str | None, extra: str, backing: str, kind: str, incoming: str = ""
) -> Iterator[tuple[str, Machine]]:
    """A machine and its scratch directory; neither survives. What the console said is shown if it dies."""
    scratch = tempfile.mkdtemp(prefix="pyrunc-vm.", dir="/var/tmp")
    machine = None
    try:
        make_disks(scratch, job)
        machine = Machine(image, scratch, overlay(image, scratch, backing, kind), extra, incoming)
        yield scratch, machine
    except Failure:
        if machine and os.path.exists(machine.console):
            with open(machine.console, errors="replace") as f:
                sys.stderr.write(f.read()[-3000:])
        raise
    finally:
        if machine:
            machine.end()
        shutil.rmtree(scratch)


def snapshot(image: str, seconds: float) -> None:
    """Boot, and write down the machine that waits for its job."""
    with running(image, None, "", os.path.join(image, "disk.ext4"), "raw") as (scratch, machine):
        state = machine.await_line("READY", time.monotonic() + seconds)
        if state != "READY running":
            raise Failure(f"the guest's systemd says: {state[6:]}")
        time.sleep(2)  # what runs after the boot
        machine.order("stop")
        machine.order("migrate-set-parameters", **{"max-bandwidth": 10 << 30})
        machine.order("migrate", uri=f"exec:cat > {image}/snapshot.state")
        while (status := machine.order("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise Failure("QEMU could not write the snapshot")
            time.sleep(0.1)
        machine.end()
        shutil.copyfile(os.path.join(scratch, "disk"), os.path.join(image, "snapshot.disk"))
    # Relative: the image's directory can be moved.
    tool = os.path.join(image, "base", "qemu-img")
    disk = os.path.join(image, "snapshot.disk")
    subprocess.run([tool, "rebase", "-u", "-F", "raw", "-b", "disk.ext4", disk], check=True)


def run(image: str, job: str, extra: str, seconds: float, out: str) -> int:
    """Resume the snapshot, run the job; its status."""
    deadline = time.monotonic() + seconds
    state = os.path.join(image, "snapshot.state")
    with running(image, job, extra, os.path.join(image, "snapshot.disk"), "qcow2", state) as (scratch, machine):
        machine.wait_status("inmigrate")
        machine.order("cont")
        machine.tell(f"GO {time.time():.3f}")
        status = int(machine.await_line("EXIT", deadline).split()[1])
        machine.end()
        if out:
            os.makedirs(out, exist_ok=True)
            subprocess.run(["tar", "-C", out, "-xf", os.path.join(scratch, "out.tar"), "--no-same-owner"], check=True)
    return status


def stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description="the test VM")
    verbs = parser.add_subparsers(dest="verb", required=True)
    taking = verbs.add_parser("snapshot")
    running_ = verbs.add_parser("run")
    running_.add_argument("--out", default="", help="where what the job puts into /out goes")
    running_.add_argument("--disk", default="", help=f"a file of {DISK_SIZE >> 20} MiB, which the guest only reads")
    for verb, seconds in ((taking, 300), (running_, 600)):
        verb.add_argument("--timeout", type=float, default=seconds, metavar="SECONDS")
        verb.add_argument("image")
    running_.add_argument("job")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    image = os.path.abspath(arguments.image)
    try:
        if arguments.verb == "snapshot":
            snapshot(image, arguments.timeout)
            return 0
        return run(image, arguments.job, arguments.disk, arguments.timeout, arguments.out)
    except Failure as e:
        print(f"vm: {e}", file=sys.stderr)
        return e.status


if __name__ == "__main__":
    sys.exit(main())
