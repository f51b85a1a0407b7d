#!/usr/bin/env bats
# personality, scheduler, io priority, oom score, CPU affinity.

load helpers

probe() { # probe ARGS: the container runs the probe
	probe_in_rootfs
	edit '.process.args = ["probe"] + $ARGS.positional' --args "$@"
}

# newer than runc 1.1
@test "personality: LINUX32 and LINUX, for exec too" {
	edit '.linux.personality = {domain: "LINUX32"}'
	script 'uname -m'
	run_pyrunc -0 run "$CT"
	expect_only i686
	start_sleeper
	run_pyrunc -0 exec "$CT" uname -m
	expect_only i686
}

@test "personality: flags, of which none is defined, are told to be ignored" {
	edit '.linux.personality = {domain: "LINUX", flags: ["NOSUCH"]}'
	script 'echo done'
	run_pyrunc -0 run "$CT"
	expect done 'level=warning' "linux.personality.flags: ignoring unsupported personality flags: ['NOSUCH']"
	edit '.linux.personality.flags = []'
	run_pyrunc -0 run "$CT"
	expect_only done
}

@test "personality: LINUX" {
	edit '.linux.personality = {domain: "LINUX", flags: []}'
	probe personality
	run_pyrunc -0 run "$CT"
	expect_only 00000000
}

# newer than runc 1.1
@test "personality: an unknown domain" {
	edit '.linux.personality = {domain: "SOLARIS"}'
	run_pyrunc -1 run "$CT"
	expect SOLARIS
	nothing_left "$CT"
}

# newer than runc 1.1
@test "scheduler: BATCH with nice" {
	edit '.process.scheduler = {policy: "SCHED_BATCH", nice: 7}'
	probe sched
	run_pyrunc -0 run "$CT"
	expect 'policy=3 nice=7 priority=0 flags=0'
}

# newer than runc 1.1
@test "scheduler: IDLE, OTHER, RESET_ON_FORK, and exec" {
	edit '.process.scheduler = {policy: "SCHED_IDLE"}'
	probe sched
	run_pyrunc -0 run "$CT"
	expect 'policy=5 '
	edit '.process.scheduler = {policy: "SCHED_OTHER", nice: 19, flags: ["SCHED_FLAG_RESET_ON_FORK"]}'
	run_pyrunc -0 run "$CT"
	expect 'policy=0 nice=19 priority=0 flags=1'
	edit '.process.scheduler = {policy: "SCHED_BATCH", nice: 3}'
	start_sleeper
	run_pyrunc -0 exec "$CT" probe sched
	expect 'policy=3 nice=3'
}

# newer than runc 1.1
@test "scheduler: values that do not go together" {
	local value
	for value in '{}' '{"policy": "SCHED_NOSUCH"}' '{"policy": "SCHED_BATCH", "nice": 20}' '{"policy": "SCHED_BATCH", "nice": -21}' \
		'{"policy": "SCHED_BATCH", "priority": 1}' '{"policy": "SCHED_OTHER", "runtime": 1000000}' \
		'{"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOSUCH"]}'; do
		edit --argjson value "$value" '.process.scheduler = $value'
		run_pyrunc -1 run "$CT"
	done
	nothing_left "$CT"
}

# newer than runc 1.1
@test "ioPriority: run, exec, exec --process" {
	edit '.process.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 6}'
	probe ioprio
	run_pyrunc -0 run "$CT"
	expect_only 'class=2 level=6'
	start_sleeper
	run_pyrunc -0 exec "$CT" probe ioprio
	expect_only 'class=2 level=6'
	jq '.process | .args = ["probe", "ioprio"] | .ioPriority = {class: "IOPRIO_CLASS_IDLE", priority: 0}' config.json >process.json
	run_pyrunc -0 exec -p process.json "$CT"
	expect_only 'class=3 level=0'
}

# newer than runc 1.1
@test "ioPriority: bad values" {
	local value
	for value in '{"class": "IOPRIO_CLASS_NOSUCH", "priority": 1}' '{"class": "IOPRIO_CLASS_BE", "priority": 8}' \
		'{"class": "IOPRIO_CLASS_BE", "priority": -1}'; do
		edit --argjson value "$value" '.process.ioPriority = $value'
		run_pyrunc -1 run "$CT"
	done
	nothing_left "$CT"
}

@test "oomScoreAdj: raised, absent means the caller's, exec has it too" {
	script 'cat /proc/self/oom_score_adj'
	run_pyrunc -0 run "$CT"
	expect_only "$(cat /proc/self/oom_score_adj)"
	edit '.process.oomScoreAdj = 789'
	run_pyrunc -0 run "$CT"
	expect_only 789
	start_sleeper
	run_pyrunc -0 exec "$CT" cat /proc/self/oom_score_adj
	expect_only 789
}

@test "oomScoreAdj: out of range" {
	edit '.process.oomScoreAdj = 2000'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "affinity: the runtime's own does not leak" {
	probe affinity
	run_command -0 taskset -c 0 "$PYRUNC" --root "$ROOT" run "$CT"
	expect_only "cpus=$(nproc --all)"
}

# newer than runc 1.1
@test "execCPUAffinity: final is exec's" {
	edit '.process.execCPUAffinity = {final: "0"}'
	probe_in_rootfs
	start_sleeper
	run_pyrunc -0 exec "$CT" probe affinity
	expect_only cpus=1
	edit 'del(.process.execCPUAffinity)'
	jq '.process | .args = ["probe", "affinity"] | .execCPUAffinity = {initial: "0", final: "0-1"}' config.json >process.json
	run_pyrunc -0 exec -p process.json "$CT"
	expect_only "cpus=$(($(nproc --all) > 1 ? 2 : 1))"
}

@test "apparmor and selinux: a clear error where they are absent" {
	[[ ! -e /sys/kernel/security/apparmor && ! -e /sys/fs/selinux/enforce ]] || skip "one of them is here"
	edit '.process.apparmorProfile = "some-profile"'
	run_pyrunc -1 run "$CT"
	expect apparmor
	edit 'del(.process.apparmorProfile) | .process.selinuxLabel = "system_u:system_r:container_t:s0"'
	run_pyrunc -1 run "$CT"
	expect selinux
	nothing_left "$CT"
}
