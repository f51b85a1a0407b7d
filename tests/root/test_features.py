"""Every line of `features` against what containers get: what is listed there is done, and what is done is listed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer import features
from tests.root.laboratory import Laboratory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

DOCUMENT: Any = features.document("1.2.3")
LINUX = DOCUMENT["linux"]
Mounts = dict[str, str]  # mountpoint -> its line of mountinfo, without what differs from run to run
Check = "Callable[[Mounts], bool]"


@pytest.fixture
def lab(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Laboratory]:
    laboratory = Laboratory(tmp_path, busybox_rootfs)
    (laboratory.rootfs / "mnt").mkdir()
    (laboratory.rootfs / "mnt/of-the-image").touch()
    yield laboratory
    laboratory.clean_up()
    assert laboratory.left_behind() == []


# -- mountOptions


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Makes a mount with another one below it, both with these flags and this propagation."""
    made: list[Path] = []

    def make(flags: str, propagation: str) -> str:
        top = tmp_path / "source"
        top.mkdir()
        made.append(top)
        for path in (top, top / "sub"):
            path.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "source", str(path)], check=True)
        for path in (top / "sub", top):
            if flags:
                subprocess.run(["mount", "-o", f"remount,bind,{flags}", str(path)], check=True)
            subprocess.run(["mount", f"--make-{propagation}", str(path)], check=True)
        return str(top)

    yield make
    for top in made:
        subprocess.run(["umount", "-R", str(top)], check=True)


def mounted(lab: Laboratory, mounts: list[dict[str, Any]], check: str = "true") -> Mounts:
    """What a container has at /mnt and below."""
    spec = lab.spec(f"{check} && cat /proc/self/mountinfo")
    spec["mounts"] += mounts
    code, text = lab.run(spec)
    assert code == 0, text
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, flags, *tags = before.split()[4:]
        if place.startswith("/mnt"):
            kind, _source, superblock = after.split()
            words = [tag.partition(":")[0] for tag in tags]
            found[place] = " ".join([kind, *flags.split(","), *words, *(f"fs:{word}" for word in superblock.split(","))])
    return found


def file_system(*options: str, kind: str = "tmpfs") -> dict[str, Any]:
    return {"destination": "/mnt", "type": kind, "source": kind, "options": list(options)}


class Case:
    """Options of a mount, and what must then be said (or not be said) of it and of what is below it."""

    def __init__(
        self, *options: str, here: str = "", not_here: str = "", below: str = "", not_below: str = "", source: str | None = None
    ) -> None:
        self.options = options
        self.source = source  # flags and propagation of what is bound; None: a new tmpfs
        self.wanted = {"/mnt": here.split(), "/mnt/sub": below.split()}
        self.unwanted = {"/mnt": not_here.split(), "/mnt/sub": not_below.split()}

    def holds(self, found: Mounts) -> bool:
        for place in ("/mnt", "/mnt/sub"):
            words = found.get(place, "").split()
            if not set(self.wanted[place]) <= set(words) or set(self.unwanted[place]) & set(words):
                return False
        return True


