"""What a key in a checkpoint stands for on this host."""

from __future__ import annotations

import os

import pytest

from libcontainer.criu import mounts_sources
from libcontainer.criu.mounts_image import ImageMount
from libcontainer.criu.mounts_sidecar import Sidecar
from libcontainer.criu.mounts_sources import Host, Source
from libcontainer.errors import Error
from libcontainer.mounts import Mount

NOTHING = Sidecar({}, trusted=False)


def image(mountpoint: str, key: str | None, *, shared: int = 0, master: int = 0, root: str = "/") -> ImageMount:
    fields: dict[int, int | bytes] = {1: 1, 2: 1, 4: 0, 5: 0, 10: shared, 11: master}
    fields |= {6: root.encode(), 7: mountpoint.encode()}
    if key is not None:
        fields[18] = os.fsencode(key)
    return ImageMount(fields)


def bind(destination: str, source: str, *options: str) -> Mount:
    return Mount({"destination": destination, "type": "bind", "source": source, "options": list(options)}, "/b", "/b/rootfs")


def find(
    *images: ImageMount, host: Host | None = None, overrides: dict[str, str] | None = None, noted: Sidecar = NOTHING
) -> dict[str, Source]:
    found = mounts_sources.sources(images, host or Host(binds={}), overrides or {}, noted)
    return {source.key: source for source in found}


def test_mounts_without_a_key_need_nothing() -> None:
    assert find(image("/proc", None)) == {}


def test_bind_mounts_are_found_by_destination() -> None:
    data = bind("/data", "/srv/data", "rbind")
    found = find(image("/data", "/data"), host=Host(binds={"/data": data}))
    assert (found["/data"].mount, found["/data"].rest, found["/data"].where) == (data, "", "/srv/data")


def test_masked_files_are_the_null_device_once() -> None:
    found = find(image("/proc/kcore", "/dev/null"), image("/proc/keys", "/dev/null"))
    assert [(source.path, len(source.users)) for source in found.values()] == [("/dev/null", 2)]


def test_devices_are_found_by_path() -> None:
    assert find(image("/dev/fuse", "/dev/fuse"), host=Host(binds={}, devices=["/dev/fuse"]))["/dev/fuse"].path == "/dev/fuse"


def test_cgroups_are_the_containers_new_ones() -> None:
    host = Host(binds={}, cgroups={"/sys/fs/cgroup/cpu": "/sys/fs/cgroup/cpu/new"})
    assert find(image("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu"), host=host)["/sys/fs/cgroup/cpu"].path.endswith("/new")


def test_dev_of_a_user_namespace_is_made_anew() -> None:
    found = find(image("/dev", "/dev"), host=Host(binds={}, fill_dev=True))
    assert (found["/dev"].dev, found["/dev"].where) == (True, "a new /dev")


def test_what_was_mounted_below_a_recursive_bind_mount() -> None:
    outer, inner = bind("/a", "/srv/a", "rbind"), bind("/a/b", "/srv/b", "rbind")
    found = find(image("/a/b/c", "/a/b/c"), host=Host(binds={"/a": outer, "/a/b": inner}))
    assert (found["/a/b/c"].mount, found["/a/b/c"].rest) == (inner, "c")


def test_nothing_is_taken_from_below_one_that_is_not_recursive() -> None:
    with pytest.raises(Error, match="'/a/b'"):
        find(image("/a/b", "/a/b"), host=Host(binds={"/a": bind("/a", "/srv/a", "bind")}))


def test_a_file_system_that_criu_does_not_know_is_made_anew() -> None:
    huge = Mount({"destination": "/huge", "type": "hugetlbfs", "source": "none"}, "/b", "/b/rootfs")
    found = find(image("/huge", "/huge"), host=Host(binds={}, file_systems={"/huge": huge}))
    assert (found["/huge"].new, found["/huge"].mount, found["/huge"].where) == (huge, None, "a new hugetlbfs")


@pytest.mark.parametrize("key", ["/etc", "/data/../etc", "/", "..", "/dev/sda"])
def test_images_do_not_choose(key: str) -> None:
    with pytest.raises(Error, match="config.json has no bind mount for it"):
        find(image("/x", key), host=Host(binds={"/data": bind("/data", "/srv/data", "bind")}))


