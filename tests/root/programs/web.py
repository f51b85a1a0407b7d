"""A web server, and four clients of it that ask one question after the other over connections that stay.

/out/answers gets a line for each good answer, /out/errors one for whatever else happens.
"""

import http.client
import http.server
import os
import threading
import time

ADDRESS = ("127.0.0.1", 8000)
CLIENTS = 4


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"answer to {self.path}".encode() * 50
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


def write(name: str, line: str) -> None:
    fd = os.open(f"/out/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


def ask(client: int) -> None:
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    connection.auto_open = False
    connection.connect()
    number = 0
    while True:
        path = f"/{client}/{number}"
        try:
            connection.request("GET", path)
            body = connection.getresponse().read()
        except Exception as error:
            write("errors", f"{path}: {error!r}")
            return
        if body != f"answer to {path}".encode() * 50:
            write("errors", f"{path}: {body[:100]!r}")
        write("answers", str(number))
        number += 1
        time.sleep(0.002)


server = http.server.ThreadingHTTPServer(ADDRESS, Handler)
if os.fork() == 0:
    for number in range(CLIENTS):
        threading.Thread(target=ask, args=(number,)).start()
else:
    server.serve_forever()
