"""tree.py COUNT: so many processes, five deep, some in groups and sessions of their own; each writes to /out/process-PID, again
and again, a count and the numbers of its parent, group and session.
"""

import os
import sys
import time

DEPTH = 5


def grow(depth: int, count: int) -> None:
    """Become a process with count - 1 descendants."""
    count -= 1
    children = [count] if depth > 1 and count < 3 else [count // 2, count - count // 2] if depth > 1 else [1] * count
    for number, below in enumerate(children):
        if below and os.fork() == 0:
            if number == 0 and depth % 2:
                os.setsid()
            elif number == 0:
                os.setpgid(0, 0)
            return grow(depth - 1, below)
    return None


grow(DEPTH, int(sys.argv[1]))
fd = os.open(f"/out/process-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
number = 0
while True:
    os.write(fd, b"%d %d %d %d\n" % (number, os.getppid(), os.getpgrp(), os.getsid(0)))
    number += 1
    time.sleep(0.2)
