"""linux.netDevices with real devices: what arrives in the container, and that a failed create gives everything back.

The commands run in a network namespace of the test's own, which is "the host" here: the machine's is not touched.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from libcontainer import net_devices
from libcontainer.net_devices import NetDevices
from tests.root.conftest import LIMIT, wait_until
from tests.root.laboratory import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.root.conftest import Bundle, Runtime, Sandbox

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
CLONE_NEWNET = 0x40000000
NAME = "net"


class Net:
    """A network namespace with a name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"

    def make(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args: str) -> str:
        """Run ip(8) in it."""
        return subprocess.run(["ip", "-n", self.name, *args], check=True, capture_output=True, text=True).stdout

    def veth(self, name: str, peer: str, mac: str = "02:00:00:00:00:01") -> None:
        """A pair of devices that carry packets to each other, both in this namespace."""
        command = ["ip", "-n", self.name, "link", "add", name, "address", mac, "type", "veth", "peer", "name", peer]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this kernel has no veth devices")
        self.ip("link", "set", peer, "up")

    def links(self) -> dict[str, Any]:
        """Name -> what `ip` says of the device."""
        return {link["ifname"]: link for link in json.loads(self.ip("-j", "-d", "address"))}

    def addresses(self, device: str) -> set[str]:
        """All but those of scope link, which IPv6 makes by itself."""
        found = self.links()[device]["addr_info"]
        return {f"{entry['local']}/{entry['prefixlen']}" for entry in found if not entry["local"].startswith("fe80")}

    def picture(self) -> dict[str, Any]:
        """Everything that a failed create must not change, in a form that can be compared."""
        links = {}
        for name, link in self.links().items():
            facts = {key: link.get(key) for key in ("ifindex", "mtu", "address", "master")}
            links[name] = {**facts, "up": "UP" in link["flags"], "addresses": sorted(self._facts(link), key=str)}
        routes = [*json.loads(self.ip("-j", "route")), *json.loads(self.ip("-j", "-6", "route"))]
        return {"links": links, "routes": sorted((route for route in routes if route["dst"] != "fe80::/64"), key=str)}

    @staticmethod
    def _facts(link: Any) -> list[Any]:
        unsteady = ("valid_life_time", "preferred_life_time", "tentative")
        entries = [entry for entry in link["addr_info"] if not entry["local"].startswith("fe80")]
        return [{key: value for key, value in entry.items() if key not in unsteady} for entry in entries]

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@pytest.fixture
def nets() -> Iterator[Callable[[str], Net]]:
    """Makes namespaces, which go with the test. Their names are not the sandbox's: what is mounted for them is no leak."""
    made: list[Net] = []

    def make(name: str) -> Net:
        net = Net(f"pyrunc-{os.getpid()}-{name}")
        made.append(net)
        net.make()
        return net

    yield make
    for net in made:
        net.remove()


@pytest.fixture
def host(nets: Callable[[str], Net]) -> Net:
    """What stands for the host, with a device that has addresses of every kind, and routes."""
    net = nets("host")
    net.veth("dev0", "peer0")
    net.ip("link", "set", "dev0", "mtu", "1400")
    net.ip("address", "add", "10.77.0.1/24", "broadcast", "10.77.0.255", "label", "dev0:x", "dev", "dev0")
    net.ip("address", "add", "10.77.0.2/24", "dev", "dev0")
    net.ip("address", "add", "10.78.0.1/24", "scope", "link", "dev", "dev0")
    net.ip("address", "add", "10.79.0.1/24", "dev", "dev0", "valid_lft", "1000", "preferred_lft", "1000")
    net.ip("address", "add", "fd00:77::1/64", "nodad", "dev", "dev0")
    net.ip("link", "set", "dev0", "up")
    net.ip("route", "add", "10.80.0.0/16", "via", "10.77.0.9")
    net.ip("route", "add", "10.81.0.0/16", "dev", "dev0", "scope", "link")
    net.ip("-6", "route", "add", "fd00:80::/64", "via", "fd00:77::9")
    return net


@pytest.fixture
def runtime(sandbox: Sandbox, host: Net) -> Iterator[Runtime]:
    """The command under test, on that host."""
    wrapper = sandbox.directory / "pyrunc"
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --net={host.path} {sandbox.command} "$@"\n')
    wrapper.chmod(0o755)
    yield sandbox.runtime(str(wrapper))
    sandbox.delete_all()  # while there is that host


