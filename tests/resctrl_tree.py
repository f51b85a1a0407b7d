"""A stand-in for the resctrl file system, which few machines have: a directory, and what the kernel does when groups come and
go. Writing to `tasks` and `schemata` is writing to files here."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from libcontainer import resctrl
from libcontainer.errors import Error

if TYPE_CHECKING:
    import pytest

SCHEMATA = "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"
INFO: dict[str, dict[str, str | int]] = {
    "L3": {"cbm_mask": "fffff", "min_cbm_bits": 2, "num_closids": 16},
    "MB": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
    "L3_MON": {"mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes", "num_rmids": 256},
}
COUNTERS = ("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes")


class Resctrl:
    """The tree at `top`, which libcontainer takes for the mounted one. `room`: how many more groups the processor can do."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch, *, room: int = 16) -> None:
        self.top = top
        self.room = room
        self._real_make, self._real_remove = resctrl._make, resctrl._remove
        top.mkdir()
        for resource, files in INFO.items():
            directory = top / "info" / resource
            directory.mkdir(parents=True)
            for name, value in files.items():
                (directory / name).write_text(f"{value}\n")
        self.says("ok")
        self._fill(top)
        monkeypatch.setattr(resctrl, "mount_point", lambda: str(top))
        monkeypatch.setattr(resctrl, "_make", self._make)
        monkeypatch.setattr(resctrl, "_remove", self._remove)

    def says(self, status: str) -> None:
        """What the last command came to."""
        (self.top / "info/last_cmd_status").write_text(f"{status}\n")

    def without(self, resource: str) -> None:
        """A processor that has not got this."""
        shutil.rmtree(self.top / "info" / resource)

    def group(self, name: str, schemata: str = SCHEMATA) -> Path:
        """A class that somebody has made."""
        directory = self.top / name
        directory.mkdir()
        self._fill(directory)
        (directory / "schemata").write_text(schemata)
        return directory

    def groups(self) -> list[str]:
        """All classes and monitoring groups but the root's."""
        return sorted(str(path.parent.relative_to(self.top)) for path in self.top.glob("*/**/tasks"))

    def _fill(self, directory: Path) -> None:
        monitors = directory.parent.name == "mon_groups"
        (directory / "tasks").write_text("")
        for number in (0, 1):
            domain = directory / f"mon_data/mon_L3_0{number}"
            domain.mkdir(parents=True)
            for place, name in enumerate(COUNTERS):
                (domain / name).write_text(f"{1000 * monitors + 10 * number + place}\n")
        if not monitors:
            (directory / "schemata").write_text(SCHEMATA)
            (directory / "mon_groups").mkdir()

    def _make(self, directory: str) -> bool:
        if not self.room and not os.path.exists(directory):
            self.says("Out of CLOSIDs")
            raise Error(f"unable to make {directory}{resctrl._reason(directory)}") from OSError(
                errno.ENOSPC, os.strerror(errno.ENOSPC)
            )
        made = self._real_make(directory)
        if made:
            self.room -= 1
            self._fill(Path(directory))
        return made

    def _remove(self, directory: str) -> None:
        """A group goes with its files; those of a directory would be in the way."""
        for path in Path(directory).glob("*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._real_remove(directory)
