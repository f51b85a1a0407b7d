"""The spec as runc's configuration, and back."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from libcontainer import config, jsonfast, spec
from libcontainer.errors import InvalidSpec
from libcontainer.example_spec import example
from libcontainer.saved_config import SavedConfig

ENGINE_CONFIGS = Path(__file__).parents[1] / "data" / "engine-configs"


def engine_files() -> list[Path]:
    """The config.json files; beside them there are process and resources files."""
    others = ("-process", "-update-")
    return sorted(
        path for path in ENGINE_CONFIGS.glob("*.json") if not any(word in path.name for word in others)
    )


def convert(document: Any, *, systemd: bool = False, **options: Any) -> Any:
    """Through JSON, as it will be read."""
    values: dict[str, Any] = {
        "id": "box",
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "no_pivot": False,
        "no_new_keyring": False,
        "rootless_euid": False,
        "rootless_cgroups": False,
        "cgroup": {},
        **options,
    }
    made = config.to_runc(spec.normalize(document), systemd=systemd, **values)
    return jsonfast.loads(jsonfast.dumps(made))


def with_linux(**members: Any) -> Any:
    document: Any = copy.deepcopy(example(False))
    document["linux"].update(members)
    return document


def with_process(**members: Any) -> Any:
    document: Any = copy.deepcopy(example(False))
    document["process"].update(members)
    return document


# -- to runc


def test_plain_members() -> None:
    document: Any = copy.deepcopy(example(False))
    document["annotations"] = {"a": "b=c"}
    document["domainname"] = "d"
    made = convert(document, no_pivot=True, no_new_keyring=True, rootless_cgroups=True)
    assert made["rootfs"] == "/b/rootfs"
    assert made["readonlyfs"] is True
    assert (made["no_pivot_root"], made["no_new_keyring"]) == (True, True)
    assert (made["rootless_euid"], made["rootless_cgroups"], made["cgroups"]["Rootless"]) == (
        False,
        True,
        True,
    )
    assert (made["hostname"], made["domainname"]) == ("runc", "d")
    assert made["labels"] == ["a=b=c", "bundle=/b"]
    assert made["version"] == "1.3.0"
    assert made["mask_paths"][0] == "/proc/acpi"


def test_namespaces() -> None:
    made = convert(with_linux(namespaces=[{"type": "mount"}, {"type": "network", "path": "/n"}]))
    assert made["namespaces"] == [{"type": "NEWNS", "path": ""}, {"type": "NEWNET", "path": "/n"}]
    assert made["networks"] is None
    assert convert(with_linux(namespaces=[{"type": "network"}]))["networks"] == [{"type": "loopback"}]


def test_a_tmpfs() -> None:
    options = ["nosuid", "rw", "rslave", "tmpcopyup", "size=1m", "mode=755"]
    mount = {"destination": "/t", "type": "tmpfs", "source": "t", "options": options}
    made = convert({"mounts": [mount]})["mounts"]
    assert made == [
        {
            "source": "t",
            "destination": "/t",
            "device": "tmpfs",
            "flags": 2,
            "cleared_flags": 1,
            "propagation_flags": [(1 << 19) | (1 << 14)],
            "data": "size=1m,mode=755",
            "relabel": "",
            "rec_attr": None,
            "extensions": 1,
        }
    ]


def test_a_bind_mount() -> None:
    mount = {"destination": "/t", "type": "none", "source": "data", "options": ["rbind", "rro", "ratime"]}
    (made,) = convert({"mounts": [mount]})["mounts"]
    assert (made["device"], made["source"], made["flags"]) == ("bind", "/b/data", 4096 | 16384)
    assert made["rec_attr"] == {"Attr_set": 1, "Attr_clr": 0x70, "Propagation": 0, "Userns_fd": 0}


def test_id_mapped_mounts() -> None:
    maps = [{"containerID": 0, "hostID": 5, "size": 9}]
    saved = [{"container_id": 0, "host_id": 5, "size": 9}]
    bind = {"destination": "/t", "source": "/s", "options": ["bind", "ridmap"]}
    own = {"mounts": [{**bind, "uidMappings": maps, "gidMappings": maps}]}
    assert convert(own)["mounts"][0]["id_mapping"] == {
        "recursive": True,
        "uid_mappings": saved,
        "gid_mappings": saved,
    }
    linux = {"namespaces": [{"type": "user"}], "uidMappings": maps, "gidMappings": maps}
    assert convert({"mounts": [bind], "linux": linux})["mounts"][0]["id_mapping"]["uid_mappings"] == saved
    linux = {"namespaces": [{"type": "user", "path": "/u"}]}
    assert convert({"mounts": [bind], "linux": linux})["mounts"][0]["id_mapping"] == {
        "recursive": True,
        "userns_path": "/u",
    }


def test_devices() -> None:
    device = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20600, "uid": 1}
    made = convert(with_linux(devices=[device]))["devices"]
    assert [entry["path"] for entry in made[:6]] == [
        f"/dev/{n}" for n in "null random full tty zero urandom".split()
    ]
    assert made[0] == {
        "type": 99,
        "major": 1,
        "minor": 3,
        "permissions": "rwm",
        "allow": True,
        "path": "/dev/null",
        "file_mode": 438,
        "uid": 0,
        "gid": 0,
    }
    assert made[6:] == [
        {
            "type": 99,
            "major": 10,
            "minor": 229,
            "permissions": "",
            "allow": False,
            "path": "/dev/fuse",
            "file_mode": 0o600,
            "uid": 1,
            "gid": 0,
        }
    ]


def rules(document: Any) -> list[tuple[str, int, int, str, bool]]:
    return [
        (chr(rule["type"]), rule["major"], rule["minor"], rule["permissions"], rule["allow"])
        for rule in convert(document)["cgroups"]["devices"]
    ]


def test_device_rules_end_with_those_that_every_container_needs() -> None:
    made = rules(
        with_linux(resources={"devices": [{"access": "rwm"}, {"allow": True, "type": "b", "access": "r"}]})
    )
    assert made[:4] == [
        ("a", -1, -1, "rwm", False),
        ("b", -1, -1, "r", True),
        ("c", -1, -1, "m", True),
        ("b", -1, -1, "m", True),
    ]
    numbers = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1), (10, 200)}
    assert {rule[1:3] for rule in made[4:]} == numbers
    assert all((rule[0], *rule[3:]) == ("c", "rwm", True) for rule in made[4:])


def test_a_device_of_the_spec_takes_the_place_of_a_default_rule() -> None:
    document = with_linux(devices=[{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}])
    assert ("c", 1, 3, "rwm", True) not in rules(document)
    assert len([entry for entry in convert(document)["devices"] if entry["path"] == "/dev/null"]) == 1


@pytest.mark.parametrize(
    ("path", "systemd", "expected"),
    [
        ("", False, {"name": "box", "path": "", "scope_prefix": ""}),
        ("/a/../../b", False, {"name": "", "path": "/b", "scope_prefix": ""}),
        ("//a//b/", False, {"name": "", "path": "/a/b", "scope_prefix": ""}),
        ("a/../../b", False, {"name": "", "path": "b", "scope_prefix": ""}),
        ("", True, {"name": "box", "path": "", "scope_prefix": "runc"}),
        ("s.slice:p:n", True, {"parent": "s.slice", "scope_prefix": "p", "name": "n", "path": ""}),
        ("::n", True, {"parent": "", "scope_prefix": "", "name": "n", "path": ""}),
    ],
)
def test_cgroup_location(path: str, systemd: bool, expected: dict[str, str]) -> None:
    document: Any = {"linux": {"cgroupsPath": path}}
    assert config.cgroup_location(document, "box", systemd) == expected


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a:b:c:d"])
def test_cgroup_location_for_systemd_has_three_parts(path: str) -> None:
    with pytest.raises(InvalidSpec, match='expected cgroupsPath to be of format "slice:prefix:name"'):
        config.cgroup_location({"linux": {"cgroupsPath": path}}, "box", True)


def test_resources() -> None:
    resources = {
        "memory": {"limit": -1, "reservation": 0, "swap": 2, "swappiness": 3, "disableOOMKiller": True},
        "cpu": {
            "quota": 5,
            "period": 6,
            "burst": 0,
            "cpus": "0",
            "mems": "1",
            "idle": 1,
            "realtimeRuntime": 8,
        },
        "pids": {"limit": 0},
        "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
        "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 2}]},
        "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}},
        "unified": {"memory.high": "1"},
    }
    made = convert({"linux": {"resources": resources}}, cgroup={"name": "other"})["cgroups"]
    del made["devices"]
    assert made == {
        "name": "other",
        "path": "",
        "scope_prefix": "",
        "Systemd": False,
        "Rootless": False,
        "memory": -1,
        "memory_reservation": 0,
        "memory_swap": 2,
        "memory_swappiness": 3,
        "oom_kill_disable": True,
        "cpu_quota": 5,
        "cpu_period": 6,
        "cpu_burst": 0,
        "cpuset_cpus": "0",
        "cpuset_mems": "1",
        "cpu_idle": 1,
        "cpu_rt_quota": 8,
        "pids_limit": 0,
        "blkio_weight": 10,
        "blkio_throttle_read_bps_device": [{"major": 1, "minor": 2, "rate": 3}],
        "hugetlb_limit": [{"page_size": "2MB", "limit": 4}],
        "net_cls_classid_u": 1,
        "net_prio_ifpriomap": [{"interface": "eth0", "priority": 2}],
        "rdma": {"mlx": {"hca_handles": 1, "hca_objects": 2}},
        "unified": {"memory.high": "1"},
    }


def test_owner_of_the_cgroup() -> None:
    def owner(options: list[str], spaces: list[Any], **linux: Any) -> Any:
        mount = {"destination": "/sys/fs/cgroup/", "type": "cgroup", "source": "cgroup", "options": options}
        document = {
            "process": {"user": {"uid": 3}},
            "mounts": [mount],
            "linux": {"namespaces": spaces, **linux},
        }
        return convert(document)["cgroups"].get("owner_uid")

    private = [{"type": "cgroup"}]
    maps = [{"containerID": 0, "hostID": 1, "size": 2}, {"containerID": 2, "hostID": 1000, "size": 5}]
    assert owner([], private) == 3
    assert owner(["ro"], private) is None
    assert owner([], [{"type": "cgroup", "path": "/c"}]) is None
    assert owner([], []) is None
    assert owner([], [*private, {"type": "user"}], uidMappings=maps) == 1001
    assert owner([], [*private, {"type": "user", "path": "/u"}]) is None


# -- and back


def saved(document: Any) -> SavedConfig:
    return SavedConfig(convert(document))


def test_process_members_come_back() -> None:
    process: Any = {
        "user": {"uid": 1, "umask": 0},
        "capabilities": {"bounding": ["CAP_KILL"], "ambient": []},
        "selinuxLabel": "l",
        "noNewPrivileges": True,
        "oomScoreAdj": 0,
        "scheduler": {"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0-1,70", "final": "2000"},
        "rlimits": [{"type": "RLIMIT_CPU", "hard": 1, "soft": 1}],
        "apparmorProfile": "p",
    }
    back = saved(with_process(**process))
    assert back.capabilities == process["capabilities"]
    assert (back.process_label, back.umask, back.oom_score_adj) == ("l", 0, 0)
    assert back.no_new_privileges
    assert (back.scheduler, back.io_priority) == (process["scheduler"], process["ioPriority"])
    assert back.exec_cpu_affinity == process["execCPUAffinity"]
    # runc keeps neither in its state
    assert (back.rlimits, back.apparmor_profile) == ([], "")


def test_absent_members_come_back_absent() -> None:
    back = saved({})
    process = ("capabilities", "umask", "oom_score_adj", "scheduler", "io_priority", "exec_cpu_affinity")
    for name in (*process, "seccomp", "personality", "memory_policy"):
        assert getattr(back, name) is None, name
    assert (back.hooks, back.namespaces, back.uid_mappings, back.annotations) == ({}, [], [], {})
    assert back.exec_process({"args": ["x"]}) == {"args": ["x"]}


def test_other_members_come_back() -> None:
    linux: Any = {
        "namespaces": [
            {"type": "pid", "path": ""},
            {"type": "user", "path": ""},
            {"type": "time", "path": "/t"},
        ],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        "gidMappings": [{"containerID": 0, "hostID": 3, "size": 4}],
        "personality": {"domain": "LINUX32"},
        "memoryPolicy": {
            "mode": "MPOL_BIND",
            "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"],
            "nodes": "0,2-3",
        },
        "mountLabel": "m",
    }
    hooks: Any = {
        "prestart": [{"path": "/p", "args": ["p", "x"], "env": [], "timeout": 3}],
        "poststop": [{"path": "/q"}, {"path": "/r", "env": ["A=b"]}],
    }
    back = saved({"linux": linux, "hooks": hooks, "annotations": {"a": "b=c", "d": ""}})
    assert back.namespaces == linux["namespaces"]
    assert [back.namespace_path(kind) for kind in ("pid", "time", "uts")] == ["", "/t", None]
    assert back.has_namespace("user")
    assert not back.has_namespace("mount")
    assert (back.uid_mappings, back.gid_mappings) == (linux["uidMappings"], linux["gidMappings"])
    assert (back.personality, back.memory_policy) == (linux["personality"], linux["memoryPolicy"])
    assert back.hooks == hooks
    assert (back.annotations, back.bundle, back.rootfs) == ({"a": "b=c", "d": ""}, "/b", "/b/rootfs")
    assert back.mount_label == "m"


SECCOMP: Any = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_LOONGARCH64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "listenerPath": "/l",
    "listenerMetadata": "m",
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_KILL_PROCESS",
            "args": [
                {"index": 0, "value": 18446744073709551615, "valueTwo": 0, "op": "SCMP_CMP_NE"},
                {"index": 1, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"},
            ],
        },
    ],
}


def test_seccomp_comes_back() -> None:
    assert saved({"linux": {"seccomp": SECCOMP}}).seccomp == SECCOMP


def test_seccomp_in_runc_s_numbers() -> None:
    made = convert({"linux": {"seccomp": SECCOMP}})["seccomp"]
    assert (made["default_action"], made["default_errno_ret"]) == (2, 38)
    assert made["architectures"] == ["amd64", "loong64"]
    assert [(rule["name"], rule["action"], rule["errnoRet"]) for rule in made["syscalls"]] == [
        ("read", 4, None),
        ("write", 4, None),
        ("getcwd", 2, 0),
        ("personality", 9, None),
    ]
    assert [argument["op"] for argument in made["syscalls"][3]["args"]] == [2, 7]


@pytest.mark.parametrize(("flags", "back"), [(None, ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), ([], [])])
def test_seccomp_flags_absent_is_not_empty(flags: Any, back: list[str]) -> None:
    profile = saved({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": flags}}}).seccomp
    assert profile is not None
    assert profile["flags"] == back


def test_seccomp_of_an_older_and_a_newer_runc() -> None:
    raw = {"default_action": 4, "architectures": None, "syscalls": None, "default_errno_ret": None}
    profile: Any = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "syscalls": []}
    assert SavedConfig({"seccomp": raw}).seccomp == profile
    assert SavedConfig({"seccomp": {**raw, "flags": None}}).seccomp == {**profile, "flags": []}


def test_a_seccomp_section_that_asks_for_nothing_is_none() -> None:
    assert saved({"linux": {"seccomp": {"flags": []}}}).seccomp is None


def test_exec_takes_from_the_container_what_the_process_leaves_out() -> None:
    process: Any = {
        "capabilities": {"bounding": ["CAP_KILL"]},
        "selinuxLabel": "l",
        "noNewPrivileges": True,
        "ioPriority": {"class": "IOPRIO_CLASS_BE"},
        "oomScoreAdj": 5,
    }
    back = saved(with_process(**process))
    merged = back.exec_process({"args": ["x"], "selinuxLabel": "", "noNewPrivileges": False})
    assert merged == {
        "args": ["x"],
        "capabilities": {"bounding": ["CAP_KILL"]},
        "selinuxLabel": "l",
        "ioPriority": {"class": "IOPRIO_CLASS_BE"},
        "noNewPrivileges": False,
    }
    own: Any = {"args": ["x"], "capabilities": {}, "selinuxLabel": "m"}
    merged = back.exec_process(own)
    assert (merged["capabilities"], merged["selinuxLabel"]) == ({}, "m")


# Members as runc 1.1.5 wrote them (shortened); numbers are Go's.
RUNC_1_1_5 = json.loads(
    """{"rootfs":"/b/rootfs","umask":18,"namespaces":[{"type":"NEWPID","path":""},{"type":"NEWNS","path":""}],
    "capabilities":{"Bounding":["CAP_KILL"],"Effective":["CAP_KILL"],"Inheritable":null,"Permitted":null,
    "Ambient":null},"cgroups":{"name":"x","path":"","Systemd":true,"Rootless":false,"rdma":null},
    "oom_score_adj":100,"uid_mappings":null,"gid_mappings":null,
    "seccomp":{"default_action":4,"architectures":["amd64","x86"],"syscalls":[
    {"name":"getcwd","action":2,"errnoRet":5,"args":[]},{"name":"bdflush","action":2,"errnoRet":5,"args":[]},
    {"name":"personality","action":2,"errnoRet":null,"args":[{"index":0,"value":8,"value_two":0,"op":1}]}],
    "default_errno_ret":null},"no_new_privileges":true,
    "Hooks":{"createContainer":null,"poststop":[{"path":"/bin/true","args":null,"env":null,"dir":"","timeout":null}],
    "prestart":[{"path":"/bin/true","args":["true","x"],"env":["A=b"],"dir":"","timeout":5000000000}]},
    "version":"1.0.2-dev","labels":["a=b","bundle=/b"],"no_new_keyring":false}"""
)


def test_a_config_of_runc_is_read() -> None:
    back = SavedConfig(RUNC_1_1_5)
    assert back.capabilities == {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    assert back.hooks == {
        "poststop": [{"path": "/bin/true"}],
        "prestart": [{"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 5}],
    }
    assert back.seccomp == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["getcwd", "bdflush"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    assert (back.umask, back.oom_score_adj, back.systemd, back.bundle) == (18, 100, True, "/b")
    assert (back.rootless_euid, back.no_new_keyring, back.uid_mappings) == (False, False, [])


@pytest.mark.skipif(not ENGINE_CONFIGS.is_dir(), reason="no engine configs here")
@pytest.mark.parametrize("path", engine_files(), ids=lambda path: path.stem)
def test_seccomp_profiles_of_engines_mean_the_same_afterwards(path: Path) -> None:
    document = spec.load(os.fspath(path))
    document["linux"].pop("cgroupsPath", None)
    given, back = document["linux"].get("seccomp"), saved(document).seccomp
    assert (given is None) == (back is None)
    if given and back:
        assert flat(given) == flat(back)


def flat(profile: Any) -> list[Any]:
    """One tuple a system call."""
    return [
        (
            name,
            rule["action"],
            rule.get("errnoRet"),
            [{"valueTwo": 0, **argument} for argument in rule.get("args", [])],
        )
        for rule in profile["syscalls"]
        for name in rule["names"]
    ]