@pytest.mark.parametrize("key", ["", "/data/x]:/srv/data/]:", b"/data/\xff".decode(errors="surrogateescape")])
def test_a_name_that_criu_would_read_as_another_is_refused(key: str) -> None:
    """It takes "mnt[KEY]:PATH" apart at the first "]:"; what follows in the key would be a path of the images' choice."""
    with pytest.raises(Error, match="CRIU cannot take the name"):
        find(image("/x", key), host=Host(binds={"/data": bind("/data", "/srv/data", "rbind")}))


def overlay(mountpoint: str, options: str, *, device: int = 9, parent: int = 1) -> ImageMount:
    fields: dict[int, int | bytes] = {1: 17, 2: 50, 3: device, 4: parent, 5: 0, 6: b"/"}
    return ImageMount(fields | {7: mountpoint.encode(), 9: options.encode()})


ROOT = image("/", None)
OPTIONS = ["lowerdir=/a:/b", "upperdir=/u", "workdir=/w", "metacopy=on"]
CONFIGURED = Mount({"destination": "/x", "type": "overlay", "source": "o", "options": OPTIONS}, "/b", "/b/rootfs")


@pytest.mark.parametrize(
    ("mount", "refused"),
    [
        (overlay("/x", "lowerdir=/a:/b,upperdir=/u,workdir=/w,redirect_dir=on"), False),  # as runc dumps it
        (overlay("/x", "lowerdir=/etc,upperdir=/u,workdir=/w"), True),
        (overlay("/x", "lowerdir=/a:/b"), True),
        (overlay("/y", "lowerdir=/a:/b,upperdir=/u,workdir=/w"), True),
        (overlay("/y", "lowerdir=/a", device=0), False),  # a bind mount of the root
        (overlay("/", "lowerdir=/a", parent=0), False),  # the root itself
    ],
)
def test_overlays_are_those_of_the_config(mount: ImageMount, refused: bool) -> None:
    host = Host(binds={}, file_systems={"/x": CONFIGURED})
    if not refused:
        find(ROOT, mount, host=host)
        return
    with pytest.raises(Error, match="overlays of directories that config.json does not name: refused for '/[xy]'"):
        find(ROOT, mount, host=host)


def test_all_that_is_unknown_is_told_with_what_it_was() -> None:
    noted = Sidecar({"/a": "/srv/a"}, trusted=False)
    with pytest.raises(Error, match=r"'/a': .*--ext-mount /a=/srv/a; '/b': .*--ext-mount /b=PATH"):
        find(image("/a", "/a"), image("/b", "/b"), noted=noted)


def test_notes_of_this_host_are_taken_and_must_be_without_symlinks() -> None:
    found = find(image("/a", "/a"), noted=Sidecar({"/a": "/srv/a"}, trusted=True))
    assert (found["/a"].path, found["/a"].real) == ("/srv/a", True)


def test_the_config_comes_before_notes_and_overrides_before_both() -> None:
    data = bind("/a", "/srv/a", "bind")
    noted = Sidecar({"/a": "/srv/noted"}, trusted=True)
    assert find(image("/a", "/a"), host=Host(binds={"/a": data}), noted=noted)["/a"].mount is data
    found = find(image("/a", "/a"), host=Host(binds={"/a": data}), noted=noted, overrides={"/a": "/srv/given"})
    assert (found["/a"].path, found["/a"].real) == ("/srv/given", False)


def test_an_override_that_nothing_uses() -> None:
    with pytest.raises(Error, match="the checkpoint has no external mount named 'x'"):
        find(image("/proc", None), overrides={"x": "/y"})


def test_slaves_of_groups_outside() -> None:
    own = [image("/a", None, shared=3), image("/b", None, master=3), image("/c", "c", master=9), image("/d", None)]
    assert [mount.mountpoint for mount in mounts_sources.far_slaves(own)] == ["/c"]


@pytest.mark.parametrize("text", ["", "key", "=path", "key=", "key=relative"])
def test_wrong_overrides(text: str) -> None:
    with pytest.raises(Error, match="invalid --ext-mount argument"):
        mounts_sources.overrides([text])


def test_overrides() -> None:
    assert mounts_sources.overrides(["store=/srv/a=b", "/data=/x"]) == {"store": "/srv/a=b", "/data": "/x"}
