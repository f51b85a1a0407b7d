"""The pure part of the systemd driver: names, properties, annotations."""

from __future__ import annotations

from typing import Any

import pytest

from libcontainer.cgroups import gvariant, systemd_annotations, systemd_names
from libcontainer.cgroups import systemd_properties as properties
from libcontainer.cgroups.devices import evaluate, with_defaults
from libcontainer.errors import Error, InvalidSpec, describe

MAX = 2**64 - 1
DENY = {"allow": False, "access": "rwm"}


# --- names ---


def test_the_default_place() -> None:
    location = systemd_names.locate("", "id")
    assert (location.parent, location.prefix, location.name) == ("", "runc", "id")
    assert location.unit == "runc-id.scope"
    assert location.cgroup(False) == "/system.slice/runc-id.scope"
    assert location.cgroup(True) == "/user.slice/runc-id.scope"
    assert (location.slice(False), location.slice(True)) == ("system.slice", "user.slice")


@pytest.mark.parametrize(
    ("path", "unit", "cgroup"),
    [
        ("a-b.slice:p:n", "p-n.scope", "/a.slice/a-b.slice/p-n.scope"),
        (":p:n", "p-n.scope", "/system.slice/p-n.scope"),
        ("-.slice:p:n", "p-n.scope", "/p-n.scope"),
        ("a.slice::n", "-n.scope", "/a.slice/-n.scope"),
        ("a.slice:p:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
    ],
)
def test_cgroups_path(path: str, unit: str, cgroup: str) -> None:
    location = systemd_names.locate(path, "id")
    assert location.unit == unit
    assert location.cgroup(False) == cgroup


@pytest.mark.parametrize("path", ["/a/b", "a:b", "a:b:c:d", "x"])
def test_a_path_of_another_form_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        systemd_names.locate(path, "id")
    assert str(caught.value) == (
        'linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
        f'got "{path}" instead'
    )


@pytest.mark.parametrize("path", ["a.slice:p:", "a.slice:p:../../x", "a.slice:p/q:n"])
def test_names_that_no_unit_has_are_refused(path: str) -> None:
    with pytest.raises(InvalidSpec, match=r"linux\.cgroupsPath: "):
        systemd_names.locate(path, "id")


@pytest.mark.parametrize("name", ["", "a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "--.slice", "a.scope"])
def test_slices_that_cannot_be(name: str) -> None:
    with pytest.raises(Error) as caught:
        systemd_names.expand_slice(name)
    assert str(caught.value) == f"invalid slice name: {name}"


def test_object_paths() -> None:
    assert systemd_names.object_path("1-a_b.scope").endswith("/unit/_31_2da_5fb_2escope")
    assert systemd_names.interface("a.b.slice") == "org.freedesktop.systemd1.Slice"


# --- limits ---


def v2(resources: dict[str, Any]) -> dict[str, Any]:
    told: list[str] = []
    found = {name: value for name, _signature, value in properties.for_v2(resources, told.append)}
    assert not told
    return found


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, {}),
        ({"memory": {"limit": 5, "reservation": 4}}, {"MemoryMax": 5, "MemoryLow": 4}),
        ({"memory": {"limit": 5, "swap": 8}}, {"MemoryMax": 5, "MemorySwapMax": 3}),
        ({"memory": {"limit": 5, "swap": 5}}, {"MemoryMax": 5, "MemorySwapMax": 0}),
        ({"memory": {"limit": -1}}, {"MemoryMax": MAX, "MemorySwapMax": MAX}),
        ({"memory": {"limit": 5, "swap": -1}}, {"MemoryMax": 5, "MemorySwapMax": MAX}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": 0}}, {"TasksMax": 1}),
        ({"pids": {"limit": -1}}, {"TasksMax": MAX}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"idle": 0, "shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"quota": 5000}}, {"CPUQuotaPerSecUSec": 50000}),
        ({"cpu": {"quota": 5001}}, {"CPUQuotaPerSecUSec": 60000}),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": MAX}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": MAX}),
        ({"cpu": {"quota": 50000, "period": 200000}}, {"CPUQuotaPeriodUSec": 200000, "CPUQuotaPerSecUSec": 250000}),
        ({"cpu": {"cpus": "0,2-3,8", "mems": "0"}}, {"AllowedCPUs": b"\x0d\x01", "AllowedMemoryNodes": b"\x01"}),
        ({"blockIO": {"weight": 1000}}, {"IOWeight": 10000}),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}, {"major": 8, "minor": 1, "leafWeight": 5}]}},
            {"IODeviceWeight": [("/dev/block/8:0", 1)]},
        ),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}, {"major": 8, "minor": 16, "rate": 0}]}},
            {"IOReadBandwidthMax": [("/dev/block/8:0", 9), ("/dev/block/8:16", MAX)]},
        ),
        (
            {"unified": {"memory.high": "1G", "memory.min": "5", "memory.max": "max", "pids.max": "9\n"}},
            {"MemoryHigh": 2**30, "MemoryMin": 5, "MemoryMax": MAX, "TasksMax": 9},
        ),
        ({"unified": {"cpu.max": "max 50000"}}, {"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": MAX}),
        ({"unified": {"cpu.max": "20000"}}, {"CPUQuotaPeriodUSec": 100000, "CPUQuotaPerSecUSec": 200000}),
        ({"unified": {"cpu.weight": "42", "cpu.idle": "0"}}, {"CPUWeight": 42}),
        ({"unified": {"cpuset.cpus": "1", "cpuset.mems": "0"}}, {"AllowedCPUs": b"\x02", "AllowedMemoryNodes": b"\x01"}),
        ({"unified": {"io.max": "8:0 rbps=1", "hugetlb.2MB.max": "0", "memory.oom.group": "1"}}, {}),
        ({"pids": {"limit": 7}, "unified": {"pids.max": "8"}}, {"TasksMax": 8}),
    ],
)
def test_v2(resources: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert v2(resources) == wanted


@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": {"idle": 1, "shares": 5}},
        {"unified": {"cpu.idle": "1", "cpu.weight": "5"}},
        {"cpu": {"shares": 5}, "unified": {"cpu.idle": "1"}},
        {"cpu": {"idle": 1}, "unified": {"cpu.weight": "5"}},
        {"cpu": {"idle": 0, "shares": 5}, "unified": {"cpu.weight": "5", "cpu.idle": "1"}},
    ],
)
def test_idle_and_weight_exclude_each_other(resources: dict[str, Any]) -> None:
    told: list[str] = []
    assert properties.for_v2(resources, told.append) == [("CPUWeight", "t", 0)]
    assert told == ["unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight"]


