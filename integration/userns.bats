#!/usr/bin/env bats
# user namespaces: maps, devices, mounts, owners, joined ones.

load helpers

setup() {
	setup_bundle
	chown -R 100000:200000 rootfs
	edit '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{hostID: 100000, containerID: 0, size: 65534}]
		| .linux.gidMappings = [{hostID: 200000, containerID: 0, size: 65534}]'
}

@test "userns: the maps, and who the process is" {
	script 'cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; cat /proc/self/setgroups; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q allow "$OUT"
	output="$(tr -s ' ' <"$OUT")"
	expect_only $' 0 100000 65534\n 0 200000 65534\n0\n0\nallow'
	[[ $(stat -c %u:%g "/proc/$(init_pid "$CT")") == 100000:200000 ]]
}

@test "userns: another user and groups" {
	edit '.process.user = {uid: 1000, gid: 1001, additionalGids: [50]}'
	script 'id -u; id -G; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q 50 "$OUT"
	[[ $(grep Uid "/proc/$(init_pid "$CT")/status" | cut -f2) == 101000 ]]
	[[ $(cat "$OUT") == $'1000\n1001 50' ]]
}

@test "userns: several ranges" {
	edit '.linux.uidMappings = [{hostID: 100000, containerID: 0, size: 10}, {hostID: 300000, containerID: 1000, size: 1}]'
	edit '.process.user.uid = 1000'
	script 'cat /proc/self/uid_map; id -u'
	run_pyrunc -0 run "$CT"
	output="$(tr -s ' ' <<<"$output")"
	expect ' 0 100000 10' ' 1000 300000 1' $'\n1000'
}

@test "userns: files belong to the mapped ids" {
	writable
	script 'touch /new; stat -c %u:%g /new /etc/passwd; chown 7:8 /new'
	edit '(.process.capabilities.bounding, .process.capabilities.permitted, .process.capabilities.effective) += ["CAP_CHOWN"]'
	run_pyrunc -0 run "$CT"
	expect_only $'0:0\n0:0'
	[[ $(stat -c %u:%g rootfs/new) == 100007:200008 ]]
}

@test "userns: default devices work and are not the host's files" {
	script 'echo x >/dev/null; head -c 3 /dev/zero | wc -c; stat -c "%n %t:%T" /dev/null /dev/tty; readlink /dev/ptmx'
	run_pyrunc -0 run "$CT"
	expect $'3\n' '/dev/null 1:3' '/dev/tty 5:0' pts/ptmx
}

@test "userns: linux.devices that the host has" {
	edit '.linux.devices = [{path: "/dev/fuse", type: "c", major: 10, minor: 229}] | .linux.resources.devices += [{allow: true, type: "c", major: 10, minor: 229, access: "rw"}]'
	[[ -e /dev/fuse ]] || edit '.linux.devices[0] |= (.path = "/dev/loop-control" | .minor = 237)'
	script 'stat -c %t /dev/fuse /dev/loop-control 2>/dev/null'
	run_pyrunc run "$CT"
	expect_only a
}

# newer than runc 1.1 (nodes made from outside)
@test "userns: linux.devices that the host has not, with owner and mode" {
	edit '.linux.devices = [{path: "/dev/own", type: "c", major: 1, minor: 5, fileMode: 432, uid: 0, gid: 0}]'
	script 'stat -c "%t:%T %a" /dev/own; head -c 2 /dev/own | wc -c'
	run_pyrunc -0 run "$CT"
	expect_only $'1:5 660\n2'
}

@test "userns: proc, sysfs, tmpfs, mqueue, devpts are mounted" {
	script 'stat -f -c %T /proc /sys /dev/shm /dev/pts; stat -c %u:%g /dev/shm /dev/pts/ptmx; touch /dev/shm/x'
	run_pyrunc -0 run "$CT"
	expect_only $'proc\nsysfs\ntmpfs\ndevpts\n0:0\n0:0'
}

@test "userns: a capability is held over the namespace only" {
	edit 'del(.hostname) | (.process.capabilities.bounding, .process.capabilities.permitted, .process.capabilities.effective) += ["CAP_SYS_ADMIN", "CAP_MKNOD"]'
	script 'hostname inside && hostname; mknod /dev/x c 1 1'
	run_pyrunc -1 run "$CT"
	expect_match '^inside'
	expect 'not permitted'
}

@test "userns: exec" {
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -c 'id -u; readlink /proc/self/ns/user'
	expect_only $'0\n'"$(readlink "/proc/$(init_pid "$CT")/ns/user")"
	run_pyrunc -0 exec -u 5:6 "$CT" sh -c 'id -u; id -g'
	expect_only $'5\n6'
	run_detached -0 exec -d --pid-file pid "$CT" sleep 100
	wait_for executes "$(cat pid)" 'sleep 100 '
	[[ $(stat -c %u:%g "/proc/$(cat pid)") == 100000:200000 ]]
}

