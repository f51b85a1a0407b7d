#!/usr/bin/env bats
# linux.netDevices: devices of the host that go into the container. The "host" is a network namespace of the test's own.

load helpers

host() { # ip(8) on that host
	ip -n "$NET" "$@"
}

pyrunc() {
	nsenter --net="/run/netns/$NET" "$PYRUNC" --root "$ROOT" "$@"
}

setup() {
	setup_bundle
	NET="bats-$$-$BATS_TEST_NUMBER"
	ip netns add "$NET"
	host link add dev0 address 02:00:00:00:00:01 mtu 1400 type veth peer name peer0 || skip "this kernel has no veth devices"
	host link set peer0 up
	host address add 10.77.0.1/24 dev dev0
	host address add fd00:77::1/64 nodad dev dev0
	host address add 10.78.0.1/24 scope link dev dev0
	host link set dev0 up
	wait_for carrier
}

carrier() { # which comes to an interface a moment after its peer is up, and then to its routes
	[[ $(settings) == *10.77.0.0/24* && $(settings) != *linkdown* ]]
}

settings() { # of dev0
	host -o address show dev dev0 scope global
	host route
}

teardown() {
	ip netns del "$NET" || true
	ip netns del "$NET-2" 2>/dev/null || true
	teardown_bundle
}

# newer than runc 1.1
@test "netdev: a device with its addresses, address and mtu" {
	edit '.linux.netDevices = {dev0: {}}'
	script 'ip address show dev dev0; cat /sys/class/net/dev0/mtu'
	run_pyrunc -0 run "$CT"
	expect 'inet 10.77.0.1/24' 'inet6 fd00:77::1/64' 02:00:00:00:00:01 UP 1400
	refute 10.78.0.1
}

# newer than runc 1.1
@test "netdev: renamed, into a namespace that exists" {
	ip netns add "$NET-2"
	edit --arg path "/run/netns/$NET-2" '.linux.netDevices = {dev0: {name: "eth0"}}
		| (.linux.namespaces[] | select(.type == "network")).path = $path'
	script 'ip address show dev eth0'
	run_pyrunc -0 run "$CT"
	expect 'inet 10.77.0.1/24' ' eth0'
	run_command -0 ip -n "$NET-2" address show dev eth0
	expect 'inet 10.77.0.1/24'
	run_command -1 ip -n "$NET" link show dev dev0
	edit '.linux.netDevices = {peer0: {name: "eth%d"}}'
	script 'ls /sys/class/net'
	run_pyrunc -0 run "$CT"
	expect eth0 eth1
}

# newer than runc 1.1
@test "netdev: a failed create gives it back" {
	local before
	before="$(settings)"
	edit '.linux.netDevices = {dev0: {name: "eth0"}} | .process.args = ["/nowhere"]'
	run_pyrunc -1 create "$CT"
	wait_for has_again "$before"
	nothing_left "$CT"
}

has_again() {
	[[ $(settings) == "$1" ]]
}

# newer than runc 1.1
@test "netdev: refused" {
	edit '.linux.netDevices = {nowhere: {}}'
	run_pyrunc -1 run "$CT"
	expect 'unable to move network device "nowhere" into the network namespace of the container: there is no such device'
	edit '.linux.netDevices = {dev0: {name: "lo"}}'
	run_pyrunc -1 run "$CT"
	expect 'already has a device "lo"'
	edit '.linux.netDevices = {dev0: {name: "a/b"}}'
	run_pyrunc -1 run "$CT"
	expect 'invalid network device name "a/b"'
	edit '.linux.netDevices = {dev0: {}}'
	run_pyrunc -1 --rootless true run "$CT"
	expect 'network devices are not supported for rootless containers'
	edit '.linux.namespaces |= map(select(.type != "network"))'
	run_pyrunc -1 run "$CT"
	expect 'unable to move network devices without a NET namespace'
	run_command -0 ip -n "$NET" address show dev dev0
	expect UP 10.77.0.1/24
	nothing_left "$CT"
}