@pytest.mark.parametrize(
    ("file", "value", "text"),
    [
        ("a/b.c", "", 'unified resource "a/b.c" must be a file name (no slashes)'),
        ("abc", "", 'unified resource "abc" must be in the form CONTROLLER.PARAMETER'),
        (".max", "", 'unified resource ".max" must be in the form CONTROLLER.PARAMETER'),
        ("pids.max", "1k", 'unified resource "pids.max" value conversion error: "1k" is not a number'),
        ("memory.max", "", 'unified resource "memory.max" value conversion error: "" is not a number'),
        ("cpu.max", "1 2 3", 'unified resource "cpu.max" value invalid: "1 2 3"'),
        ("cpu.max", "1 x", 'unified resource "cpu.max" value conversion error: "x" is not a number'),
        ("cpuset.cpus", "3-1", "unified resource \"cpuset.cpus\"='3-1' conversion error: invalid range \"3-1\""),
    ],
)
def test_unified_that_is_wrong(file: str, value: str, text: str) -> None:
    with pytest.raises(Error) as caught:
        v2({"unified": {file: value}})
    assert describe(caught.value) == text


def test_v1() -> None:
    resources = {
        "memory": {"limit": -1},
        "cpu": {"shares": 77, "quota": 1, "cpus": "0"},
        "pids": {"limit": 3},
        "blockIO": {"weight": 33},
    }
    assert properties.for_v1(resources) == [
        ("MemoryLimit", "t", MAX),
        ("CPUShares", "t", 77),
        ("CPUQuotaPerSecUSec", "t", 10000),
        ("BlockIOWeight", "t", 33),
        ("TasksMax", "t", 3),
        ("AllowedCPUs", "ay", b"\x01"),
    ]
    assert properties.for_v1({}) == []


