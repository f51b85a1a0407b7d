"""Which mounts get external keys, case by case; the keys are those that runc gives."""

from __future__ import annotations

import pytest

from libcontainer.criu import mountinfo, mounts
from libcontainer.errors import Error

# a container with the mounts of a default config.json
DEFAULT = """\
100 50 8:1 /srv/rootfs / rw,relatime - ext4 /dev/sda1 rw
101 100 0:51 / /proc rw,relatime - proc proc rw
102 100 0:52 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k
103 102 0:53 / /dev/pts rw - devpts devpts rw,gid=5,mode=620
104 102 0:54 / /dev/shm rw - tmpfs shm rw
105 102 0:55 / /dev/mqueue rw - mqueue mqueue rw
106 100 0:56 / /sys ro - sysfs sysfs ro
107 106 0:57 / /sys/fs/cgroup ro - tmpfs cgroup rw,mode=755
108 107 0:30 /box /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
109 101 0:51 /bus /proc/bus ro,relatime - proc proc rw
110 101 0:51 /sys /proc/sys ro,relatime - proc proc rw
111 102 0:53 /0 /dev/console rw - devpts devpts rw,gid=5,mode=620
"""
HOST = """\
1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
2 1 0:5 / /dev rw - devtmpfs devtmpfs rw
3 1 0:40 / /run rw shared:7 - tmpfs run rw
4 1 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""
OWN = {"pid", "network", "ipc", "mount", "uts"}


def choose(extra: str = "", *, overrides: dict[str, str] | None = None, **facts: object) -> dict[str, str]:
    known: dict[str, object] = {"namespaces": OWN | {"cgroup"}, "host": mountinfo.parse(HOST), **facts}
    return mounts.external(mountinfo.parse(DEFAULT + extra), mounts.Facts(**known), overrides or {})  # type: ignore[arg-type]


def test_a_default_container_has_none() -> None:
    assert choose() == {}


def test_cgroups_without_a_namespace_of_their_own_are_named_after_their_place() -> None:
    assert choose(namespaces=OWN) == {"/sys/fs/cgroup/memory": "/sys/fs/cgroup/memory"}


def test_a_bind_mount_of_the_config_is_named_after_its_destination() -> None:
    extra = "120 100 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n"
    assert choose(extra, binds=["/data"]) == {"/data": "/data"}


def test_a_bind_mount_that_nobody_has_configured_is_found() -> None:
    """Added after the start; runc does not see it."""
    assert choose("120 100 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n") == {"/data": "/data"}


OVERLAY_ROOT = "100 50 0:60 / / rw - overlay overlay rw,lowerdir=/l\n" + DEFAULT.partition("\n")[2]


def test_a_bind_mount_of_an_overlay_that_is_the_root_is_the_containers_own() -> None:
    """Whole or in part, also if the host has it mounted."""
    text = f"{OVERLAY_ROOT}120 100 0:60 / /whole rw - overlay overlay rw,lowerdir=/l\n"
    text += "121 100 0:60 /a /part rw - overlay overlay rw,lowerdir=/l\n"
    host = mountinfo.parse(f"{HOST}9 1 0:60 / /srv/merged rw - overlay overlay rw,lowerdir=/l\n")
    facts = mounts.Facts(namespaces=OWN | {"cgroup"}, host=host)
    assert mounts.external(mountinfo.parse(text), facts, {}) == {}


def test_any_other_overlay_is_external() -> None:
    """CRIU could mount it, of whatever the host has at the same paths."""
    assert choose("120 100 0:70 / /x rw - overlay overlay rw,lowerdir=/etc\n") == {"/x": "/x"}


def test_a_directory_of_the_rootfs_mounted_elsewhere_in_it_is_the_containers_own() -> None:
    assert choose("120 100 8:1 /srv/rootfs/a /b rw - ext4 /dev/sda1 rw\n") == {}


def test_a_tmpfs_of_the_host_is_not_taken_for_the_containers() -> None:
    assert choose("120 100 0:40 / /host-run rw master:7 - tmpfs run rw\n") == {"/host-run": "/host-run"}


def test_what_came_by_propagation_is_external() -> None:
    """The host has mounted something below a directory that the container sees as a slave."""
    extra = "120 100 8:1 /srv/data /data rw master:1 - ext4 /dev/sda1 rw\n121 120 0:77 / /data/new rw master:9 - tmpfs new rw\n"
    host = mountinfo.parse(HOST + "9 1 0:77 / /srv/data/new rw shared:9 - tmpfs new rw\n")
    assert choose(extra, binds=["/data"], host=host) == {"/data": "/data", "/data/new": "/data/new"}


def test_masked_files_share_one_key() -> None:
    extra = "".join(f"12{n} 101 0:5 /null /proc/{name} rw - devtmpfs devtmpfs rw\n" for n, name in enumerate(("kcore", "keys")))
    assert choose(extra, masked=["/proc/kcore", "/proc/keys"]) == {"/proc/kcore": "/dev/null", "/proc/keys": "/dev/null"}


def test_files_masked_with_the_containers_own_null_need_no_key() -> None:
    assert choose("120 101 0:52 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k\n", masked=["/proc/kcore"]) == {}


def test_devices_bound_from_the_host_are_named_by_their_path() -> None:
    assert choose("120 102 0:5 /null /dev/null rw - devtmpfs devtmpfs rw\n") == {"/dev/null": "/dev/null"}


def test_dev_with_nodes_made_outside_the_user_namespace() -> None:
    """A process of a user namespace cannot make them again; what is bound out of it follows."""
    extra = "120 101 0:52 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw,size=65536k\n"
    found = choose(extra, masked=["/proc/kcore"], namespaces=OWN | {"cgroup", "user"}, nodes_in_dev=True)
    assert found == {"/dev": "/dev"}


def test_the_hosts_sysfs_in_a_user_namespace() -> None:
    assert choose(namespaces={"user", "pid", "ipc", "mount", "cgroup"}) == {"/sys": "/sys"}


def test_a_file_system_that_criu_does_not_know() -> None:
    assert choose("120 100 0:99 / /mnt rw - fuse.sshfs me@there rw\n") == {"/mnt": "/mnt"}


def test_overrides_give_other_keys_and_add_mounts() -> None:
    extra = "120 100 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n"
    assert choose(extra, overrides={"/data": "store", "/dev/shm": "shm"}) == {"/data": "store", "/dev/shm": "shm"}


def test_an_override_of_no_mount_is_refused() -> None:
    with pytest.raises(Error, match=r"--ext-mount: nothing is mounted in the container at '/nope'"):
        choose(overrides={"/nope": "x"})


def test_a_mount_of_the_host_hidden_by_one_of_the_containers() -> None:
    """Both have one name for CRIU: the content of the second would be lost."""
    extra = "120 100 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n121 120 0:88 / /data rw - tmpfs tmpfs rw\n"
    with pytest.raises(Error, match="'/data': a mount from the host is hidden there"):
        choose(extra)


def test_all_bad_names_are_told_at_once() -> None:
    extra = "120 100 8:1 /a /x]:y rw - ext4 /dev/sda1 rw\n121 100 8:1 /a /z]:y rw - ext4 /dev/sda1 rw\n"
    with pytest.raises(Error, match=r"'/x\]:y'.*'/z\]:y'"):
        choose(extra)


def test_strings_for_criu() -> None:
    facts = mounts.Facts(namespaces=OWN, host=mountinfo.parse(HOST))
    found = mounts.external(mountinfo.parse(DEFAULT), facts, {"/dev/shm": "shm"})
    assert mounts.strings(found) == ["mnt[/dev/shm]:shm", "mnt[/sys/fs/cgroup/memory]:/sys/fs/cgroup/memory"]


def test_a_deleted_source() -> None:
    (found,) = mountinfo.parse("120 100 8:1 /srv/gone//deleted /data rw - ext4 /dev/sda1 rw\n")
    assert (found.root, found.deleted) == ("/srv/gone", True)


def test_an_empty_source() -> None:
    (found,) = mountinfo.parse("120 100 8:1 / /data rw - tmpfs  rw,size=1k\n")
    assert (found.source, found.super_options) == ("", "rw,size=1k")
