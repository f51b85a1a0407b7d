"""pyrunc restore: make a container whose processes go on where those of a checkpoint were stopped."""

from __future__ import annotations

import os

from libcontainer.errors import Error, describe
from pyrunc import host, interrupt
from pyrunc.checkpoint_stats import FORMAT, STATS, Stopwatch
from pyrunc.options import CONSOLE_SOCKET, DETACH, PID_FILE, SWITCH, TEXT, TEXTS, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.container import Container
    from libcontainer.criu.restore_options import RestoreOptions
    from pyrunc.foreground import Relay
    from pyrunc.launch import Launch
    from pyrunc.options import Invocation

_CRIU_TEXTS = ("work-path", "manage-cgroups-mode", "network-lock", "lsm-profile", "lsm-mount-context")
_CRIU_SWITCHES = (
    *("tcp-established", "tcp-close", "ext-unix-sk", "shell-job", "file-locks"),
    *("auto-dedup", "lazy-pages", "ignore-host-propagation"),
)

COMMAND = Command(
    "restore",
    "restore a container from a checkpoint",
    arguments="<container-id>",
    count=(1, 1),
    flags=(
        CONSOLE_SOCKET,
        Flag("image-path", TEXT, "directory of CRIU's images (default: ./checkpoint)"),
        Flag("work-path", TEXT, "directory of CRIU's work files and logs (default: that of the images)"),
        Flag("tcp-established", SWITCH, "restore established TCP connections"),
        Flag("tcp-close", SWITCH, "restore the sockets of established TCP connections closed"),
        Flag("ext-unix-sk", SWITCH, "connect unix sockets to those outside of the container again"),
        Flag("shell-job", SWITCH, "the container's session and terminal are that of its caller"),
        Flag("file-locks", SWITCH, "restore file locks"),
        Flag("manage-cgroups-mode", TEXT, "how CRIU restores cgroups: soft, full, strict or ignore (default: soft)"),
        Flag("bundle", TEXT, "path of the bundle directory, defaults to the current directory", letter="b"),
        DETACH,
        PID_FILE,
        Flag("no-subreaper", SWITCH, "do not become the parent of what the container's processes leave behind"),
        Flag("no-pivot", SWITCH, "for the container's saved state only: CRIU enters the root its own way"),
        Flag("no-new-keyring", SWITCH, "accepted for callers that give it: session keyrings are not restored", hidden=True),
        Flag("empty-ns", TEXTS, "namespace that was left empty; only network, which always is"),
        Flag("auto-dedup", SWITCH, "free the images' pages as they are restored"),
        Flag("lazy-pages", SWITCH, "get the memory from the lazy-pages daemon when it is used"),
        Flag("lsm-profile", TEXT, "TYPE:NAME of the processes' LSM profile in place of the checkpoint's"),
        Flag("lsm-mount-context", TEXT, "SELinux context of mounts in place of the checkpoint's"),
        Flag("network-lock", TEXT, "how connections are held, in place of what the images say: iptables, nftables or skip"),
        STATS,
        FORMAT,
        Flag("ext-mount", TEXTS, "KEY=PATH: what the checkpoint's external mount KEY is here (config.json tells most)"),
        Flag(
            "ignore-host-propagation",
            SWITCH,
            "mounts that were slaves of the host's get no events, and nothing is said of it",
        ),
    ),
    description="""\
The restore command makes a container of a bundle from the images that "checkpoint" has written. Unless detached it stays
until the container's process ends; the exit status is that of the process.""",
)


def run(call: Invocation) -> int:
    from libcontainer.syscalls import PR_SET_CHILD_SUBREAPER, prctl

    stopwatch = Stopwatch(call)
    options = given(call)  # its paths are the caller's: before the bundle becomes the working directory
    from pyrunc.launch import Launch

    if not call.switch("no-subreaper"):
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    launch = Launch(call, detached=call.switch("detach"))
    if host.rootless_euid() or _has_user_namespace(launch):
        call.log("warning", "runc checkpoint is untested with rootless containers")
    if call.switch("detach"):
        interrupt.arm()
        _restore(call, launch, options, stopwatch)
        return 0
    return _foreground(call, launch, options, stopwatch)


def given(call: Invocation) -> RestoreOptions:
    """The flags that are CRIU's, checked."""
    from libcontainer.criu import mounts_sources, network, options, restore_options

    for kind in call.texts("empty-ns"):
        options.check_empty(kind)
    options.cgroup_mode(call.text("manage-cgroups-mode"))
    network.check(call.text("network-lock"))
    texts = {name.replace("-", "_"): call.text(name) for name in _CRIU_TEXTS}
    if texts["work_path"]:
        texts["work_path"] = os.path.abspath(texts["work_path"])
    return restore_options.RestoreOptions(
        image_path=os.path.abspath(call.text("image-path") or "checkpoint"),
        ext_mounts=mounts_sources.overrides(call.texts("ext-mount")),
        **texts,  # type: ignore[arg-type]
        **{name.replace("-", "_"): call.switch(name) for name in _CRIU_SWITCHES},  # type: ignore[arg-type]
    )


def _has_user_namespace(launch: Launch) -> bool:
    namespaces = launch.spec.get("linux", {}).get("namespaces", ())
    return any(namespace.get("type") == "user" for namespace in namespaces)


def _restore(
    call: Invocation, launch: Launch, options: RestoreOptions, stopwatch: Stopwatch, between: Relay | None = None
) -> Container:
    from libcontainer.container import Container
    from pyrunc.progress import on_terminal

    container = Container.restore(
        call.arguments[0],
        options,
        root=call.root,
        bundle=os.getcwd(),
        spec=launch.spec,
        stdio=between.stdio if between else (0, 1, 2),
        console_socket=launch.console_socket or None,
        console=between.receive if between else None,
        notify_socket=host.notify_socket(),
        no_pivot=call.switch("no-pivot"),
        rootless_euid=host.rootless_euid(),
        rootless_cgroups=host.rootless_cgroups(call),
        systemd_cgroup=call.switch("systemd-cgroup"),
        log=call.log,
        progress=on_terminal(call.log, summary=between is None),
    )
    launch.write_pid(container)
    stopwatch.show("restore", options.work_path or options.image_path)
    return container


def _foreground(call: Invocation, launch: Launch, options: RestoreOptions, stopwatch: Stopwatch) -> int:
    from pyrunc.foreground import attend, relay
    from pyrunc.signals import Signals

    between = relay(launch.terminal, *launch.owner)
    signals = Signals()  # before the child exists: one that ends at once must be noticed
    try:
        container = _restore(call, launch, options, stopwatch, between)
        try:
            between.started()
            between.resize()  # CRIU has given the terminal its size of old
            status = attend(container.state.init_process_pid, signals, between)
        except BaseException:
            container.delete(force=True)
            raise
        _delete(container, call)
    finally:
        between.restore()
    return status


def _delete(container: Container, call: Invocation) -> None:
    """The process has ended and its status counts: what cannot be cleaned up is only worth a warning."""
    try:
        container.delete(force=True)
    except (Error, OSError) as error:
        call.log("warning", describe(error))
