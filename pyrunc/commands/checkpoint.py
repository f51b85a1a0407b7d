"""pyrunc checkpoint: dump a running container's processes into images, with CRIU."""

from __future__ import annotations

from pyrunc.checkpoint_stats import FORMAT, STATS, Stopwatch
from pyrunc.options import NUMBER, SWITCH, TEXT, TEXTS, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from libcontainer.criu.options import CheckpointOptions
    from pyrunc.options import Invocation

COMMAND = Command(
    "checkpoint",
    "checkpoint a running container",
    arguments="<container-id> | inspect <directory>",
    count=(1, 1),
    words=("inspect",),
    flags=(
        Flag("image-path", TEXT, "directory of CRIU's images (default: ./checkpoint)"),
        Flag("work-path", TEXT, "directory of CRIU's work files and logs (default: that of the images)"),
        Flag("parent-path", TEXT, "directory, relative to the images, of an earlier pre-dump that this one builds on"),
        Flag("leave-running", SWITCH, "leave the container running"),
        Flag("tcp-established", SWITCH, "allow established TCP connections"),
        Flag("tcp-skip-in-flight", SWITCH, "skip TCP connections that are still being made"),
        Flag("tcp-close", SWITCH, "do not dump established TCP connections: they are closed in the restored container"),
        Flag("link-remap", SWITCH, "allow deleted files that are open and have another name"),
        Flag("ext-unix-sk", SWITCH, "allow unix sockets that are connected to outside of the container"),
        Flag("shell-job", SWITCH, "allow a container whose session or terminal is that of its caller"),
        Flag("lazy-pages", SWITCH, "leave the memory here, and serve it to the other host's lazy-pages daemon"),
        Flag("status-fd", NUMBER, "descriptor that gets a NUL byte when the lazy-pages server listens", default=-1),
        Flag("page-server", TEXT, "ADDRESS:PORT of the page server that takes the memory (with --lazy-pages: to serve it at)"),
        Flag("file-locks", SWITCH, "allow file locks"),
        Flag("pre-dump", SWITCH, "dump the memory only, and leave the container running"),
        Flag("manage-cgroups-mode", TEXT, "how CRIU restores cgroups: soft, full, strict or ignore (default: soft)"),
        Flag("empty-ns", TEXTS, "namespace to leave empty; only network, which always is"),
        Flag("auto-dedup", SWITCH, "free the pages in the parent's images that this dump replaces"),
        Flag("network-lock", TEXT, "how connections are held during the dump: iptables, nftables or skip"),
        Flag("timeout", NUMBER, "seconds that CRIU may take to stop the processes (default: 10)"),
        Flag("ext-mount", TEXTS, "PATH=KEY: name in the images of the mount at PATH, which is not dumped (most are found)"),
        STATS,
        FORMAT,
        Flag("ghost-limit", TEXT, "largest deleted file, in bytes (K, M, G), to keep in the images (default: 1M)"),
    ),
    description="""\
The checkpoint command saves the state of a running or paused container in an image directory, from which "restore"
makes it again, here or on another host. The container ends, unless it is left running.

"checkpoint inspect <directory>" prints what is in such a directory: processes, memory, mounts, sockets, open files.""",
)


def run(call: Invocation) -> int:
    if COMMAND.word(call.arguments):
        from pyrunc.commands import checkpoint_inspect

        return checkpoint_inspect.run(call)
    return _checkpoint(call)


def _checkpoint(call: Invocation) -> int:
    from libcontainer.container import Container
    from pyrunc import host, interrupt
    from pyrunc.progress import on_terminal

    stopwatch = Stopwatch(call)
    options = given(call)
    container = Container.load(call.arguments[0], root=call.root, log=call.log)
    if host.rootless_euid() or container.saved.has_namespace("user"):
        call.log("warning", "runc checkpoint is untested with rootless containers")
    interrupt.arm()
    container.checkpoint(options, on_terminal(call.log))
    stopwatch.show("dump", options.work_path or options.image_path)
    return 0


def given(call: Invocation) -> CheckpointOptions:
    """The flags, checked."""
    from libcontainer.criu import options

    for kind in call.texts("empty-ns"):
        options.check_empty(kind)
    names = ("work-path", "parent-path", "manage-cgroups-mode", "network-lock")
    switches = [flag.name for flag in COMMAND.flags if flag.kind == SWITCH and flag is not STATS]
    return options.CheckpointOptions(
        image_path=call.text("image-path") or "checkpoint",
        page_server=options.page_server(call.text("page-server")),
        status_fd=options.status_fd(call.number("status-fd")) if call.switch("lazy-pages") else None,
        timeout=options.seconds(call.number("timeout")),
        ghost_limit=options.size(call.text("ghost-limit")) if call.given("ghost-limit") else None,
        ext_mounts=options.ext_mounts(call.texts("ext-mount")),
        **{name.replace("-", "_"): call.text(name) for name in names},  # type: ignore[arg-type]
        **{name.replace("-", "_"): call.switch(name) for name in switches},  # type: ignore[arg-type]
    )
