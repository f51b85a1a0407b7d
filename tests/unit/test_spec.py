"""Reading config.json: spelling, types, ranges; and the rules for what the values may be."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcontainer import spec
from libcontainer.errors import Error, InvalidID, InvalidSpec, describe
from libcontainer.example_spec import example

ENGINE_CONFIGS = Path(__file__).parents[1] / "data" / "engine-configs"
SCHEMAS = Path(__file__).parents[1] / "data" / "oci-schema"


def engine_files(*, process: bool = False, resources: bool = False) -> list[Path]:
    def kind(path: Path) -> tuple[bool, bool]:
        return "-process" in path.name, "-update-" in path.name

    return sorted(path for path in ENGINE_CONFIGS.glob("*.json") if kind(path) == (process, resources))


needs_engine_configs = pytest.mark.skipif(not ENGINE_CONFIGS.is_dir(), reason="no engine configs here")


# -- reading


def same_but_for_null(given: Any, read: Any) -> bool:
    """Whether `read` is `given`; engines write null for what they leave out."""
    if isinstance(given, dict):
        kept = {key: value for key, value in given.items() if value is not None}
        return kept.keys() == read.keys() and all(same_but_for_null(kept[key], read[key]) for key in kept)
    if isinstance(given, list):
        return len(given) == len(read) and all(map(same_but_for_null, given, read))
    return type(given) is type(read) and bool(given == read)


@needs_engine_configs
@pytest.mark.parametrize("path", engine_files(), ids=lambda path: path.stem)
def test_configs_of_engines_are_read_whole(path: Path) -> None:
    assert same_but_for_null(json.loads(path.read_bytes()), spec.load(os.fspath(path)))


@needs_engine_configs
@pytest.mark.parametrize("path", engine_files(process=True), ids=lambda path: path.stem)
def test_processes_of_engines_are_read_whole_and_valid(path: Path) -> None:
    process = spec.load_process(os.fspath(path))
    assert same_but_for_null(json.loads(path.read_bytes()), process)
    spec.validate_process(process, rootless_euid=False)


@needs_engine_configs
@pytest.mark.parametrize("path", engine_files(resources=True), ids=lambda path: path.stem)
def test_resources_of_engines_are_read_whole(path: Path) -> None:
    assert same_but_for_null(json.loads(path.read_bytes()), spec.load_resources(path.read_bytes()))


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="no schemas here")
def test_the_tables_have_every_field_of_the_schemas() -> None:
    from libcontainer.spec_schema import LINUX, SPEC

    schema = json.loads((SCHEMAS / "config-schema.json").read_bytes())
    other_systems = {"solaris", "windows", "vm", "zos", "freebsd"}
    assert missing(schema, SPEC, schema) - other_systems == set()
    linux = json.loads((SCHEMAS / "config-linux.json").read_bytes())
    assert missing(linux["linux"], LINUX, linux) == set()


def missing(schema: dict[str, Any], node: Any, document: dict[str, Any]) -> set[str]:
    """Names of the schema that are not in the table."""
    while "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#/")
        if name:
            document = json.loads((SCHEMAS / name).read_bytes())
        schema = document
        for step in pointer.split("/"):
            schema = schema[step]
    lacking: set[str] = set()
    for part in schema.get("allOf", []):
        lacking |= missing(part, node, document)
    if isinstance(node, list):
        return lacking | (missing(schema["items"], node[0], document) if "items" in schema else set())
    for name, inner in schema.get("properties", {}).items():
        if name in node:
            lacking |= missing(inner, node[name], document)
        elif "" in node:
            lacking |= missing(inner, node[""], document)
        else:
            lacking.add(name)
    return lacking


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Error) as raised:
        spec.load(os.fspath(tmp_path / "config.json"))
    assert str(raised.value) == "JSON specification file config.json not found"


def test_other_errors_of_the_file_system_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        spec.load(os.fspath(tmp_path))
    with pytest.raises(FileNotFoundError):
        spec.load_process(os.fspath(tmp_path / "process.json"))


def test_names_match_in_any_case_and_the_last_one_counts() -> None:
    text = b'{"HostName": "a", "hostname": "b", "PROCESS": {"noNewPrivileges": true, "ARGS": ["x"]}}'
    assert spec.load(text) == {"hostname": "b", "process": {"noNewPrivileges": True, "args": ["x"]}}
    assert spec.load(b'{"hostname": "a", "HostName": "b"}') == {"hostname": "b"}


def test_unknown_names_and_null_are_dropped() -> None:
    text = (
        b'{"new": 1, "hostname": null, "windows": {"x": 1}, "linux": {"seccomp": null, "pids": 3}} trailing'
    )
    assert spec.load(text) == {"linux": {}}


def test_explicit_zeros_stay() -> None:
    document = {"linux": {"resources": {"memory": {"reservation": 0}, "devices": [{"allow": False}]}}}
    assert spec.normalize(document) == document


def test_names_in_maps_keep_their_case() -> None:
    document = {"annotations": {"A.b": "1", "a.B": "2"}, "linux": {"sysctl": {"Net.x": "1"}}}
    assert spec.normalize(document) == document


def test_lone_surrogates_become_what_go_makes_of_them() -> None:
    assert spec.load(rb'{"hostname": "a\ud800b", "domainname": "\ud83d\ude00"}') == {
        "hostname": "a�b",
        "domainname": "😀",
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object, is an array"),
        ({"process": "x"}, "process: must be an object, is a string"),
        ({"process": {"args": "sh"}}, "process.args: must be an array, is a string"),
        ({"process": {"args": ["sh", 1]}}, "process.args[1]: must be a string, is a number"),
        ({"process": {"args": [None]}}, "process.args[0]: must be a string, is null"),
        ({"process": {"terminal": 1}}, "process.terminal: must be true or false, is a number"),
        ({"process": {"user": {"uid": True}}}, "process.user.uid: must be an integer, is true or false"),
        (
            {"process": {"user": {"uid": 1.0}}},
            "process.user.uid: must be an integer, is a number with a fraction",
        ),
        ({"process": {"user": {"uid": -1}}}, "process.user.uid: -1 is not in the range 0..4294967294"),
        ({"process": {"user": {"uid": 4294967295}}}, "process.user.uid: 4294967295 is not in the range 0..4294967294"),
        ({"process": {"user": {"gid": 4294967295}}}, "process.user.gid: 4294967295 is not in the range 0..4294967294"),
        (
            {"process": {"user": {"additionalGids": [4294967295]}}},
            "process.user.additionalGids[0]: 4294967295 is not in the range 0..4294967294",
        ),
        (
            {"process": {"rlimits": [{"hard": 1 << 64}]}},
            "process.rlimits[0].hard: 18446744073709551616 is not in the range 0..18446744073709551615",
        ),
        ({"mounts": [{}, {"options": [{}]}]}, "mounts[1].options[0]: must be a string, is an object"),
        ({"annotations": {"a.b": 1}}, 'annotations["a.b"]: must be a string, is a number'),
        (
            {"linux": {"resources": {"rdma": {"mlx": {"hcaHandles": "1"}}}}},
            'linux.resources.rdma["mlx"].hcaHandles: must be an integer, is a string',
        ),
        (
            {"linux": {"resources": {"memory": {"limit": 1 << 63}}}},
            "linux.resources.memory.limit: 9223372036854775808 is not in the range -9223372036854775808..9223372036854775807",
        ),
    ],
)
def test_wrong_types(document: object, message: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        spec.load(json.dumps(document).encode())
    assert str(raised.value) == message


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 200_000, b"1" * 5000 + b"x", b"\xef\xbb\xbf{}"])
def test_what_is_not_json(text: bytes) -> None:
    with pytest.raises(InvalidSpec, match=r"^(invalid JSON: |must be an object)"):
        spec.load(text)


@pytest.mark.parametrize("load", [spec.load, spec.load_process, spec.load_resources])
def test_a_file_that_is_not_json_is_named(load: Callable[[str], object], tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("{")
    with pytest.raises(InvalidSpec) as raised:
        load(str(path))
    assert str(raised.value).startswith(f"{path}: invalid JSON: ")


# -- ids


@pytest.mark.parametrize("name", ["a", "A_b+c.d-9", "...", "-"])
def test_good_ids(name: str) -> None:
    spec.check_id(name)


@pytest.mark.parametrize("name", [".", "..", "a/b", "a b", "a\n", "é", "a\0", "../x", "a:b"])
def test_bad_ids(name: str) -> None:
    with pytest.raises(InvalidID, match="^invalid container ID format$"):
        spec.check_id(name)


def test_no_id() -> None:
    with pytest.raises(InvalidID, match="^container id cannot be empty$"):
        spec.check_id("")


# -- rules


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "rootfs").mkdir()
    return os.path.realpath(tmp_path)


Edit = Callable[[Any], object]


def check(bundle: str, edit: Edit, *, rootless: bool = False, no_pivot: bool = False) -> None:
    document: Any = copy.deepcopy(example(rootless))
    edit(document)
    document = spec.normalize(json.loads(json.dumps(document)))
    spec.validate(
        document, rootless_euid=rootless, rootless_cgroups=rootless, bundle=bundle, no_pivot=no_pivot
    )


def put(path: str, value: object) -> Edit:
    """An edit: set the member at a dotted path; numbers index arrays."""

    def edit(document: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            document = document[int(step)] if isinstance(document, list) else document.setdefault(step, {})
        document[last] = value

    return edit


def drop(*path: str) -> Edit:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return edit


def both(*edits: Edit) -> Edit:
    def edit(document: Any) -> None:
        for one in edits:
            one(document)

    return edit


def without_namespace(kind: str) -> Edit:
    def edit(document: Any) -> None:
        spaces = document["linux"]["namespaces"]
        spaces[:] = [entry for entry in spaces if entry["type"] != kind]

    return edit


def with_namespace(kind: str, path: str = "") -> Edit:
    def edit(document: Any) -> None:
        without_namespace(kind)(document)
        document["linux"]["namespaces"].append({"type": kind, "path": path})

    return edit


def add_mount(**mount: object) -> Edit:
    return lambda document: document["mounts"].append(mount)


def user_namespace(size: int = 10) -> Edit:
    mapping = [{"containerID": 0, "hostID": 1000, "size": size}]
    return both(with_namespace("user"), put("linux.uidMappings", mapping), put("linux.gidMappings", mapping))


def seccomp(**members: object) -> Edit:
    return put("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", **members})


def rule(**members: object) -> list[dict[str, object]]:
    return [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", **members}]


ID_MAP = [{"containerID": 0, "hostID": 1000, "size": 10}]

ACCEPTED: dict[str, Edit] = {
    "example": lambda document: None,
    "no hostname, no uts": both(drop("hostname"), without_namespace("uts")),
    "user namespace": both(user_namespace(), put("process.user.uid", 9)),
    "ipc sysctls": put("linux.sysctl", {"kernel.msgmax": "1", "fs.mqueue.msg_max": "2", "kernel/sem": "3"}),
    "net sysctl": put("linux.sysctl", {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/forwarding": "1"}),
    "domainname sysctl": put("linux.sysctl", {"kernel.domainname": "x"}),
    "user sysctl": both(user_namespace(), put("linux.sysctl", {"user.max_pid_namespaces": "1"})),
    "seccomp asks for nothing": put("linux.seccomp", {"flags": ["unheard of"]}),
    "seccomp": seccomp(
        flags=[],
        architectures=["SCMP_ARCH_RISCV64"],
        syscalls=rule(args=[{"index": 5, "value": 1, "op": "SCMP_CMP_MASKED_EQ"}], errnoRet=0),
    ),
    "seccomp with an agent": seccomp(syscalls=rule(action="SCMP_ACT_NOTIFY"), listenerPath="/x"),
    "time": both(with_namespace("time"), put("linux.timeOffsets", {"boottime": {"secs": -1, "nanosecs": 9}})),
    "bind": add_mount(destination="/x", source="/y", options=["rbind", "rro", "rprivate"]),
    "id-mapped": add_mount(
        destination="/x", source="/y", options=["bind"], uidMappings=ID_MAP, gidMappings=ID_MAP
    ),
    "idmap of the container": both(
        user_namespace(), add_mount(destination="/x", source="/y", options=["bind", "idmap"])
    ),
    "hooks": put("hooks", {"prestart": [{"path": "/bin/true", "timeout": 1}]}),
    "memory policy": put("linux.memoryPolicy", {"mode": "MPOL_PREFERRED"}),
    "scheduler": put("process.scheduler", {"policy": "SCHED_BATCH", "nice": 19}),
    "io priority": put("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE"}),
    "affinity": put("process.execCPUAffinity", {"initial": "0-1, 3", "final": ""}),
    "empty sections": both(put("linux.intelRdt", {}), put("linux.netDevices", {}), put("linux.memoryPolicy", {})),
    "resctrl": put(
        "linux.intelRdt",
        {"closID": "a.b", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=1", "schemata": ["", "L2:0=f"]},
    ),
    "resctrl's root": put("linux.intelRdt", {"closID": "/", "memBwSchema": "", "enableMonitoring": True}),
    "network devices": put(
        "linux.netDevices",
        {"eth0": {"name": ""}, "fifteen-bytes-x": {"name": "eth1"}, "a": {"name": "v%d"}, "b": {"name": "v%d"}, "é": {}},
    ),
    "no network devices": both(without_namespace("network"), put("linux.netDevices", {})),
    "propagation": put("linux.rootfsPropagation", "rslave"),
}


@pytest.mark.parametrize("edit", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(bundle: str, edit: Edit) -> None:
    check(bundle, edit)


REFUSED: list[tuple[Edit, str, str]] = [
    (drop("process"), "process", "process property must not be empty"),
    (drop("process", "cwd"), "process.cwd", "Cwd property must not be empty"),
    (put("process.cwd", "tmp"), "process.cwd", "Cwd must be an absolute path"),
    (put("process.args", []), "process.args", "args must not be empty"),
    (put("process.args", ["a\0b"]), "process.args", "contains a null byte"),
    (put("process.env", ["A=1", "B"]), "process.env[1]", "invalid environment variable: missing '='"),
    (put("process.env", ["=1"]), "process.env[0]", "name cannot be empty"),
    (put("process.env", ["A=\0"]), "process.env[0]", "invalid environment variable: contains nul byte"),
    (
        put("process.rlimits", [{"type": "RLIMIT_X"}]),
        "process.rlimits[0].type",
        "wrong rlimit value: RLIMIT_X",
    ),
    (
        put("process.rlimits", [{"type": "RLIMIT_CPU", "hard": 1, "soft": 1}] * 2),
        "process.rlimits[1].type",
        "RLIMIT_CPU is given twice",
    ),
    (
        put("process.rlimits", [{"type": "RLIMIT_CPU", "hard": 1, "soft": 2}]),
        "process.rlimits[0].soft",
        "2 is above the hard limit 1",
    ),
    (put("process.scheduler", {}), "process.scheduler.policy", "scheduler policy is required"),
    (
        put("process.scheduler", {"policy": "SCHED_FIFO", "period": 1}),
        "process.scheduler.period",
        "can only be specified for SchedDeadline",
    ),
    (
        put("process.ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}),
        "process.ioPriority.priority",
        "invalid ioPriority.Priority: 8",
    ),
    (put("process.execCPUAffinity", {"final": "x"}), "process.execCPUAffinity.final", '"x"'),
    (put("process.execCPUAffinity", {"initial": ","}), "process.execCPUAffinity.initial", "no CPUs found"),
    (drop("root"), "root", "root must be specified"),
    (without_namespace("uts"), "hostname", "unable to set hostname without a private UTS namespace"),
    (
        both(drop("hostname"), put("domainname", "x"), without_namespace("uts")),
        "domainname",
        "unable to set domainname without a private UTS namespace",
    ),
    (with_namespace("net"), "linux.namespaces[5].type", 'namespace "net" does not exist'),
    (
        lambda document: document["linux"]["namespaces"].append({"type": "pid"}),
        "linux.namespaces[5]",
        "malformed spec file: duplicated ns",
    ),
    (with_namespace("pid", "/a,b"), "linux.namespaces[4].path", "invalid namespace path /a,b"),
    (
        without_namespace("mount"),
        "linux.maskedPaths",
        "unable to restrict sys entries without a private MNT namespace",
    ),
    (
        with_namespace("user"),
        "linux.namespaces",
        "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
    ),
    (put("linux.uidMappings", ID_MAP), "linux.uidMappings", "user namespace isn't enabled in the config"),
    (both(user_namespace(), drop("linux", "gidMappings")), "linux.gidMappings", "at least one mapping"),
    (user_namespace(size=0), "linux.uidMappings[0].size", "must be greater than 0"),
    (
        both(user_namespace(), put("process.user.uid", 10)),
        "process.user.uid",
        "cannot setuid to unmapped uid 10 in user namespace",
    ),
    (
        both(user_namespace(), put("process.user.gid", 10)),
        "process.user.gid",
        "cannot setgid to unmapped gid 10",
    ),
    (
        put("linux.timeOffsets", {"monotonic": {"secs": 1}}),
        "linux.timeOffsets",
        "time namespace offsets specified, but time namespace isn't enabled in the config",
    ),
    (
        both(with_namespace("time", "/proc/self/ns/time"), put("linux.timeOffsets", {"monotonic": {}})),
        "linux.timeOffsets",
        "you may only provide one",
    ),
    (
        both(with_namespace("time"), put("linux.timeOffsets", {"realtime": {}})),
        "linux.timeOffsets.realtime",
        "only monotonic and boottime",
    ),
    (
        both(with_namespace("time"), put("linux.timeOffsets", {"boottime": {"nanosecs": 10**9}})),
        "linux.timeOffsets.boottime.nanosecs",
        "must be below 1000000000",
    ),
    (add_mount(source="x"), "mounts[7].destination", "must not be empty"),
    (add_mount(destination="/x", type="a\0"), "mounts[7].type", "mount field contains null byte"),
    (
        add_mount(destination="/x", source="/y", options=["bind", "size=1"]),
        "mounts[7].options",
        "bind mounts cannot have any filesystem-specific options applied",
    ),
    (
        add_mount(destination="/x", type="tmpfs", uidMappings=ID_MAP, gidMappings=ID_MAP),
        "mounts[7]",
        "id-mapped mounts are only supported for bind-mounts",
    ),
    (
        add_mount(destination="/x", source="/y", options=["bind"], uidMappings=ID_MAP),
        "mounts[7]",
        "id-mapped mounts must have both uid and gid mappings specified",
    ),
    (
        add_mount(destination="/x", source="/y", options=["bind", "idmap"]),
        "mounts[7].options",
        "no user namespace to take them from",
    ),
    (
        add_mount(destination="/x", options=["bind", "remount"], uidMappings=ID_MAP, gidMappings=ID_MAP),
        "mounts[7].options",
        "a mount that is there already cannot be id-mapped",
    ),
    (put("hooks", {"poststop": [{"args": []}]}), "hooks.poststop[0].path", "must not be empty"),
    (
        put("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}),
        "hooks.poststop[0].timeout",
        "greater than zero",
    ),
    *(
        (put("linux.intelRdt", {"closID": name}), "linux.intelRdt.closID", f'invalid intelRdt.ClosID "{name}"')
        for name in (".", "..", "a/b", "/a", "//", "a\nb", "a\0b")
    ),
    (put("linux.intelRdt", {"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema", 'must begin with "MB:"'),
    (put("linux.intelRdt", {"memBwSchema": "MB:0=1\nL3:0=f"}), "linux.intelRdt.memBwSchema", "must be one line"),
    (put("linux.intelRdt", {"l3CacheSchema": "L3:0=f\n"}), "linux.intelRdt.l3CacheSchema", "must be one line"),
    (put("linux.intelRdt", {"schemata": ["L3:0=f", "L2:0=f\n"]}), "linux.intelRdt.schemata[1]", "must be one line"),
    *(
        (put("linux.netDevices", {name: {"name": "x"}}), f'linux.netDevices["{name}"]', f'invalid network device name "{name}"')
        for name in ("", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\0b", "à", "sixteen-bytes-xx", "ééééééöö")
    ),
    (
        put("linux.netDevices", {"a": {"name": "sixteen-bytes-xx"}}),
        'linux.netDevices["a"].name',
        'invalid network device name "sixteen-bytes-xx": it has 1 to 15 bytes, is not . or .., and has no /, : or blank',
    ),
    *(
        (put("linux.netDevices", {"a": {"name": name}}), 'linux.netDevices["a"].name', "% is for one %d, which becomes a")
        for name in ("%", "eth%x", "eth%d%d", "%%d", "eth%d%")
    ),
    (
        put("linux.netDevices", {"a": {"name": "b"}, "b": {}}),
        'linux.netDevices["b"].name',
        'another device is to be called "b" too',
    ),
    (
        both(without_namespace("network"), put("linux.netDevices", {"a": {}})),
        "linux.netDevices",
        "unable to move network devices without a NET namespace",
    ),
    (
        both(
            without_namespace("network"),
            lambda spec: spec["linux"]["namespaces"].append({"type": "network", "path": "/proc/self/ns/net"}),
            put("linux.netDevices", {"a": {}}),
        ),
        "linux.netDevices",
        "unable to move network devices without a NET namespace",
    ),
    (put("linux.rootfsPropagation", "x"), "linux.rootfsPropagation", "rootfsPropagation=x is not supported"),
    (put("linux.personality", {"domain": "X"}), "linux.personality.domain", "X"),
    (put("linux.devices", [{"type": "c"}]), "linux.devices[0].path", "must not be empty"),
    (put("linux.devices", [{"path": "/x", "type": "a"}]), "linux.devices[0].type", 'invalid device type "a"'),
    (
        put("linux.devices", [{"path": "/x", "type": "c", "major": 4096}]),
        "linux.devices[0].major",
        "4096 is not in the range 0..4095",
    ),
    (
        put("linux.resources.devices", [{"allow": True, "access": "r"}, {"allow": True}]),
        "linux.resources.devices[1].access",
        "device access at 1 field cannot be empty",
    ),
    (put("linux.resources.devices", [{"access": "rx"}]), "linux.resources.devices[0].access", '"rx"'),
    (
        put("linux.resources.devices", [{"access": "r", "type": "p"}]),
        "linux.resources.devices[0].type",
        '"p"',
    ),
    (put("linux.memoryPolicy", {"nodes": "0"}), "linux.memoryPolicy.mode", 'invalid memory policy mode ""'),
    (
        put("linux.memoryPolicy", {"mode": "MPOL_BIND", "flags": ["X"]}),
        "linux.memoryPolicy.flags[0]",
        'invalid memory policy flag "X"',
    ),
    (
        put("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "x"}),
        "linux.memoryPolicy.nodes",
        'invalid memory policy nodes "x": ',
    ),
    (
        put("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "nodes": "0-1"}),
        "linux.memoryPolicy.nodes",
        "memory policy mode requires 0 nodes but got 2: set_mempolicy: invalid argument",
    ),
    (
        put("linux.memoryPolicy", {"mode": "MPOL_INTERLEAVE"}),
        "linux.memoryPolicy.nodes",
        "memory policy mode requires at least one node but got 0: set_mempolicy: invalid argument",
    ),
    (seccomp(defaultAction="X"), "linux.seccomp.defaultAction", "string X is not a valid action for seccomp"),
    (
        seccomp(defaultAction="SCMP_ACT_NOTIFY"),
        "linux.seccomp.defaultAction",
        "SCMP_ACT_NOTIFY cannot be used as default action",
    ),
    (seccomp(architectures=["X"]), "linux.seccomp.architectures[0]", "string X is not a valid arch"),
    (seccomp(flags=["X"]), "linux.seccomp.flags[0]", "seccomp flag X is not known to runc"),
    (
        seccomp(syscalls=rule(action="X")),
        "linux.seccomp.syscalls[0].action",
        "string X is not a valid action",
    ),
    (
        seccomp(syscalls=rule(names=["read", "write"], action="SCMP_ACT_NOTIFY"), listenerPath="/x"),
        "linux.seccomp.syscalls[0].names",
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
    (
        seccomp(syscalls=rule(action="SCMP_ACT_NOTIFY")),
        "linux.seccomp.listenerPath",
        "seccomp listenerPath is not set",
    ),
    (
        seccomp(syscalls=rule(args=[{"op": "X"}])),
        "linux.seccomp.syscalls[0].args[0].op",
        "string X is not a valid operator for seccomp",
    ),
    (
        seccomp(syscalls=rule(args=[{"op": "SCMP_CMP_EQ", "index": 6}])),
        "linux.seccomp.syscalls[0].args[0].index",
        "6 is not in the range 0..5",
    ),
]


@pytest.mark.parametrize(
    ("edit", "path", "text"), REFUSED, ids=[f"{path}-{text}" for _, path, text in REFUSED]
)
def test_refused(bundle: str, edit: Edit, path: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "libcontainer.example_spec.os.path.exists", lambda path: False
    )  # cgroup v1: no cgroup ns
    with pytest.raises(InvalidSpec) as raised:
        check(bundle, edit)
    assert raised.value.path == path
    assert text in raised.value.reason


SYSCTLS = [
    (
        without_namespace("ipc"),
        "kernel.shmmax",
        'sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace',
    ),
    (without_namespace("network"), "net.x", 'sysctl "net.x" not allowed in host network namespace'),
    (
        with_namespace("network", "/proc/self/ns/net"),
        "net/x",
        'sysctl "net.x" not allowed in host network namespace',
    ),
    (both(), "user.max_x", "setting ucounts without a user namespace not allowed: user.max_x"),
    (both(), "kernel.hostname", 'conflicts with the OCI "hostname" field'),
    (both(), "kernel.panic", 'sysctl "kernel.panic" is not in a separate kernel namespace'),
    (both(), "vm.swappiness", 'sysctl "vm.swappiness" is not in a separate kernel namespace'),
    (both(), "net/../kernel/panic", "is not the name of a kernel parameter"),
    (both(), "net.//.kernel.panic", "is not the name of a kernel parameter"),
    (both(), "/net/x", "is not the name of a kernel parameter"),
    (
        both(drop("hostname"), without_namespace("uts")),
        "kernel.domainname",
        'sysctl "kernel.domainname" is not in a separate kernel namespace',
    ),
]


@pytest.mark.parametrize(("edit", "name", "text"), SYSCTLS, ids=[name for _, name, _ in SYSCTLS])
def test_sysctls_refused(bundle: str, edit: Edit, name: str, text: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        check(bundle, both(edit, put("linux.sysctl", {name: "1"})))
    assert text in str(raised.value)
    assert raised.value.path.startswith("linux.sysctl[")


ROOTLESS: list[tuple[Edit, str]] = [
    (
        both(without_namespace("user"), drop("linux", "uidMappings"), drop("linux", "gidMappings")),
        "rootless container requires user namespaces",
    ),
    (put("process.user.additionalGids", [5]), "cannot set any additional groups in a rootless container"),
    (
        add_mount(destination="/x", type="tmpfs", options=["uid=7"]),
        "cannot specify uid=7 mount option for rootless container: ",
    ),
    (
        add_mount(destination="/x", type="tmpfs", options=["size=1,gid=99999999999999999999999"]),
        "cannot specify gid=99999999999999999999999 mount option for rootless container: ",
    ),
    (
        add_mount(destination="/x", source="/y", options=["bind"], uidMappings=ID_MAP, gidMappings=ID_MAP),
        "id-mapped mounts are not supported for rootless containers",
    ),
    (put("linux.netDevices", {"eth0": {}}), "network devices are not supported for rootless containers"),
]


@pytest.mark.parametrize(("edit", "text"), ROOTLESS, ids=[text for _, text in ROOTLESS])
def test_rootless_refused(bundle: str, edit: Edit, text: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        check(bundle, edit, rootless=True)
    assert text in str(raised.value)


@pytest.mark.parametrize(("euid", "cgroups"), [(True, False), (False, True)])
def test_network_devices_are_for_root_in_both_senses(bundle: str, euid: bool, cgroups: bool) -> None:
    document: Any = copy.deepcopy(example(True))
    document["linux"]["namespaces"].append({"type": "network"})
    document["linux"]["netDevices"] = {"eth0": {}}
    spec.validate(document, rootless_euid=False, rootless_cgroups=False, bundle=bundle)
    with pytest.raises(InvalidSpec, match="network devices are not supported for rootless containers"):
        spec.validate(document, rootless_euid=euid, rootless_cgroups=cgroups, bundle=bundle)


def test_rootless_needs_both_maps(bundle: str) -> None:
    # The general rule, that container's root is mapped, comes first; what counts is that it is refused.
    for kind in ("uidMappings", "gidMappings"):
        with pytest.raises(InvalidSpec, match=f"^linux.{kind}: "):
            check(bundle, drop("linux", kind), rootless=True)


def test_rootless_accepted(bundle: str) -> None:
    check(
        bundle, add_mount(destination="/x", type="tmpfs", options=["uid=0", "gid=0", "uid=x"]), rootless=True
    )


def test_private_propagation_needs_pivot_root(bundle: str) -> None:
    check(bundle, put("linux.rootfsPropagation", "slave"), no_pivot=True)
    with pytest.raises(
        InvalidSpec, match=r"rootfsPropagation of \[r\]private is not safe without pivot_root"
    ):
        check(bundle, put("linux.rootfsPropagation", "rprivate"), no_pivot=True)


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="SELinux is on")
def test_selinux_label_without_selinux(bundle: str) -> None:
    with pytest.raises(InvalidSpec, match="but selinux is disabled or not supported"):
        check(bundle, put("process.selinuxLabel", "system_u:system_r:container_t:s0"))


def test_rootfs_must_be_there(bundle: str) -> None:
    with pytest.raises(Error) as raised:
        check(bundle, put("root.path", "nowhere"))
    assert describe(raised.value).startswith("invalid rootfs: ")
    assert describe(raised.value).endswith("/nowhere: no such file or directory")


def test_rootfs_must_not_be_or_contain_a_symlink(bundle: str) -> None:
    os.mkdir(f"{bundle}/rootfs/in")
    os.symlink("rootfs", f"{bundle}/link")
    for path in ("link", "link/in", f"{bundle}/link"):
        with pytest.raises(InvalidSpec, match="invalid rootfs: not an absolute path, or a symlink"):
            check(bundle, put("root.path", path))
    check(bundle, put("root.path", "./rootfs/../rootfs/"))


def test_namespace_path_must_exist(bundle: str) -> None:
    with pytest.raises(Error) as raised:
        check(bundle, with_namespace("pid", "/proc/0/ns/pid"))
    assert describe(raised.value) == "namespace path: /proc/0/ns/pid: no such file or directory"


def test_joined_user_namespace_may_be_described_as_it_is() -> None:
    linux: Any = {"uidMappings": ID_MAP}
    spec.check_joined_mappings(linux, ID_MAP, [])  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="both namespace path and non-matching mapping specified"):
        spec.check_joined_mappings(linux, [{"containerID": 0, "hostID": 1, "size": 1}], [])


def test_memory_policy() -> None:
    assert spec.memory_policy({"mode": "MPOL_PREFERRED_MANY", "nodes": "0,2-3"}) == (5, 0b1101)
    flags = ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]
    assert spec.memory_policy({"mode": "MPOL_BIND", "nodes": "1", "flags": flags}) == (2 | 0xA000, 0b10)
    assert spec.memory_policy({"mode": "MPOL_DEFAULT"}) == (0, 0)
