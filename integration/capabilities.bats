#!/usr/bin/env bats
# process.capabilities: the five sets.

load helpers

caps() { # caps FILTER: sets process.capabilities, the container prints its sets
	edit ".process.capabilities = $1"
	script 'grep Cap /proc/self/status | cut -f2 | tr "\n" " "'
}

CHOWN=0000000000000001
KILL=0000000000000020
NONE=0000000000000000

@test "capabilities: each set is its own" {
	caps '{bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_SETPCAP"], permitted: ["CAP_CHOWN", "CAP_KILL"], effective: ["CAP_KILL"],
		inheritable: ["CAP_CHOWN"], ambient: []}'
	edit '.process.user.uid = 1000'
	run_pyrunc -0 run "$CT"
	expect_only "$CHOWN $NONE $NONE 0000000000000121 $NONE "
}

@test "capabilities: root has after execve what is bounding, permitted and effective" {
	caps '{bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"]}'
	run_pyrunc -0 run "$CT"
	expect_only "$NONE $KILL $KILL $KILL $NONE "
}

@test "capabilities: ambient ones reach another user's process" {
	caps '{bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"], inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]}'
	edit '.process.user = {uid: 1000, gid: 1000}'
	run_pyrunc -0 run "$CT"
	expect_only "$KILL $KILL $KILL $KILL $KILL "
}

@test "capabilities: an empty object has none" {
	caps '{}'
	run_pyrunc -0 run "$CT"
	expect_only "$NONE $NONE $NONE $NONE $NONE "
}

@test "capabilities: empty sets" {
	caps '{bounding: [], permitted: [], effective: [], inheritable: [], ambient: []}'
	run_pyrunc -0 run "$CT"
	expect_only "$NONE $NONE $NONE $NONE $NONE "
}

# newer than runc 1.1
@test "capabilities: without the object the caller's stay" {
	edit 'del(.process.capabilities)'
	script 'grep CapBnd /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect_only "$(grep CapBnd /proc/self/status)"
}

@test "capabilities: what is dropped cannot be used" {
	writable
	caps '{bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"]}'
	script 'chown 1:1 /etc/passwd; hostname x'
	run_pyrunc -1 run "$CT"
	[[ $(grep -c 'not permitted' <<<"$output") -eq 2 ]]
}

@test "capabilities: unknown names are ignored with one warning" {
	caps '{bounding: ["CAP_KILL", "CAP_NOSUCH", "kill", "CAP_NEITHER"], permitted: ["CAP_KILL", "CAP_NOSUCH"], effective: ["CAP_KILL"]}'
	run_pyrunc -0 run "$CT"
	expect "$NONE $KILL $KILL $KILL $NONE " 'ignoring unknown or unavailable capabilities' CAP_NOSUCH CAP_NEITHER
	[[ $(grep -c 'ignoring unknown' <<<"$output") -eq 1 ]]
}

# newer than runc 1.1
@test "capabilities: an ambient one that is not inheritable warns" {
	caps '{bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"], ambient: ["CAP_KILL"]}'
	run_pyrunc -0 run "$CT"
	expect "can't raise ambient capability CAP_KILL" "$NONE $KILL $KILL $KILL $NONE "
}

@test "capabilities: noNewPrivileges" {
	edit '.process.noNewPrivileges = true'
	script 'grep NoNewPrivs /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect_only $'NoNewPrivs:\t1'
	edit 'del(.process.noNewPrivileges)'
	run_pyrunc -0 run "$CT"
	expect_only $'NoNewPrivs:\t0'
}

@test "capabilities: a set-user-id program gains nothing with noNewPrivileges" {
	probe_in_rootfs
	chmod 4755 rootfs/bin/probe
	edit '.process.user = {uid: 1000, gid: 1000} | .process.noNewPrivileges = false
		| .process.args = ["probe", "syscall", "107"]' # geteuid
	run_pyrunc -0 run "$CT"
	expect_only 'ok 0'
	edit '.process.noNewPrivileges = true'
	run_pyrunc -0 run "$CT"
	expect_only 'ok 1000'
}

@test "capabilities: no secure bits are left set" {
	probe_in_rootfs
	edit '.process.args = ["probe", "syscall", "157", "27"]'
	run_pyrunc -0 run "$CT"
	expect_only 'ok 0'
}
