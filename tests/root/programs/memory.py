"""memory.py MEBIBYTES: fills memory and writes its checksum to /out/sums, again on each SIGUSR1."""

import hashlib
import os
import random
import signal
import sys

BLOCK = 1 << 20


def note() -> None:
    total = hashlib.sha256()
    for block in held:
        total.update(block)
    with open("/out/sums", "a") as file:
        file.write(total.hexdigest() + "\n")


block = random.Random(os.getpid()).randbytes(BLOCK)
# every page is another: the number of the block at the start of each
held = [bytearray(block) for _ in range(int(sys.argv[1]))]
for number, content in enumerate(held):
    for at in range(0, BLOCK, 4096):
        content[at : at + 8] = (number * BLOCK + at).to_bytes(8, "little")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
note()
while True:
    signal.sigwait([signal.SIGUSR1])
    note()
