#!/usr/bin/env bats
# without root: an ordinary user of the host, with a map of one entry and no cgroups.

load helpers

USER_ID=4711

setup() {
	setup_bundle
	rm config.json
	chown -R "$USER_ID:$USER_ID" "$BATS_TEST_TMPDIR"
	as_user "$PYRUNC" spec --rootless
	edit '.process.terminal = false'
	chown "$USER_ID:$USER_ID" config.json
}

teardown() {
	delete_all "$BUNDLE/xdg/runc"
	teardown_bundle
}

as_user() {
	setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env -u XDG_RUNTIME_DIR HOME="$BATS_TEST_TMPDIR" "$@"
}

run_as_user() { # run_as_user [-N] ARGS
	local want=()
	if [[ $1 =~ ^-[0-9]+$ ]]; then
		want=("$1")
		shift
	fi
	run_command "${want[@]}" as_user "$PYRUNC" --root "$ROOT" "$@"
}

detached_as_user() {
	as_user "$PYRUNC" --root "$ROOT" "$@" </dev/null >"$OUT" 2>&1 3>&-
}

@test "rootless: run" {
	script 'id -u; id -g; tr -s " " </proc/self/uid_map; cat /proc/self/setgroups; hostname'
	run_as_user -0 run "$CT"
	expect_only $'0\n0\n 0 4711 1\ndeny\nrunc'
}

@test "rootless: create, start, state, exec, kill, delete" {
	sleeper
	detached_as_user create --pid-file pid "$CT"
	[[ $(stat -c %u "/proc/$(cat pid)") -eq $USER_ID ]]
	run_as_user -0 start "$CT"
	run_as_user -0 state "$CT"
	expect '"status": "running"'
	jq -e .rootless "$ROOT/$CT/state.json"
	run_as_user -0 exec "$CT" id -u
	expect_only 0
	run_as_user -5 exec "$CT" sh -c 'exit 5'
	run_as_user -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_as_user -0 delete "$CT"
	[[ ! -e $ROOT/$CT ]]
}

@test "rootless: mounts and devices" {
	script 'echo x >/dev/null; head -c 2 /dev/zero | wc -c; stat -f -c %T /proc /dev/pts /dev/shm; grep " /sys " /proc/self/mountinfo'
	run_as_user -0 run "$CT"
	expect $'2\nproc\ndevpts\ntmpfs' ' ro,'
}

@test "rootless: files belong to the user" {
	edit '.root.readonly = false'
	script 'touch /new'
	run_as_user -0 run "$CT"
	[[ $(stat -c %u:%g rootfs/new) == "$USER_ID:$USER_ID" ]]
}

@test "rootless: delete -f of a running container" {
	sleeper
	detached_as_user run -d "$CT"
	run_as_user -0 delete -f "$CT"
	[[ ! -e $ROOT/$CT ]]
}

@test "rootless: masked and readonly paths, seccomp, rlimits" {
	edit '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["getpgrp"], action: "SCMP_ACT_ERRNO"}]}
		| .process.rlimits = [{type: "RLIMIT_NOFILE", soft: 64, hard: 128}]'
	script 'ulimit -n; grep Seccomp: /proc/self/status; touch /proc/sys/x'
	run_as_user -1 run "$CT"
	expect_match '^64'
	expect $'Seccomp:\t2'
}

@test "rootless: what it needs" {
	edit '.linux.namespaces |= map(select(.type != "user")) | del(.linux.uidMappings, .linux.gidMappings)'
	run_as_user -1 run "$CT"
	expect 'rootless container requires user namespaces'
}

@test "rootless: mount options with ids that are not mapped" {
	add_mount /mnt tmpfs tmpfs uid=5
	run_as_user -1 run "$CT"
	expect 'cannot specify uid='
	[[ ! -e $ROOT/$CT ]]
}

@test "rootless: additional groups" {
	edit '.process.user.additionalGids = [50]'
	run_as_user -1 run "$CT"
	expect 'cannot set any additional groups in a rootless container'
}

@test "rootless: a cgroup limit that cannot be set" {
	edit '.linux.resources.pids = {limit: 10}'
	run_as_user -1 run "$CT"
	expect 'pids limit: container could not join or create cgroup'
	[[ ! -e $ROOT/$CT ]]
}

@test "rootless: XDG_RUNTIME_DIR is the default root" {
	mkdir xdg
	chown "$USER_ID" xdg
	script 'echo hello; sleep 100'
	setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env XDG_RUNTIME_DIR="$BUNDLE/xdg" \
		"$PYRUNC" run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	[[ -d $BUNDLE/xdg/runc/$CT && $(stat -c %a "$BUNDLE/xdg/runc") == 1700 ]]
	run_command -0 setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups env XDG_RUNTIME_DIR="$BUNDLE/xdg" "$PYRUNC" delete -f "$CT"
	[[ ! -e $BUNDLE/xdg/runc/$CT ]]
}

@test "rootless: a cgroup that the user may not make" {
	edit '.linux.cgroupsPath = "/not-for-users"'
	run_as_user -1 run "$CT"
	expect 'unable to apply cgroup configuration' 'permission denied'
}

# newer than runc 1.1
@test "rootless: processes that nothing holds together are warned about" {
	local warning='no cgroup and no private pid namespace. Such configuration is strongly discouraged'
	script true
	run_as_user -0 run "$CT"
	refute "$warning"
	edit '.linux.namespaces -= [{type: "pid"}]
		| .mounts |= map(if .type == "proc" then . + {type: "none", source: "/proc", options: ["rbind"]} else . end)'
	run_as_user -0 run "$CT"
	expect "$warning"
}

@test "rootless: --rootless=false tolerates nothing that is missing" {
	script true
	run_as_user -1 --rootless=false run "$CT"
	expect 'unable to apply cgroup configuration' 'permission denied'
	[[ ! -e $ROOT/$CT ]]
	run_as_user -1 --rootless=perhaps run "$CT"
	expect 'strconv.ParseBool: parsing "perhaps": invalid syntax'
	run_as_user -0 --rootless=true run "$CT"
}

@test "rootless: root of a user namespace needs no second one" {
	edit '.linux.namespaces -= [{type: "user"}] | del(.linux.uidMappings, .linux.gidMappings)'
	script 'id -u; tr -s " " </proc/self/uid_map; cat /proc/self/setgroups'
	run_command -0 as_user unshare --user --map-root-user "$PYRUNC" --root "$ROOT" run "$CT"
	expect_only $'0\n 0 4711 1\ndeny'
	run_command -1 as_user unshare --user --map-root-user "$PYRUNC" --root "$ROOT" --rootless=false run "$CT"
	expect 'unable to apply cgroup configuration' 'permission denied'
}
