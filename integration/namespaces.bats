#!/usr/bin/env bats
# linux.namespaces: new ones, shared ones, joined ones, time offsets.

load helpers

links() { # the container prints its namespaces
	script 'for n in pid mnt ipc net uts user cgroup time; do echo "$n $(readlink /proc/self/ns/$n)"; done'
}

host_link() {
	readlink "/proc/self/ns/$1"
}

@test "namespaces: the listed ones are new, the others the runtime's" {
	links
	run_pyrunc -0 run "$CT"
	local name
	for name in pid mnt ipc net uts; do
		refute "$name $(host_link $name)"
	done
	for name in user cgroup; do
		expect "$name $(host_link $name)"
	done
}

@test "namespaces: each alone" {
	local name type all='pid mnt ipc net uts'
	for name in $all; do
		type=$name
		[[ $name != mnt ]] || continue
		[[ $name != net ]] || type=network
		edit --arg type "$type" '.linux.namespaces = [{type: "mount"}, {type: $type}] | del(.hostname)
			| .mounts |= map(select(.type == "proc" or .destination == "/dev"))'
		links
		run_pyrunc -0 run "$CT"
		refute "$name $(host_link "$name")"
		[[ $name == uts ]] || expect "uts $(host_link uts)"
		[[ $name == ipc ]] || expect "ipc $(host_link ipc)"
	done
}

@test "namespaces: cgroup" {
	edit '.linux.namespaces += [{type: "cgroup"}]'
	links
	run_pyrunc -0 run "$CT"
	refute "cgroup $(host_link cgroup)"
	script 'cat /proc/self/cgroup'
	run_pyrunc -0 run "$CT"
	refute "$CGROUP"
}

@test "namespaces: the loopback of a new network namespace is up" {
	script 'cat /sys/class/net/lo/flags; ls /sys/class/net; ping -c 1 -w 60 127.0.0.1 >/dev/null && echo alive'
	edit '(.process.capabilities.bounding, .process.capabilities.permitted, .process.capabilities.effective) += ["CAP_NET_RAW"]'
	run_pyrunc -0 run "$CT"
	expect 0x9 alive
	refute eth0
}

@test "namespaces: joined by path" {
	start_sleeper
	local pid name
	pid="$(init_pid "$CT")"
	edit --arg cgroup "/$CGROUP/two" --arg ns "/proc/$pid/ns/" '.linux.cgroupsPath = $cgroup | del(.hostname) | .linux.namespaces = [{type: "mount"},
		{type: "network", path: ($ns + "net")}, {type: "ipc", path: ($ns + "ipc")}, {type: "uts", path: ($ns + "uts")}, {type: "pid", path: ($ns + "pid")}]'
	links
	run_pyrunc -0 run second
	for name in net ipc uts pid; do
		expect "$name $(readlink "/proc/$pid/ns/$name")"
	done
	refute "mnt $(readlink "/proc/$pid/ns/mnt")"
	expect_state "$CT" running
}

@test "namespaces: a joined uts namespace's hostname can be set" {
	start_sleeper
	edit --arg cgroup "/$CGROUP/two" --arg path "/proc/$(init_pid "$CT")/ns/uts" '.linux.cgroupsPath = $cgroup | .hostname = "changed"
		| .linux.namespaces |= map(if .type == "uts" then .path = $path else . end)'
	script hostname
	run_pyrunc -0 run second
	expect_only changed
	run_pyrunc -0 exec "$CT" hostname
	expect_only changed
}

@test "namespaces: a joined network namespace is left as it is" {
	touch netns
	unshare --net=netns true
	edit --arg path "$PWD/netns" '.linux.namespaces |= map(if .type == "network" then .path = $path else . end)'
	script 'cat /sys/class/net/lo/flags'
	run_pyrunc run "$CT"
	umount netns
	expect_only 0x8
}

