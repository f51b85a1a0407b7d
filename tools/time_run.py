"""time_run.py ROUNDS RUNTIME BUNDLE: one line with the mean of ROUNDS runs; `make bench` measures properly."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def main(rounds: int, runtime: str, bundle: str) -> None:
    name = os.path.basename(runtime)
    begin = time.perf_counter()
    for number in range(rounds):
        command = [runtime, "run", "--bundle", bundle, f"demo-{os.getpid()}-{number}"]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode != 0:
            print(f"  {name:8} {(result.stderr.strip() or 'fails here').splitlines()[-1]}")
            return
    print(f"  {name:8} {(time.perf_counter() - begin) / rounds * 1000:6.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