@pytest.fixture
def bundle(sandbox: Sandbox) -> Bundle:
    return sandbox.bundle()


def configure(bundle: Bundle, devices: dict[str, Any], net: Net | None = None, **linux: Any) -> None:
    """Give the container the devices, and a network namespace of its own or this one."""
    section = bundle.spec["linux"]
    section["netDevices"] = devices
    section["namespaces"] = [entry for entry in section["namespaces"] if entry["type"] != "network"]
    section["namespaces"].append({"type": "network", **({"path": net.path} if net else {})})
    section.update(linux)
    bundle.write()


def user_namespace(bundle: Bundle) -> dict[str, Any]:
    """Members of linux for a container whose root is somebody else."""
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.lchown(path, 100000, 100000)
    bundle.spec["linux"]["namespaces"].append({"type": "user"})
    return {"uidMappings": ids, "gidMappings": ids}


def refusal(runtime: Runtime, bundle: Bundle) -> str:
    """What a create says that must fail."""
    status, text = runtime.run("create", "--bundle", str(bundle.path), NAME)
    assert status == 1, text
    assert "Traceback" not in text
    assert not (runtime.root / NAME).exists()
    return text


# -- moving


@pytest.mark.parametrize("kind", ["new", "joined", "user namespace"])
def test_the_container_has_the_device(
    runtime: Runtime, bundle: Bundle, host: Net, nets: Callable[[str], Net], kind: str
) -> None:
    """With a new name, what is its own, and the addresses that are worth keeping; up; and the host has it no more."""
    joined = nets("joined") if kind == "joined" else None
    configure(bundle, {"dev0": {"name": "eth7"}}, joined, **(user_namespace(bundle) if kind == "user namespace" else {}))
    bundle.args("sh", "-c", "ip address show dev eth7; cat /sys/class/net/eth7/mtu /sys/class/net/eth7/address; ip route")
    text = runtime.ok("run", "--bundle", str(bundle.path), NAME)
    assert "UP" in text.split("\n")[0]
    assert "\n1400\n02:00:00:00:00:01\n" in text
    kept = ["inet 10.77.0.1/24 brd 10.77.0.255 scope global eth7", "inet 10.77.0.2/24", "inet6 fd00:77::1/64"]
    assert all(address in text for address in kept), text
    assert "10.78.0.1" not in text
    assert "10.79.0.1" not in text
    assert "10.77.0.0/24 dev eth7" in text
    if not joined:  # gone with the namespace, and the other end with it
        wait_until(lambda: set(host.links()) == {"lo"})
    else:  # nobody has moved it out of there
        assert set(host.links()) == {"lo", "peer0"}
        assert joined.addresses("eth7") == {"10.77.0.1/24", "10.77.0.2/24", "fd00:77::1/64"}


def test_it_keeps_its_name(runtime: Runtime, bundle: Bundle) -> None:
    configure(bundle, {"dev0": {}})
    bundle.args("ip", "-o", "address", "show", "dev", "dev0")
    assert "10.77.0.1/24" in runtime.ok("run", "--bundle", str(bundle.path), NAME)


def test_a_packet_gets_through(runtime: Runtime, bundle: Bundle, host: Net) -> None:
    """The other end is the host's; it answers."""
    host.ip("address", "add", "10.77.0.9/24", "dev", "peer0")
    for kind in ("bounding", "effective", "permitted"):
        bundle.spec["process"]["capabilities"][kind].append("CAP_NET_RAW")
    configure(bundle, {"dev0": {"name": "eth0"}})
    bundle.args("ping", "-c", "1", "-w", "60", "-W", "60", "10.77.0.9")
    assert "1 packets received" in runtime.ok("run", "--bundle", str(bundle.path), NAME)


def test_many_devices(runtime: Runtime, bundle: Bundle, host: Net) -> None:
    host.veth("dev1", "peer1")
    host.ip("address", "add", "10.90.0.1/24", "dev", "peer0")
    configure(bundle, {"dev1": {"name": "a"}, "peer0": {"name": "b"}, "dev0": {"name": "c"}})
    bundle.args("sh", "-c", "ip -o address; ls /sys/class/net")
    text = runtime.ok("run", "--bundle", str(bundle.path), NAME)
    assert text.endswith("a\nb\nc\nlo\n")
    assert "10.90.0.1/24" in text