ALL = "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"
CASES = {
    # set and cleared again
    **{word: Case(word, here=word) for word in ("nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "noatime", "ro")},
    "relatime": Case("noatime", "relatime", here="noatime"),  # the kernel's rule: see path_mount()
    "strictatime": Case("strictatime", not_here="relatime noatime"),
    **{word: Case(word, here=f"fs:{word}") for word in ("sync", "dirsync", "mand", "lazytime")},
    "async": Case("sync", "async", not_here="fs:sync"),
    "nomand": Case("mand", "nomand", not_here="fs:mand"),
    "nolazytime": Case("lazytime", "nolazytime", not_here="fs:lazytime"),
    "atime": Case("noatime", "atime", not_here="noatime"),
    "nostrictatime": Case("strictatime", "nostrictatime", here="relatime"),
    "norelatime": Case("strictatime", "relatime", "norelatime", not_here="relatime"),
    **{word: Case(f"no{word}", word, not_here=f"no{word}") for word in ("dev", "diratime", "exec", "suid", "symfollow")},
    "rw": Case("ro", "rw", here="rw"),
    # of which the kernel shows nothing
    **{word: Case(word, here="tmpfs") for word in ("iversion", "noiversion", "silent", "loud")},
    # bind mounts
    "bind": Case("bind", here="tmpfs", source=" private", not_below="tmpfs"),
    "rbind": Case("rbind", here="tmpfs", source=" private", below="tmpfs"),
    # propagation
    "shared": Case("rbind", "shared", here="shared", not_below="shared", source=" private"),
    "rshared": Case("rbind", "rshared", here="shared", below="shared", source=" private"),
    "slave": Case("rbind", "slave", here="master", not_here="shared", source=" shared"),
    "rslave": Case("rbind", "rslave", here="master", below="master", not_below="shared", source=" shared"),
    "private": Case("rbind", "private", here="tmpfs", not_here="shared master", below="master", source=" shared"),
    "rprivate": Case("rbind", "rprivate", not_here="shared master", below="tmpfs", not_below="shared master", source=" shared"),
    "unbindable": Case("rbind", "unbindable", here="unbindable", not_below="unbindable", source=" private"),
    "runbindable": Case("rbind", "runbindable", here="unbindable", below="unbindable", source=" private"),
    # recursive attributes
    **{
        f"r{word}": Case("rbind", f"r{word}", here=word, below=word, source=" private")
        for word in ("nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "noatime", "ro")
    },
    **{
        f"r{word}": Case(
            "rbind", f"r{word}", not_here=f"no{word}", below="tmpfs", not_below=f"no{word}", source=f"{ALL} private"
        )
        for word in ("dev", "diratime", "exec", "suid", "symfollow", "atime")
    },
    "rrw": Case("rbind", "rrw", here="rw", below="rw", source=f"{ALL} private"),
    "rrelatime": Case("rbind", "rrelatime", here="relatime", below="relatime", source="noatime private"),
    "rstrictatime": Case("rbind", "rstrictatime", not_here="relatime", not_below="relatime noatime", source="noatime private"),
    "rnorelatime": Case("rbind", "rnorelatime", here="relatime", below="relatime", source="strictatime private"),
    "rnostrictatime": Case("rbind", "rnostrictatime", here="relatime", below="relatime", source="strictatime private"),
    # the runtime's own
    "tmpcopyup": Case("tmpcopyup", here="tmpfs"),
    "remount": Case("remount", "noexec", here="noexec"),
}


def test_every_mount_option_has_a_case() -> None:
    assert sorted(CASES) == DOCUMENT["mountOptions"]


@pytest.mark.parametrize("word", CASES)
def test_a_mount_option(lab: Laboratory, sources: Callable[[str, str], str], word: str) -> None:
    case = CASES[word]
    entry = file_system(*case.options)
    if case.source is not None:
        flags, propagation = case.source.split(" ")
        entry["source"] = sources(flags, propagation)
    mounts = [file_system(), entry] if word == "remount" else [entry]
    found = mounted(lab, mounts, "test -e /mnt/of-the-image" if word == "tmpcopyup" else "true")
    assert case.holds(found), found


def test_a_bind_remount_gives_other_flags_to_what_is_there(lab: Laboratory) -> None:
    """Its source is of no concern, as for mount(2); without a mount there it fails."""
    entry = {
        "destination": "/mnt",
        "type": "bind",
        "source": "/nowhere",
        "options": ["bind", "remount", "ro", "noexec", "rshared"],
    }
    found = mounted(lab, [file_system("nosuid", "size=1m"), entry])
    words = found["/mnt"].split()
    assert {"tmpfs", "ro", "noexec", "shared", "fs:size=1024k"} <= set(words)
    assert "nosuid" not in words
    spec = lab.spec()
    spec["mounts"].append(entry)
    assert lab.refusal(spec).endswith('to rootfs at "/mnt": mount_setattr /mnt: invalid argument')


def test_a_bind_remount_of_dev_is_read_only_in_the_end(lab: Laboratory) -> None:
    """Devices are made in it before."""
    spec = lab.spec("grep ' /dev ' /proc/self/mountinfo; ls -l /dev/null; echo > /dev/null")
    spec["mounts"].append({"destination": "/dev", "type": "bind", "source": "", "options": ["bind", "remount", "ro", "nosuid"]})
    code, text = lab.run(spec)
    assert code == 0, text
    assert " /dev ro,nosuid" in text


@pytest.mark.parametrize("where", ["/dev", "/mnt"])
def test_options_of_the_file_system_reach_a_tmpfs_that_is_filled(lab: Laboratory, where: str) -> None:
    """/dev, and a copied-up directory, are made in another way than others."""
    spec = lab.spec(f"grep ' {where} ' /proc/self/mountinfo")
    words = ["sync", "dirsync", "lazytime"]
    if where == "/dev":
        next(mount for mount in spec["mounts"] if mount["destination"] == "/dev")["options"] += words
    else:
        spec["mounts"].append(file_system("tmpcopyup", *words))
    code, text = lab.run(spec)
    assert code == 0
    assert set(words) <= set(text.split(" - ")[1].split()[2].split(",")), text


@pytest.mark.parametrize("private", [False, True])
def test_mount_options_of_cgroups(lab: Laboratory, private: bool) -> None:
    """Of the mount, and of each hierarchy in it."""
    spec = lab.spec("cat /proc/self/mountinfo")
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
    spec["mounts"].append(file_system("noatime", "nodiratime", "ro", kind="cgroup"))
    spaces = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "cgroup"]
    spec["linux"]["namespaces"] = [*spaces, *([{"type": "cgroup"}] if private else [])]
    code, text = lab.run(spec)
    assert code == 0, text
    flags = [set(line.split()[5].split(",")) for line in text.splitlines() if line.split()[4].startswith("/mnt")]
    assert flags
    assert all({"ro", "noatime", "nodiratime"} <= found for found in flags)


# -- hooks


def test_hooks_run_in_the_order_of_the_list(lab: Laboratory, tmp_path: Path) -> None:
    """A hook of the container finds the host's file in the bind mount."""
    log = tmp_path / "log"
    log.touch()
    spec = lab.spec("exit 0")
    spec["mounts"].append({"destination": "/log", "type": "bind", "source": str(log), "options": ["bind"]})
    inside = {"startContainer": "/log"}
    spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >> {inside.get(kind, log)}"]}]
        for kind in sorted(DOCUMENT["hooks"])
    }
    assert lab.run(spec)[0] == 0
    order = log.read_text().split()
    assert sorted(order) == sorted(DOCUMENT["hooks"])
    # The program and poststart begin at once.
    assert [kind for kind in order if kind != "poststart"] == [kind for kind in DOCUMENT["hooks"] if kind != "poststart"]


# -- linux


PROC_NAMES = {"network": "net", "mount": "mnt"}


@pytest.mark.parametrize("kind", LINUX["namespaces"])
def test_a_namespace(lab: Laboratory, kind: str) -> None:
    name = PROC_NAMES.get(kind, kind)
    spec = lab.spec(f"readlink /proc/self/ns/{name}")
    if not any(entry["type"] == kind for entry in spec["linux"]["namespaces"]):
        spec["linux"]["namespaces"].append({"type": kind})
    if kind == "user":
        maps = [{"containerID": 0, "hostID": 0, "size": 65536}]
        spec["linux"].update(uidMappings=maps, gidMappings=maps)
    code, text = lab.run(spec)
    assert code == 0, text
    assert text.strip() != os.readlink(f"/proc/self/ns/{name}")


def test_capabilities(lab: Laboratory) -> None:
    """All of them in all sets, but for those that we have not; the kernel has no more than the list."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(LINUX["capabilities"]) >= last + 1
    names = LINUX["capabilities"][: last + 1]
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
    spec = lab.spec("grep Cap /proc/self/status")
    spec["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names)
    code, text = lab.run(spec)
    assert code == 0
    assert [line.split()[1] for line in text.splitlines()] == [ours.split()[1]] * 5


def filtered(lab: Laboratory, script: str, rule: dict[str, Any], **profile: Any) -> tuple[int, str]:
    spec = lab.spec(script)
    rule = {"names": ["mkdir", "mkdirat"], **rule}
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **profile}
    return lab.run(spec)


ACTIONS = {
    "SCMP_ACT_ALLOW": "0",
    "SCMP_ACT_LOG": "0",
    "SCMP_ACT_ERRNO": "1",
    "SCMP_ACT_TRACE": "1",  # ENOSYS, as nobody traces it
    "SCMP_ACT_TRAP": "159",  # SIGSYS
    "SCMP_ACT_KILL": "159",
    "SCMP_ACT_KILL_PROCESS": "159",
    "SCMP_ACT_KILL_THREAD": "159",
}


def test_every_action_has_a_case() -> None:
    """NOTIFY needs an agent: tests/root/test_seccomp_filters.py and integration/seccomp.bats have it."""
    assert sorted([*ACTIONS, "SCMP_ACT_NOTIFY"]) == LINUX["seccomp"]["actions"]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action(lab: Laboratory, action: str) -> None:
    default = "SCMP_ACT_LOG" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    code, text = filtered(lab, "mkdir /tmp/a 2>/dev/null; echo $?", {"action": action}, defaultAction=default)
    assert (code, text.split()[-1]) == (0, ACTIONS[action])


@pytest.mark.parametrize("architecture", LINUX["seccomp"]["archs"])
def test_an_architecture(lab: Laboratory, architecture: str) -> None:
    rule = {"action": "SCMP_ACT_ERRNO"}
    code, text = filtered(lab, "mkdir /tmp/a 2>/dev/null; echo $?", rule, architectures=[architecture])
    assert (code, text) == (0, "1\n")


@pytest.mark.parametrize("flag", LINUX["seccomp"]["supportedFlags"])
def test_a_flag(lab: Laboratory, flag: str) -> None:
    code, text = filtered(lab, "mkdir /tmp/a 2>/dev/null; echo $?", {"action": "SCMP_ACT_ERRNO"}, flags=[flag])
    assert (code, text) == (0, "1\n")


# Masks that mkdir(2)'s second argument meets, of 0o700 (mkdir -m) among others.
OPERATORS = {
    "SCMP_CMP_EQ": ({"value": 0o700}, [0o700]),
    "SCMP_CMP_NE": ({"value": 0o700}, [0o600, 0o711]),
    "SCMP_CMP_LT": ({"value": 0o700}, [0o600]),
    "SCMP_CMP_LE": ({"value": 0o700}, [0o600, 0o700]),
    "SCMP_CMP_GT": ({"value": 0o700}, [0o711]),
    "SCMP_CMP_GE": ({"value": 0o700}, [0o700, 0o711]),
    "SCMP_CMP_MASKED_EQ": ({"value": 0o077, "valueTwo": 0o011}, [0o711]),
}


def test_every_operator_has_a_case() -> None:
    assert sorted(OPERATORS) == LINUX["seccomp"]["operators"]


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator(lab: Laboratory, operator: str) -> None:
    values, refused = OPERATORS[operator]
    (lab.rootfs / "bin/chmod").symlink_to("busybox")
    rule = {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": operator, **values}]}
    script = "for mode in 600 700 711; do chmod $mode /tmp 2>/dev/null || echo $mode; done"
    code, text = filtered(lab, script, rule)
    assert (code, [int(word, 8) for word in text.split()]) == (0, refused)


numa = pytest.mark.skipif(not os.path.exists("/proc/self/numa_maps"), reason="this kernel has no memory policies (CONFIG_NUMA)")
MODES = {
    "MPOL_DEFAULT": ("", "default"),
    "MPOL_LOCAL": ("", "local"),
    "MPOL_PREFERRED": ("0", "prefer:0"),
    "MPOL_BIND": ("0", "bind:0"),
    "MPOL_INTERLEAVE": ("0", "interleave:0"),
    "MPOL_PREFERRED_MANY": ("0", "prefer (many):0"),
    "MPOL_WEIGHTED_INTERLEAVE": ("0", "weighted interleave:0"),
}
POLICY_FLAGS = {
    "MPOL_F_STATIC_NODES": "bind=static:0",
    "MPOL_F_RELATIVE_NODES": "bind=relative:0",
    "MPOL_F_NUMA_BALANCING": "bind=balancing:0",
}


def test_every_memory_policy_has_a_case() -> None:
    assert (sorted(MODES), sorted(POLICY_FLAGS)) == (LINUX["memoryPolicy"]["modes"], LINUX["memoryPolicy"]["flags"])


@numa
@pytest.mark.parametrize("mode", MODES)
def test_a_memory_policy(lab: Laboratory, mode: str) -> None:
    if mode == "MPOL_WEIGHTED_INTERLEAVE" and not os.path.isdir("/sys/kernel/mm/mempolicy/weighted_interleave"):
        pytest.skip("this kernel has no weighted interleaving (Linux 6.9)")
    nodes, shown = MODES[mode]
    spec = lab.spec("cat /proc/self/numa_maps")
    spec["linux"]["memoryPolicy"] = {"mode": mode, "nodes": nodes}
    code, text = lab.run(spec)
    assert code == 0, text
    assert f" {shown} " in text.split("\n")[0]


@numa
@pytest.mark.parametrize("flag", POLICY_FLAGS)
def test_a_flag_of_a_memory_policy(lab: Laboratory, flag: str) -> None:
    spec = lab.spec("cat /proc/self/numa_maps")
    spec["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
    code, text = lab.run(spec)
    assert code == 0, text
    assert POLICY_FLAGS[flag] in text.split("\n")[0]
