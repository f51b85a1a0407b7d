"""Fills a Redis server, then counts in it over one connection; on SIGUSR1 looks whether all is there."""

import os
import signal
import socket
import time

KEYS = 1000


class Client:
    def __init__(self) -> None:
        self.socket = self.connect()
        self.file = self.socket.makefile("rb")

    @staticmethod
    def connect() -> socket.socket:
        for _ in range(600):
            try:
                return socket.create_connection(("127.0.0.1", 6379))
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise SystemExit("no server")

    def __call__(self, *words: str) -> str:
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        answer = self.file.readline().decode().strip()
        if answer[0] == "$" and answer != "$-1":
            return self.file.read(int(answer[1:]) + 2)[:-2].decode()
        return answer


def check(*_: object) -> None:
    global wanted
    wanted = True


wanted = False
signal.signal(signal.SIGUSR1, check)
redis = Client()
for number in range(KEYS):
    redis("SET", f"key-{number}", f"value-{number}" * 20)
numbers = os.open("/out/numbers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
while True:
    os.write(numbers, redis("INCR", "counter").lstrip(":").encode() + b"\n")
    if wanted:
        wanted = False
        good = sum(redis("GET", f"key-{number}") == f"value-{number}" * 20 for number in range(KEYS))
        with open("/out/checked", "w") as file:
            file.write(f"{good} keys as they were\n")
    time.sleep(0.005)