def test_hooks_and_sysctls_find_it(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = f"nsenter --net=/proc/$(jq .pid)/ns/net ip -o address show dev eth0 > {seen}"
    bundle.spec["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"PATH={os.environ['PATH']}"]}]
    }
    configure(bundle, {"dev0": {"name": "eth0"}}, sysctl={"net.ipv4.conf.eth0.log_martians": "1"})
    bundle.args("cat", "/proc/sys/net/ipv4/conf/eth0/log_martians")
    assert runtime.ok("run", "--bundle", str(bundle.path), NAME) == "1\n"
    assert "10.77.0.1/24" in seen.read_text()


@pytest.mark.parametrize(
    ("template", "taken", "name"), [("eth%d", [], "eth0"), ("eth%d", ["eth0", "eth2"], "eth1"), ("v%dx", ["v0x"], "v1x")]
)
def test_a_template_becomes_the_first_free_name(
    runtime: Runtime, bundle: Bundle, nets: Callable[[str], Net], template: str, taken: list[str], name: str
) -> None:
    joined = nets("joined")
    for other in taken:
        joined.veth(other, f"p{other}")
    configure(bundle, {"dev0": {"name": template}}, joined)
    bundle.args("true")
    runtime.ok("run", "--bundle", str(bundle.path), NAME)
    assert "10.77.0.1/24" in joined.addresses(name)


def test_its_number_may_be_taken(runtime: Runtime, bundle: Bundle, host: Net, nets: Callable[[str], Net]) -> None:
    joined = nets("joined")
    number = str(host.links()["dev0"]["ifindex"])
    joined.ip("link", "add", "stranger", "index", number, "type", "veth", "peer", "name", "other")
    configure(bundle, {"dev0": {"name": "eth0"}}, joined)
    bundle.args("true")
    runtime.ok("run", "--bundle", str(bundle.path), NAME)
    assert "10.77.0.1/24" in joined.addresses("eth0")
    assert not joined.addresses("stranger")


def test_state_json_has_them_and_runc_reads_it(sandbox: Sandbox, runtime: Runtime, bundle: Bundle) -> None:
    configure(bundle, {"dev0": {"name": "labels"}, "peer0": {}})
    runtime.ok("create", "--bundle", str(bundle.path), NAME)
    state = json.loads((runtime.root / NAME / "state.json").read_text())
    assert state["config"]["netDevices"] == {"dev0": {"name": "labels"}, "peer0": {}}
    assert json.loads(runtime.ok("list", "--format", "json"))[0]["bundle"] == str(bundle.path)
    if shutil.which("runc"):
        runc = sandbox.runtime("runc")
        assert runc.status(NAME) == "created"
        runc.ok("delete", "--force", NAME)


# -- refusing


def test_a_device_that_is_not_there(runtime: Runtime, bundle: Bundle, host: Net) -> None:
    before = host.picture()
    configure(bundle, {"dev0": {}, "nowhere": {}})
    text = refusal(runtime, bundle)
    assert (
        'unable to move network device \\"nowhere\\" into the network namespace of the container: '
        "there is no such device in the network namespace of the runtime" in text
    )
    assert host.picture() == before


@pytest.mark.parametrize("taken", ["name", "alternative name"])
def test_a_name_that_is_taken(runtime: Runtime, bundle: Bundle, host: Net, nets: Callable[[str], Net], taken: str) -> None:
    joined = nets("joined")
    joined.veth("eth0" if taken == "name" else "other", "peer")
    if taken != "name":
        joined.ip("link", "property", "add", "dev", "other", "altname", "eth0")
    before = host.picture(), joined.picture()
    configure(bundle, {"dev0": {"name": "eth0"}}, joined)
    assert 'the network namespace of the container already has a device \\"eth0\\"' in refusal(runtime, bundle)
    assert (host.picture(), joined.picture()) == before


def test_a_device_that_cannot_be_moved(runtime: Runtime, bundle: Bundle, host: Net) -> None:
    """The kernel says so, before anything has happened to it."""
    before = host.picture()
    configure(bundle, {"lo": {"name": "eth0"}})
    assert "unable to move network device" in refusal(runtime, bundle)
    assert host.picture() == before


# -- giving back


@pytest.mark.parametrize("kind", ["new", "joined"])
@pytest.mark.parametrize("failure", ["program", "hook", "device"])
def test_a_failed_create_gives_them_back(
    runtime: Runtime, bundle: Bundle, host: Net, nets: Callable[[str], Net], kind: str, failure: str
) -> None:
    """As they were, with all addresses and routes."""
    host.ip("link", "add", "br0", "type", "bridge")
    host.veth("port", "peer1", "02:00:00:00:00:02")
    host.ip("link", "set", "port", "master", "br0")
    host.ip("link", "set", "port", "up")
    host.veth("idle", "peer2", "02:00:00:00:00:03")
    host.ip("address", "add", "10.91.0.1/24", "dev", "idle")
    before = host.picture()
    joined = nets("joined") if kind == "joined" else None
    devices: dict[str, Any] = {"dev0": {"name": "eth0"}, "port": {}, "idle": {"name": "dev0"}}
    if failure == "hook":
        bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    elif failure == "device":
        devices["nowhere"] = {}
    else:
        bundle.spec["process"]["args"] = ["/nowhere"]
    configure(bundle, devices, joined)
    text = refusal(runtime, bundle)
    assert "level=warning" not in text
    assert host.picture() == before
    if joined:
        assert set(joined.links()) == {"lo"}


def test_a_killed_create_can_be_deleted(sandbox: Sandbox, runtime: Runtime, bundle: Bundle, nets: Callable[[str], Net]) -> None:
    """The specification leaves a device in a joined namespace to who owns that."""
    joined = nets("joined")
    configure(bundle, {"dev0": {"name": "eth0"}}, joined)
    status, _ = runtime.run("create", "--bundle", str(bundle.path), NAME, env={"PYRUNC_FAULT": "create.placed"})
    assert status == -9
    runtime.ok("delete", "--force", NAME)
    sandbox.assert_clean()
    assert "10.77.0.1/24" in joined.addresses("eth0")


class Somewhere:
    """Runs functions in a network namespace, without leaving ours."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def __call__(self, function: Callable[[], Any]) -> Any:
        result: list[Any] = []
        thread = threading.Thread(target=lambda: result.append(self._inside(function)))
        thread.start()
        thread.join(LIMIT)
        assert result, "it has failed in there"
        return result[0]

    def _inside(self, function: Callable[[], Any]) -> Any:
        with open(self.net.path, "rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return function()


def moved(host: Net, joined: Net, warnings: list[str]) -> NetDevices:
    """dev0 of the host, moved to the other namespace as eth0."""

    def move() -> NetDevices:
        devices = NetDevices(joined.path, lambda level, text: warnings.append(text) if level == "warning" else None)
        devices.move({"dev0": {"name": "eth0"}})
        return devices

    devices: NetDevices = Somewhere(host)(move)
    return devices


def test_a_device_that_was_renamed_meanwhile_comes_back(host: Net, nets: Callable[[str], Net]) -> None:
    before = host.picture()
    joined = nets("joined")
    warnings: list[str] = []
    devices = moved(host, joined, warnings)
    joined.ip("link", "set", "eth0", "down")
    joined.ip("link", "set", "eth0", "name", "eth9")
    joined.veth("eth0", "other")
    devices.put_back()
    devices.close()
    assert warnings == []
    assert host.picture() == before
    assert set(joined.links()) == {"lo", "eth0", "other"}


@pytest.mark.parametrize("substitute", [False, True])
def test_a_substitute_does_not_come_to_the_host(host: Net, nets: Callable[[str], Net], substitute: bool) -> None:
    """Who may make devices in the namespace could put one with the same name, number and address there instead."""
    joined = nets("joined")
    warnings: list[str] = []
    devices = moved(host, joined, warnings)
    number = str(joined.links()["eth0"]["ifindex"])
    joined.ip("link", "del", "eth0")
    wait_until(lambda: "peer0" not in host.links())
    if substitute:
        joined.ip(
            "link", "add", "eth0", "index", number, "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "evil"
        )
    devices.put_back()
    devices.close()
    reason = "somebody has removed it from the network namespace that it was moved to"
    assert warnings == [f"unable to give network device dev0 back to the host: {reason}"]
    assert set(host.links()) == {"lo"}


def test_a_substitute_of_the_last_moment_is_not_set_up(
    host: Net, nets: Callable[[str], Net], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has come, but gets neither the addresses nor a packet."""
    joined = nets("joined")
    warnings: list[str] = []
    devices = moved(host, joined, warnings)
    number = str(joined.links()["eth0"]["ifindex"])
    real = net_devices._carry

    def slow(*args: Any) -> None:
        joined.ip("link", "del", "eth0")
        joined.ip("link", "add", "eth0", "index", number, "type", "veth", "peer", "name", "evil")
        real(*args)

    monkeypatch.setattr(net_devices, "_carry", slow)
    devices.put_back()
    devices.close()
    reason = "somebody has put another device in its place; it is down, and has no address"
    assert warnings == [f"unable to give network device dev0 back to the host: {reason}"]
    assert "UP" not in host.links()["dev0"]["flags"]
    assert not host.links()["dev0"]["addr_info"]


def test_the_namespace_is_let_go(host: Net, nets: Callable[[str], Net]) -> None:
    """No descriptor stays."""
    before = Snapshot()
    moved(host, nets("joined"), []).close()
    before.assert_unchanged()
    with pytest.raises(OSError, match="nowhere"):
        NetDevices("/run/netns/nowhere", lambda *_: None)
    before.assert_unchanged()


# -- restore


def checkpointed(runtime: Runtime, sandbox: Sandbox, bundle: Bundle) -> str:
    """A container that runs and is then in images; their directory."""
    images = str(sandbox.directory / "images")
    bundle.args("sh", "-c", "while :; do sleep 0.1; done")
    log = sandbox.directory / "log"
    command = [runtime.command, "--root", str(runtime.root), "--log", str(log), "run", "--detach", "--bundle", str(bundle.path)]
    null = subprocess.DEVNULL
    subprocess.run([*command, NAME], stdin=null, stdout=null, stderr=null, check=True, timeout=LIMIT)
    runtime.ok("checkpoint", "--image-path", images, NAME)
    return images


def restore(runtime: Runtime, bundle: Bundle, images: str) -> tuple[int, str]:
    """Status and log of a restore."""
    log = runtime.scratch / "restore-log"
    log.unlink(missing_ok=True)
    command = [runtime.command, "--root", str(runtime.root), "--log", str(log), "restore", "--detach"]
    null = subprocess.DEVNULL
    command += ["--image-path", images, "--bundle", str(bundle.path), NAME]
    status = subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False, timeout=LIMIT).returncode
    return status, log.read_text() if log.exists() else ""


