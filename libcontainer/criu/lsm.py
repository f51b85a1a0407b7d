"""AppArmor profiles that a restore needs: they must be loaded, or CRIU fails when the processes are about to go on.

That is its last step: the network is unlocked then, connections are lost, and what waits for CRIU waits for long.
"""

from __future__ import annotations

import os

from libcontainer.criu import inventory, regular, wire
from libcontainer.errors import Error

INVENTORY, CORE = (inventory.MAGIC,), (wire.IMG_COMMON, 0x55053847)  # criu/include/magic.h
LARGEST = 1 << 20  # bytes of such an image
MOST = 1 << 16  # threads
LOADED = "/sys/kernel/security/apparmor/profiles"
APPARMOR = 2  # enum lsmtype of inventory.proto
TYPE = "apparmor:"  # of --lsm-profile
# inventory_entry.lsmtype; core_entry.thread_core, thread_core_entry.creds, creds_entry.lsm_profile
_LSMTYPE, _THREAD_CORE, _CREDS, _LSM_PROFILE = 6, 5, 10, 15


def require_profiles(images: int, given: str) -> None:
    """Raise Error unless this host has the AppArmor profiles in the images, or the one of --lsm-profile in their place."""
    loaded = _loaded()
    if loaded is None or not _by_apparmor(images):
        return
    wanted = {given.removeprefix(TYPE)} if given.startswith(TYPE) else _profiles(images)
    missing = sorted(name for profile in wanted for name in profile.split("//&") if not _known(name, loaded))
    if missing:
        names = ", ".join(map(repr, missing))
        raise Error(f"AppArmor profiles are not loaded: {names}: load them, or use --lsm-profile apparmor:NAME")


def _loaded() -> set[str] | None:
    """"NAME (MODE)" each; None where the kernel does not tell."""
    try:
        with open(LOADED, encoding="utf-8", errors="surrogateescape") as file:
            return {line.rstrip("\n").rpartition(" (")[0] for line in file}
    except OSError:
        return None


def _known(name: str, loaded: set[str]) -> bool:
    """A policy namespace's are told only to those in it."""
    return name in loaded or name == "unconfined" or name.startswith(":")


def _by_apparmor(images: int) -> bool:
    return _field(images, inventory.FILE, INVENTORY, _LSMTYPE) == APPARMOR


def _profiles(images: int) -> set[str]:
    names = [name for name in os.listdir(images) if name.startswith("core-") and name.endswith(regular.SUFFIX)]
    if len(names) > MOST:
        raise Error(f"the checkpoint has {len(names)} threads, more than {MOST}")
    profiles = (_field(images, name, CORE, _THREAD_CORE, _CREDS, _LSM_PROFILE) for name in names)
    return {profile.decode("utf-8", "surrogateescape") for profile in profiles if isinstance(profile, bytes)}


def _field(images: int, name: str, magics: tuple[int, ...], *path: int) -> int | bytes | None:
    """A field of the message in an image, or of one within it; None if it is not there."""
    try:
        found: int | bytes | None = next(wire.entries(regular.read(images, name, LARGEST), *magics), b"")
        for number in path:
            if not isinstance(found, bytes):
                return None
            found = dict(wire.fields(found)).get(number)
    except ValueError as err:
        raise Error(f"invalid checkpoint image {name}: {err}") from None
    return found
