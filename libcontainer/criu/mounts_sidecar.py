"""mounts.json, beside the images: where on the host the external mounts came from that config.json does not tell.

Somebody has added them after the start (nsenter, a hook, propagation), and the user shall not have to name them again. But
images are hostile, and a path of the host in them would be mounted for whoever wrote it. So the file is sealed with a key that
only this state root has: with a right seal restore takes the paths, else they are no more than a hint in its error.
"""

from __future__ import annotations

import json
import os

from libcontainer.criu import images_dir, mountinfo, mounts, mounts_own, regular
from libcontainer.errors import Error, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from libcontainer.container import Container
    from libcontainer.criu.mountinfo import MountInfo

NAME = "mounts.json"
KEY_FILE = ".checkpoint-key"  # in the state root
KEY_SIZE = 32
MOST = 1 << 12  # entries


class Sidecar:
    """`sources`: key -> path of the host; `trusted`: they are this host's own words."""

    __slots__ = ("sources", "trusted")

    def __init__(self, sources: Mapping[str, str], *, trusted: bool) -> None:
        self.sources = sources
        self.trusted = trusted


def name_mounts(container: Container, images: int, overrides: Mapping[str, str]) -> list[str]:
    """CRIU's external strings for a dump of the (frozen) container; where they came from is written beside the images."""
    pid = container.state.init_process_pid
    mounted = mountinfo.read(pid)
    facts = mounts.facts_of(pid, container.saved, mounted)
    keys = mounts.external(mounted, facts, overrides)
    unknown = [m for m in mounted if m.mountpoint in keys and m.mountpoint not in facts.binds and not mounts.is_cgroup(m)]
    sources = origins({mount.mountpoint: mount for mount in unknown}, keys)
    mounts_own.refuse(pid, mounted, keys, facts, {*sources, *overrides.values()})
    mounts_own.refuse_nested(pid, container.cgroup.pids(), mounted)
    write(images, sources, container.root, container.bundle)
    return mounts.strings(keys)


def origins(told: Mapping[str, MountInfo], keys: Mapping[str, str]) -> dict[str, str]:
    """key -> path of the host, for what is mounted at these places."""
    host = mountinfo.read() if told else []
    found = {}
    for mountpoint, mount in list(told.items())[:MOST]:
        path = mountinfo.path_of(host, mount)
        if path is not None:
            found[keys[mountpoint]] = path
    return found


def write(images: int, sources: Mapping[str, str], root: str, bundle: str) -> None:
    """Put the sealed file into the image directory, if there is anything to say; one of an earlier dump goes."""
    if not sources:
        regular.remove(images, NAME)
    else:
        document = {"sources": dict(sources), "seal": _seal(_key(root), sources, bundle)}
        images_dir.write(images, NAME, json.dumps(document).encode())


def read(images: int, root: str, bundle: str) -> Sidecar:
    """What the file says; nothing if there is none, as in runc's images."""
    try:
        document = json.loads(images_dir.read(images, NAME))
        sources, seal = document["sources"], document["seal"]
        if not all(isinstance(text, str) for text in (*sources, *sources.values(), seal)):
            raise TypeError("not strings")
    except SyscallError:
        return Sidecar({}, trusted=False)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        raise Error(f"invalid {NAME} in the checkpoint") from err
    return Sidecar(sources, trusted=_is_sealed(seal, sources, root, bundle))


def _is_sealed(seal: str, sources: Mapping[str, str], root: str, bundle: str) -> bool:
    from hmac import compare_digest

    try:
        with open(os.path.join(root, KEY_FILE), "rb") as file:
            key = file.read(KEY_SIZE)
    except FileNotFoundError:
        return False
    return len(key) == KEY_SIZE and seal.isascii() and compare_digest(seal, _seal(key, sources, bundle))


def _seal(key: bytes, sources: Mapping[str, str], bundle: str) -> str:
    """The bundle is in it: what was mounted in one container must not be had by another."""
    from hashlib import blake2b

    text = json.dumps([bundle, sorted(sources.items())])
    return blake2b(text.encode(), key=key).hexdigest()


def _key(root: str) -> bytes:
    """The state root's, made when it is first needed; whoever comes second finds it whole."""
    path = os.path.join(root, KEY_FILE)
    temporary = f"{path}.{os.getpid()}"
    if not os.path.exists(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(os.urandom(KEY_SIZE))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
    with open(path, "rb") as file:
        return file.read(KEY_SIZE)