@test "userns: an id that is not mapped" {
	edit '.process.user.uid = 65535'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "userns: an id that is not mapped, in the contract's words" {
	edit '.process.user.uid = 65535'
	run_pyrunc -1 run "$CT"
	expect 'cannot setuid to unmapped uid 65535 in user namespace'
}

# newer than runc 1.1
@test "userns: neither maps nor path, and maps without the namespace" {
	edit 'del(.linux.uidMappings, .linux.gidMappings)'
	run_pyrunc -1 run "$CT"
	expect 'user namespaces enabled, but no namespace path to join nor mappings to apply specified'
	edit '.linux.namespaces |= map(select(.type != "user")) | .linux.uidMappings = [{hostID: 1, containerID: 0, size: 1}] | .linux.gidMappings = .linux.uidMappings'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

without_root() { # only 1000 exists in it
	edit '.linux.uidMappings = [{hostID: 100000, containerID: 1000, size: 1}]
		| .linux.gidMappings = [{hostID: 200000, containerID: 1000, size: 1}]
		| .process.user = {uid: 1000, gid: 1000} | (.mounts[] | select(.destination == "/dev/pts").options) -= ["gid=5"]'
}

# newer than runc 1.1
@test "userns: without a root in it, run and exec are its user" {
	without_root
	script 'id -u; id -g; tr -s " " </proc/self/uid_map; grep ^CapEff /proc/self/status; stat -c %u:%g /bin /dev /dev/null /dev/shm /proc/1'
	run_pyrunc -0 run "$CT"
	expect_only $'1000\n1000\n 1000 100000 1\nCapEff:\t0000000000000000\n1000:1000\n1000:1000\n1000:1000\n1000:1000\n1000:1000'
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -c 'id -u; id -g; echo x >/dev/null && readlink /proc/self/cwd'
	expect_only $'1000\n1000\n/'
	run_pyrunc -255 exec --user 0 "$CT" id
	expect 'cannot setuid to unmapped uid 0 in user namespace'
}

# newer than runc 1.1
@test "userns: without a root in it, a terminal, a file that is missing, and a second container in the same one" {
	without_root
	edit '.process.terminal = true'
	writable
	mkdir source
	add_mount /made/here bind "$BUNDLE/source" bind
	script 'stat -c %u:%g "$(tty)" /made; echo typed >/dev/tty'
	output="$(python3 "$LIB/interminal.py" 33 77 "$PYRUNC" --root "$ROOT" run "$CT" </dev/null 2>&1 3>&-)"
	output="${output//$'\r'/}"
	expect_only $'1000:1000\n1000:1000\ntyped'
	edit '.process.terminal = false'
	start_sleeper
	edit --arg cgroup "/$CGROUP/two" --arg path "/proc/$(init_pid "$CT")/ns/user" '.linux.cgroupsPath = $cgroup
		| del(.linux.uidMappings, .linux.gidMappings) | .linux.namespaces |= map(if .type == "user" then .path = $path else . end)'
	script 'id -u; tr -s " " </proc/self/gid_map'
	run_pyrunc -0 run second
	expect_only $'1000\n 1000 200000 1'
}

@test "userns: its user must be mapped" {
	edit '.linux.uidMappings[0].containerID = 1 | .linux.gidMappings[0].containerID = 1'
	run_pyrunc -1 run "$CT"
	expect 'cannot setuid to unmapped uid 0 in user namespace'
	nothing_left "$CT"
}

@test "userns: maps that the kernel refuses" {
	edit '.linux.uidMappings += [{hostID: 500000, containerID: 5, size: 10}]'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "userns: join that of another container" {
	start_sleeper
	local pid
	pid="$(init_pid "$CT")"
	edit --arg cgroup "/$CGROUP/two" --arg path "/proc/$pid/ns/user" '.linux.cgroupsPath = $cgroup | del(.linux.uidMappings, .linux.gidMappings)
		| .linux.namespaces |= map(if .type == "user" then .path = $path else . end)'
	script 'readlink /proc/self/ns/user; tr -s " " </proc/self/uid_map; id -u; echo x >/dev/null'
	run_pyrunc -0 run second
	expect_only "$(readlink "/proc/$pid/ns/user")"$'\n 0 100000 65534\n0'
}

# newer than runc 1.1
@test "userns: join user and network namespaces that belong together" {
	start_sleeper
	local pid
	pid="$(init_pid "$CT")"
	edit --arg cgroup "/$CGROUP/two" --arg ns "/proc/$pid/ns/" '.linux.cgroupsPath = $cgroup | del(.linux.uidMappings, .linux.gidMappings)
		| .linux.namespaces |= map(if .type == "user" then .path = $ns + "user" elif .type == "network" then .path = $ns + "net"
			elif .type == "ipc" then .path = $ns + "ipc" else . end)'
	script 'readlink /proc/self/ns/net'
	run_pyrunc -0 run second
	expect_only "$(readlink "/proc/$pid/ns/net")"
}

# newer than runc 1.1
@test "userns: a bind source that the container's root may not reach" {
	mkdir -m 0700 private
	mkdir private/source
	touch private/source/seen
	add_mount /mnt bind "$BUNDLE/private/source" bind
	script 'ls /mnt'
	run_pyrunc -0 run "$CT"
	expect_only seen
}

@test "userns: sysctls of the namespaces" {
	edit '.linux.sysctl = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4711"}'
	script 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax'
	run_pyrunc -0 run "$CT"
	expect_only $'1\n4711'
}

# newer than runc 1.1
@test "userns: sysctls of the user namespace" {
	edit '.linux.sysctl = {"user.max_uts_namespaces": "3"}'
	script 'cat /proc/sys/user/max_uts_namespaces'
	run_pyrunc -0 run "$CT"
	expect_only 3
}

@test "userns: seccomp, terminal and masked paths together" {
	mkdir rootfs/secret
	touch rootfs/secret/x
	edit '.linux.maskedPaths += ["/secret"] | .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["getpgrp"], action: "SCMP_ACT_ERRNO"}]}'
	script 'ls /secret; grep Seccomp: /proc/self/status; touch /proc/sys/x'
	run_pyrunc -1 run "$CT"
	expect $'Seccomp:\t2'
	refute $'\nx'
}

@test "userns: the exec fifo can be opened by its owner alone" {
	sleeper
	run_detached -0 create "$CT"
	[[ $(stat -c %u:%g "$ROOT/$CT/exec.fifo") == 100000:200000 ]]
	run_pyrunc -0 start "$CT"
	expect_state "$CT" running
}