def test_the_cgroup_file_gets_the_rounded_quota() -> None:
    resources = {"cpu": {"quota": 5001, "period": 100000, "shares": 5}, "pids": {"limit": 1}}
    assert properties.rounded(resources) == {"cpu": {"quota": 6000, "period": 100000, "shares": 5}, "pids": {"limit": 1}}
    assert resources["cpu"]["quota"] == 5001
    for untouched in ({}, {"cpu": {"quota": 5000}}, {"cpu": {"quota": -1}}, {"cpu": {"period": 1000}}):
        assert properties.rounded(untouched) is untouched


def test_unified_may_say_that_it_is_not_idle() -> None:
    told: list[str] = []
    resources = {"cpu": {"shares": 1024, "idle": 0}, "unified": {"cpu.idle": "0"}}
    assert properties.for_v2(resources, told.append) == [("CPUWeight", "t", 100)]
    assert told == []


def test_the_cgroup_files_of_an_idle_group_get_no_weight() -> None:
    idle: Any = {"cpu": {"idle": 1, "shares": 5, "quota": 7}, "unified": {"cpu.weight": "5", "pids.max": "1"}}
    assert properties.without_idle_weight(idle) == {"cpu": {"idle": 1, "quota": 7}, "unified": {"pids.max": "1"}}
    assert idle["cpu"]["shares"] == 5
    not_idle = {"unified": {"cpu.idle": "0", "cpu.weight": "5"}}
    for untouched in ({}, {"cpu": {"idle": 0, "shares": 5}}, {"cpu": {"idle": 1}}, not_idle):
        assert properties.without_idle_weight(untouched) is untouched


def test_what_an_old_systemd_lacks() -> None:
    every: list[properties.Property] = [
        ("AllowedCPUs", "ay", b"\1"),
        ("OOMPolicy", "s", "kill"),
        ("CPUWeight", "t", 0),
        ("CPUWeight", "t", 5),
    ]
    assert properties.known(every, 253) == every
    assert properties.known(every, 252) == [every[0], *every[2:]]
    assert properties.known(every, 251) == [every[0], every[3]]
    assert properties.known(every, 243) == [every[3]]


def test_the_oom_policy() -> None:
    assert properties.oom_policy({"unified": {"memory.oom.group": "1"}}) == [("OOMPolicy", "s", "kill")]
    assert properties.oom_policy({"unified": {"memory.oom.group": "0"}}) == [("OOMPolicy", "s", "continue")]
    assert properties.oom_policy({}) == []


# --- devices ---


def device_properties(rules: list[dict[str, Any]]) -> tuple[list[Any], list[str]]:
    told: list[str] = []
    return properties.devices(evaluate(rules), told.append), told


def test_device_rules() -> None:
    rules = with_defaults([DENY, {"allow": True, "type": "b", "major": 8, "access": "r"}])
    found, told = device_properties(rules)
    assert not told
    assert found[:2] == [("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", [])]
    assert [entry for entry in found[2][2] if entry[0] in ("block-8", "char-*", "/dev/char/1:3", "char-136")] == [
        ("block-8", "r"),
        ("char-*", "m"),
        ("/dev/char/1:3", "rwm"),
        ("char-136", "rwm"),
    ]


def test_every_device() -> None:
    assert device_properties([{"allow": True, "access": "rwm"}]) == (
        [("DevicePolicy", "s", "auto"), ("DeviceAllow", "a(ss)", [])],
        [],
    )


def test_rules_that_systemd_has_no_words_for() -> None:
    every = {"allow": True, "access": "rwm"}
    found, told = device_properties([every, {"allow": False, "type": "c", "major": 1, "access": "r"}])
    assert found == [("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", [])]
    assert told == ["systemd doesn't support blacklist device rules -- applying temporary deny-all rule"]
    found, told = device_properties([DENY, {"allow": True, "type": "c", "minor": 5, "access": "r"}])
    assert found == [("DevicePolicy", "s", "strict"), ("DeviceAllow", "a(ss)", [])]
    assert told == ["systemd doesn't support '*:n' device rules -- temporarily ignoring rule: c *:5"]