@test "namespaces: processes see each other in a joined pid namespace" {
	start_sleeper
	edit --arg cgroup "/$CGROUP/two" --arg path "/proc/$(init_pid "$CT")/ns/pid" '.linux.cgroupsPath = $cgroup
		| .linux.namespaces |= map(if .type == "pid" then .path = $path else . end)'
	wait_for_program
	script 'ps -o pid,args; [ $$ -ne 1 ]'
	run_pyrunc -0 run second
	expect_match ' 1 sh -c trap'
}

@test "namespaces: exec joins all of them" {
	edit '.linux.namespaces += [{type: "cgroup"}]'
	start_sleeper
	local pid name
	pid="$(init_pid "$CT")"
	for name in pid mnt ipc net uts cgroup; do
		run_pyrunc -0 exec "$CT" readlink "/proc/self/ns/$name"
		expect_only "$(readlink "/proc/$pid/ns/$name")"
	done
}

@test "namespaces: an unknown type, a duplicate" {
	edit '.linux.namespaces += [{type: "nosuch"}]'
	run_pyrunc -1 run "$CT"
	expect nosuch 'does not exist'
	edit '.linux.namespaces[-1].type = "pid"'
	run_pyrunc -1 run "$CT"
	expect 'malformed spec file: duplicated ns'
	nothing_left "$CT"
}

