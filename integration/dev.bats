#!/usr/bin/env bats
# /dev: default nodes and symlinks, linux.devices, the device cgroup.

load helpers

@test "dev: the default nodes" {
	script 'stat -c "%n %F %t:%T %a %u:%g" /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty'
	run_pyrunc -0 run "$CT"
	local line
	for line in 'null character special file 1:3' 'zero character special file 1:5' 'full character special file 1:7' \
		'random character special file 1:8' 'urandom character special file 1:9' 'tty character special file 5:0'; do
		expect "/dev/$line 666 0:0"
	done
}

@test "dev: the default nodes work" {
	script 'echo x >/dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x >/dev/full'
	run_pyrunc run "$CT"
	expect 'No space left on device'
	[ "$(grep -cx 4 <<<"$output")" = 2 ] # stderr may come in between
}

@test "dev: the symlinks" {
	script 'for l in fd stdin stdout stderr ptmx; do echo "$l $(readlink /dev/$l)"; done'
	run_pyrunc -0 run "$CT"
	expect 'fd /proc/self/fd' 'stdin /proc/self/fd/0' 'stdout /proc/self/fd/1' 'stderr /proc/self/fd/2' 'ptmx pts/ptmx'
}

@test "dev: core when the host has /proc/kcore" {
	script 'readlink /dev/core || echo none'
	run_pyrunc -0 run "$CT"
	if [[ -e /proc/kcore ]]; then
		expect_only /proc/kcore
	else
		expect_only none
	fi
}

@test "dev: nothing else" {
	script 'ls /dev | tr "\n" " "'
	run_pyrunc -0 run "$CT"
	refute vda sda kmsg mem console
}

@test "dev: linux.devices with owner, group and mode" {
	edit '.linux.devices = [
		{path: "/dev/own", type: "c", major: 1, minor: 3, fileMode: 416, uid: 1000, gid: 50},
		{path: "/dev/blk", type: "b", major: 7, minor: 99},
		{path: "/dev/deep/er/node", type: "u", major: 1, minor: 5, fileMode: 384},
		{path: "/dev/pipe", type: "p", fileMode: 438}]'
	script 'stat -c "%n %F %t:%T %a %u:%g" /dev/own /dev/blk /dev/deep/er/node /dev/pipe'
	run_pyrunc -0 run "$CT"
	expect '/dev/own character special file 1:3 640 1000:50' '/dev/blk block special file 7:63 666 0:0' \
		'/dev/deep/er/node character special file 1:5 600 0:0' '/dev/pipe fifo 0:0 666 0:0'
}

@test "dev: the mode does not depend on the umask" {
	edit '.linux.devices = [{path: "/dev/own", type: "c", major: 1, minor: 3, fileMode: 438}]'
	script 'stat -c %a /dev/own /dev/null; ls -ld /dev | cut -c1-10'
	(umask 0077; pyrunc run "$CT" </dev/null >"$OUT" 3>&-)
	[[ $(cat "$OUT") == $'666\n666\ndrwxr-xr-x' ]]
}

@test "dev: a default node can be redefined, its default permission is then left out" {
	edit '.linux.devices = [{path: "/dev/full", type: "c", major: 1, minor: 7, fileMode: 438, uid: 7, gid: 8}]'
	script 'stat -c "%t:%T %a %u:%g" /dev/full; cat /sys/fs/cgroup/devices/devices.list'
	run_pyrunc -0 run "$CT"
	expect '1:7 666 7:8' 'c 1:5 rwm'
	refute 'c 1:7 '
}

@test "dev: outside of /dev" {
	writable
	mkdir rootfs/nodes
	edit '.linux.devices = [{path: "/nodes/zero", type: "c", major: 1, minor: 5}]'
	script 'head -c 3 /nodes/zero | wc -c'
	run_pyrunc -0 run "$CT"
	expect_only 3
}

@test "dev: ptmx of linux.devices is left to the symlink" {
	edit '.linux.devices = [{path: "/dev/ptmx", type: "c", major: 5, minor: 2}]'
	script 'readlink /dev/ptmx'
	run_pyrunc -0 run "$CT"
	expect_only pts/ptmx
}