@pytest.mark.usefixtures("criu")
def test_restore_finds_it_where_it_was(sandbox: Sandbox, runtime: Runtime, bundle: Bundle, nets: Callable[[str], Net]) -> None:
    """In a joined namespace it stays while the container is images."""
    joined = nets("joined")
    configure(bundle, {"dev0": {"name": "eth%d"}}, joined)
    images = checkpointed(runtime, sandbox, bundle)
    before = joined.picture()
    assert restore(runtime, bundle, images)[0] == 0
    assert joined.picture() == before
    assert "10.77.0.1/24" in runtime.ok("exec", NAME, "ip", "address", "show", "dev", "eth0")


@pytest.mark.usefixtures("criu")
def test_restore_moves_it_again(sandbox: Sandbox, runtime: Runtime, bundle: Bundle, host: Net) -> None:
    """A namespace of the container's own goes with it: what restores gives it another device, before the hooks run."""
    seen = sandbox.directory / "seen"
    script = f"nsenter --net=/proc/$(jq .pid)/ns/net ip -o address > {seen}"
    environment = [f"PATH={os.environ['PATH']}"]
    bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": environment}]}
    configure(bundle, {"dev0": {"name": "eth0"}})
    images = checkpointed(runtime, sandbox, bundle)
    wait_until(lambda: set(host.links()) == {"lo"})
    status, log = restore(runtime, bundle, images)
    assert status == 1
    assert "there is no such device in the network namespace of the runtime" in log
    host.veth("dev0", "peer0")
    host.ip("address", "add", "10.77.0.5/24", "dev", "dev0")
    assert restore(runtime, bundle, images)[0] == 0
    assert "10.77.0.5/24" in runtime.ok("exec", NAME, "ip", "address", "show", "dev", "eth0")
    assert "10.77.0.5/24" in seen.read_text()


@pytest.mark.usefixtures("criu")
def test_a_failed_restore_gives_it_back(
    sandbox: Sandbox, runtime: Runtime, bundle: Bundle, host: Net, nets: Callable[[str], Net]
) -> None:
    joined = nets("joined")
    configure(bundle, {"dev0": {"name": "eth0"}}, joined)
    images = checkpointed(runtime, sandbox, bundle)
    host.veth("dev1", "peer1")
    host.ip("address", "add", "10.92.0.1/24", "dev", "dev1")
    before = host.picture(), joined.picture()
    bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    configure(bundle, {"dev0": {"name": "eth0"}, "dev1": {}}, joined)
    assert restore(runtime, bundle, images)[0] == 1
    assert (host.picture(), joined.picture()) == before