@test "namespaces: a path that is missing, of the wrong kind, with a comma" {
	edit '.linux.namespaces |= map(if .type == "uts" then .path = "/no/such" else . end)'
	run_pyrunc -1 run "$CT"
	expect '/no/such' 'no such file or directory'
	edit '.linux.namespaces |= map(if .type == "uts" then .path = "/proc/self/ns/net" else . end)'
	run_pyrunc -1 run "$CT"
	touch 'a,b'
	edit --arg path "$PWD/a,b" '.linux.namespaces |= map(if .type == "uts" then .path = $path else . end)'
	run_pyrunc -1 run "$CT"
	expect 'invalid namespace path'
	touch plain
	edit --arg path "$PWD/plain" '.linux.namespaces |= map(if .type == "uts" then .path = $path else . end)'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

@test "namespaces: without pid namespace the process has a pid of the host" {
	edit '.linux.namespaces |= map(select(.type != "pid"))'
	script 'echo $$; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for test -s "$OUT"
	[[ $(cat "$OUT") == "$(init_pid "$CT")" ]]
}

@test "namespaces: without ipc namespace, shared memory is the host's" {
	edit '.linux.namespaces |= map(select(.type != "ipc"))'
	script 'readlink /proc/self/ns/ipc'
	run_pyrunc -0 run "$CT"
	expect_only "$(host_link ipc)"
}

on_the_hosts_mounts() {
	edit '.linux.namespaces |= map(select(.type != "mount")) | .mounts |= map(select(.type == "proc"))
		| .linux.maskedPaths = [] | .linux.readonlyPaths = [] | .root.readonly = false'
}

# on_a_host SCRIPT: as on a host whose mounts are shared, in a mount namespace that goes afterwards.
on_a_host() {
	run_command -0 unshare -m --propagation private bash -euc 'mount --make-rshared /
		pyrunc() { "$PYRUNC" --root "$ROOT" "$@" </dev/null; }
		mounted() { mountpoint -q "$1"; }
		gone() { if mountpoint -q "$1"; then echo "still mounted: $1"; false; fi; }
		propagation() { findmnt -n -o TARGET,PROPAGATION / && findmnt -n -o TARGET,PROPAGATION -T "$BUNDLE"; }
		'"$1"
}

@test "namespaces: without a mount namespace, in a chroot" {
	on_the_hosts_mounts
	script 'ls /'
	run_command -0 unshare -m sh -c '"$PYRUNC" --root "$ROOT" run "$CT"'
	expect bin etc
	refute usr
}

@test "namespaces: without a mount namespace, delete takes the mounts down" {
	on_the_hosts_mounts
	sleeper
	on_a_host 'before=$(propagation)
		pyrunc run -d "$CT" >"$OUT" 2>&1
		mounted rootfs && mounted rootfs/proc
		pyrunc exec "$CT" sh -c "ls /proc/1/root/bin >/dev/null"
		pyrunc delete -f "$CT"
		gone rootfs/proc && gone rootfs
		[[ $(propagation) == "$before" ]]'
	nothing_left "$CT"
}

@test "namespaces: without a mount namespace, a failed create takes the mounts down" {
	on_the_hosts_mounts
	edit '.hooks.createRuntime = [{path: "/bin/false"}]'
	on_a_host 'pyrunc create "$CT" 2>&1 && exit 1
		gone rootfs/proc && gone rootfs'
	expect 'error running createRuntime hook #0'
	nothing_left "$CT"
}

@test "namespaces: without a mount namespace, a root that was mounted before stays so" {
	on_the_hosts_mounts
	sleeper
	on_a_host 'mount --bind rootfs rootfs
		pyrunc run -d "$CT" >"$OUT" 2>&1
		mounted rootfs/proc
		pyrunc delete -f "$CT"
		gone rootfs/proc
		mounted rootfs'
}

@test "namespaces: without a mount namespace, what somebody else mounted on the root meanwhile is left alone" {
	on_the_hosts_mounts
	sleeper
	on_a_host 'pyrunc run -d "$CT" >"$OUT" 2>&1
		mount -t tmpfs other rootfs
		pyrunc delete -f "$CT"
		[[ $(findmnt -n -o SOURCE rootfs | tail -n 1) == other ]]'
	nothing_left "$CT"
}

@test "namespaces: without a mount namespace, --no-pivot would move the host's root" {
	on_the_hosts_mounts
	run_command -1 unshare -m "$PYRUNC" --root "$ROOT" run --no-pivot "$CT"
	expect 'unable to use no-pivot without a private MNT namespace'
	nothing_left "$CT"
}

# newer than runc 1.1
@test "time: a namespace with offsets, and exec" {
	edit '.linux.namespaces += [{type: "time"}] | .linux.timeOffsets = {monotonic: {secs: 7881, nanosecs: 2718281}, boottime: {secs: 1337, nanosecs: 3141519}}'
	script 'cat /proc/self/timens_offsets; readlink /proc/self/ns/time'
	run_pyrunc -0 run "$CT"
	expect_match '^monotonic +7881 +2718281'
	expect_match 'boottime +1337 +3141519'
	refute "$(host_link time)"
	start_sleeper
	run_pyrunc -0 exec "$CT" cat /proc/self/timens_offsets
	expect_match '^monotonic +7881 +2718281'
}

# newer than runc 1.1
@test "time: offsets need the namespace, a joined one takes none" {
	edit '.linux.timeOffsets = {monotonic: {secs: 1, nanosecs: 0}}'
	run_pyrunc -1 run "$CT"
	expect "time namespace offsets specified, but time namespace isn't enabled in the config"
	edit '.linux.namespaces += [{type: "time", path: "/proc/self/ns/time"}]'
	run_pyrunc -1 run "$CT"
	expect 'time namespace'
	edit '.linux.namespaces[-1] = {type: "time"} | .linux.timeOffsets = {nosuch: {secs: 1, nanosecs: 0}}'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "time: join that of another container" {
	edit '.linux.namespaces += [{type: "time"}] | .linux.timeOffsets = {monotonic: {secs: 7881, nanosecs: 0}}'
	start_sleeper
	edit --arg cgroup "/$CGROUP/two" --arg path "/proc/$(init_pid "$CT")/ns/time" '.linux.cgroupsPath = $cgroup | del(.linux.timeOffsets)
		| .linux.namespaces[-1].path = $path'
	script 'cat /proc/self/timens_offsets'
	run_pyrunc -0 run second
	expect_match '^monotonic +7881'
}