@test "dev: an unknown type" {
	edit '.linux.devices = [{path: "/dev/x", type: "z", major: 1, minor: 3}]'
	run_pyrunc -1 run "$CT"
	expect 'z'
	nothing_left "$CT"
}

@test "dev: a bind on /dev is left alone" {
	mkdir devices
	touch devices/only
	mknod devices/null c 1 3
	edit 'del(.mounts[] | select(.destination | startswith("/dev"))) | .linux.maskedPaths = []'
	add_mount /dev bind "$BUNDLE/devices" bind
	script 'ls /dev'
	run_pyrunc -0 run "$CT"
	expect_only $'null\nonly'
	[[ $(ls devices) == $'null\nonly' ]]
}

# Opening a device number that no driver has is ENXIO (6) once the device cgroup lets it pass, else EPERM (1).

@test "dev: linux.devices grants no permission of its own" {
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/odd", type: "c", major: 1, minor: 99}]'
	script 'probe open /dev/odd r'
	run_pyrunc -1 run "$CT"
	expect 'errno 1 '
}

@test "dev: a rule of resources.devices grants what it says" {
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/odd", type: "c", major: 1, minor: 99}]
		| .linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 99, access: "r"}]'
	script 'probe open /dev/odd r; probe open /dev/odd w'
	run_pyrunc -1 run "$CT"
	expect_match $'^errno 6 .*\nerrno 1 '
}

@test "dev: a block device is refused too" {
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/blk", type: "b", major: 7, minor: 0}]'
	script 'probe open /dev/blk r'
	run_pyrunc -1 run "$CT"
	expect 'errno 1 '
	edit '.linux.resources.devices += [{allow: true, type: "b", major: 7, access: "rw"}]'
	run_pyrunc run "$CT"
	refute 'errno 1 '
}

@test "dev: mknod is permitted to those who have the capability, opening is not" {
	probe_in_rootfs
	edit '(.process.capabilities.bounding, .process.capabilities.effective, .process.capabilities.permitted) += ["CAP_MKNOD"]'
	script 'probe mknod /dev/odd c 1 99; probe open /dev/odd r'
	run_pyrunc -1 run "$CT"
	expect_match $'^ok 0\nerrno 1 '
}

@test "dev: without rules everything is refused but the defaults" {
	edit '.linux.resources.devices = [{allow: false, access: "rwm"}]'
	script 'cat /sys/fs/cgroup/devices/devices.list | sort'
	run_pyrunc -0 run "$CT"
	expect 'b *:* m' 'c *:* m' 'c 1:3 rwm' 'c 1:5 rwm' 'c 1:7 rwm' 'c 1:8 rwm' 'c 1:9 rwm' 'c 5:0 rwm' 'c 5:2 rwm' 'c 136:* rwm' 'c 10:200 rwm'
	refute 'a *:* rwm'
}

@test "dev: all devices allowed" {
	edit '.linux.resources.devices = [{allow: true, access: "rwm"}]'
	script 'cat /sys/fs/cgroup/devices/devices.list'
	run_pyrunc -0 run "$CT"
	expect 'a *:* rwm'
}

@test "dev: a rule without access" {
	edit '.linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 11}]'
	run_pyrunc -1 run "$CT"
	expect 'device access at 1 field cannot be empty'
}

@test "dev: a hole in a wildcard rule" {
	edit '.linux.resources.devices += [{allow: true, type: "c", major: 29, access: "rwm"}, {allow: false, type: "c", major: 29, minor: 3, access: "rwm"}]'
	run_pyrunc -1 run "$CT"
	expect 'cannot punch hole in existing wildcard rule'
	nothing_left "$CT"
}

@test "dev: nodes of an image that are in the way" {
	edit 'del(.mounts[] | select(.destination | startswith("/dev"))) | .linux.maskedPaths = []'
	ln -s /etc/passwd rootfs/dev/stdin
	mknod rootfs/dev/zero c 1 5
	script 'readlink /dev/stdin; stat -c %t:%T /dev/zero /dev/null'
	run_pyrunc -0 run "$CT"
	expect_only $'/etc/passwd\n1:5\n1:3'
}
