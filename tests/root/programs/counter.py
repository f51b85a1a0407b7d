"""Writes 0, 1, 2, ... to /out/numbers, a line each."""

import os
import time

fd = os.open("/out/numbers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
number = 0
while True:
    os.write(fd, b"%d\n" % number)
    number += 1
    time.sleep(0.005)
