"""Runs a command in a terminal of its own: what it prints goes to stdout, its status is ours.

usage: interminal.py ROWS COLUMNS COMMAND...

What comes on stdin is typed after the command's first output.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios


def copy(master: int) -> None:
    """Everything until the last process has closed the terminal."""
    typed = False
    try:
        while chunk := os.read(master, 4096):
            os.write(1, chunk)
            if not typed and (text := sys.stdin.buffer.read()):
                os.write(master, text)
            typed = True
    except OSError:  # EIO: hung up
        pass


def main() -> None:
    rows, columns = map(int, sys.argv[1:3])
    pid, master = pty.fork()
    if not pid:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvp(sys.argv[3], sys.argv[3:])
    copy(master)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
