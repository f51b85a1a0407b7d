"""A `criu swrk` for tests: it answers as its script says, and records what it was asked.

The script is a JSON object in the file $FAKE_CRIU: version, features, notify (what it tells before its answer), fd (the
notification that carries a descriptor), log and stderr (what it writes), end: ok, fail, crash, hang, eof, garbage, exit.
The record goes to the file $FAKE_CRIU.record, a line of JSON for each packet.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
import time
from typing import Any

from libcontainer.criu import messages


class Fake:
    """One conversation."""

    def __init__(self, fd: int, path: str) -> None:
        self.channel = socket.socket(fileno=fd)
        with open(path, encoding="utf-8") as file:
            self.script: dict[str, Any] = json.load(file)
        self.record = f"{path}.record"

    def run(self) -> int:
        while True:
            request = self.receive()
            if request is None:
                return 1
            answer = messages._class("criu_resp")(type=request.type, success=True)
            if request.type == messages.VERSION:
                numbers = self.script.get("version", [4, 2, 1])
                answer.version.major_number, answer.version.minor_number, answer.version.sublevel = numbers
                if "gitid" in self.script:
                    answer.version.gitid = self.script["gitid"]
            elif request.type == messages.FEATURE_CHECK:
                for name in self.script.get("features", ()):
                    setattr(answer.features, name, True)
            else:
                return self.work(request, answer)
            self.send(answer)

    def work(self, request: Any, answer: Any) -> int:
        for script in self.script.get("notify", ("pre-dump", "post-dump")):
            note = messages._class("criu_resp")(type=messages.NOTIFY, success=True)
            note.notify.script = script
            note.notify.pid = os.getpid()
            self.send(note, with_fd=script == self.script.get("fd"))
            reply = self.receive()
            if reply is None or not reply.notify_success:
                answer.success = False
                self.send(answer)
                return 1
        if "log" in self.script:
            fd = os.open(request.opts.log_file, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=request.opts.work_dir_fd)
            os.write(fd, self.script["log"].encode())
            os.close(fd)
        sys.stderr.write(self.script.get("stderr", ""))
        sys.stderr.flush()
        return self.end(self.script.get("end", "ok"), answer)

    def end(self, how: str, answer: Any) -> int:
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "hang":
            time.sleep(3600)
        elif how == "garbage":
            self.channel.send(b"\xff\xff")
        elif how in ("ok", "fail", "exit"):
            answer.success = how != "fail"
            if how == "fail":
                answer.cr_errno, answer.cr_errmsg = self.script.get("errno", 52), "rlimit: Can't setup RLIMIT_NOFILE"
            self.send(answer)
            while self.receive():
                pass
        return 0 if how == "ok" else 1

    def send(self, message: Any, *, with_fd: bool = False) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [2]))] if with_fd else []
        self.channel.sendmsg([message.SerializeToString()], ancillary)

    def receive(self) -> Any:
        data = self.channel.recv(1 << 16)
        if not data:
            return None
        request = messages._class("criu_req").FromString(data)
        with open(self.record, "a", encoding="utf-8") as file:
            json.dump(plain(request), file)
            file.write("\n")
        return request


def plain(message: Any) -> dict[str, Any]:
    """A message as JSON can hold it."""
    return {field.name: value(content) for field, content in message.ListFields()}


def value(content: Any) -> Any:
    if hasattr(content, "ListFields"):
        return plain(content)
    if isinstance(content, (str, int, bool)):
        return content
    return [value(one) for one in content]


if __name__ == "__main__":
    assert sys.argv[1] == "swrk"
    sys.exit(Fake(int(sys.argv[2]), os.environ["FAKE_CRIU"]).run())