# --- annotations ---


def test_annotations() -> None:
    annotations = {
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Before": '["a.service", \'b.service\']',
        "org.systemd.property.TimeoutStopSec": "uint64 1234",
        "org.systemd.property.RestartSec": "1.5",
        "org.systemd.property.DefaultDependencies": "true",
        "org.systemd.property.XSec": "5",
        "bundle": "x",
    }
    assert systemd_annotations.properties(annotations) == [
        ("CollectMode", "s", "inactive-or-failed"),
        ("Before", "as", ["a.service", "b.service"]),
        ("TimeoutStopUSec", "t", 1234000000),
        ("RestartUSec", "t", 1500000),
        ("DefaultDependencies", "b", True),
        ("XSec", "i", 5),
    ]


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("ab", "1", "annotation org.systemd.property.ab name incorrect: too short"),
        ("A.b", "1", "annotation org.systemd.property.A.b name incorrect: contains non-alphabetic character"),
        ("Abé", "1", "annotation org.systemd.property.Abé name incorrect: contains non-alphabetic character"),
        ("Abc", "", "annotation org.systemd.property.Abc= value parse error: unexpected end"),
        ("StopSec", "'5'", "annotation org.systemd.property.StopSec='5' value parse error: not a number"),
        ("aSec", "inf", "annotation org.systemd.property.aSec=inf value parse error: cannot convert float infinity to integer"),
    ],
)
def test_annotations_that_are_wrong(name: str, text: str, wrong: str) -> None:
    with pytest.raises(Error) as caught:
        systemd_annotations.properties({f"org.systemd.property.{name}": text})
    assert describe(caught.value) == wrong


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("5", "i", 5),
        ("-0x10", "i", -16),
        ("010", "i", 8),
        ("0", "i", 0),
        ("1e3", "d", 1000.0),
        ("uint64 18446744073709551615", "t", MAX),
        ("byte 3", "y", 3),
        ("@y 3", "y", 3),
        ("int16 -1", "n", -1),
        ("objectpath '/a'", "o", "/a"),
        ("signature 'as'", "g", "as"),
        ("  true ", "b", True),
        (r"'a\'\n\u00e9\x'", "s", "a'\né\x78"),
        ("b'ab'", "ay", b"ab\0"),
        ("@as []", "as", []),
        ("[]", "", "an empty array needs a type in front of it, like @as []"),
        ("@at [1, 2]", "at", [1, 2]),
        ("[1, 2.5]", "ad", [1.0, 2.5]),
        ("[uint64 1, 2]", "at", [1, 2]),
        ("[1, uint64 2]", "at", [1, 2]),
        ("('a', 1)", "(si)", ("a", 1)),
        ("('a',)", "(s)", ("a",)),
        ("[('/dev/x', uint64 5)]", "a(st)", [("/dev/x", 5)]),
        ("@a(st) [('/dev/x', 5), ('/y', 6)]", "a(st)", [("/dev/x", 5), ("/y", 6)]),
        ("{'a': <1>, 'b': <'x'>}", "a{sv}", {"a": ("i", 1), "b": ("s", "x")}),
        ("@a{sv} {}", "a{sv}", {}),
        ("<@as []>", "v", ("as", [])),
    ],
)
def test_gvariant(text: str, signature: str, value: Any) -> None:
    if signature:
        assert gvariant.parse(text) == (signature, value)
        return
    with pytest.raises(Error) as caught:
        gvariant.parse(text)
    assert str(caught.value) == value


@pytest.mark.parametrize(
    "text",
    [
        *["", "x", "5 5", "'a", "[1", "[1 2]", "(1, 2", "{1: 2", "<1", "@", "@x", "@s 5", "@as ['a', 5]", "byte 256"],
        *["uint64 -1", "[1, 'a']", "@(ss) ('a',)", "uint64 @s 'a'", "1x", "'\\u12'", "@a{sv [] ", "true1", "b", "{}"],
        *["[" * 100, "@" + "a" * 1000, "5000000000", "objectpath 5"],
    ],
)
def test_gvariant_that_is_none(text: str) -> None:
    with pytest.raises(Error):
        gvariant.parse(text)
