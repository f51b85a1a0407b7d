#!/usr/bin/env bats
# process.rlimits: only ever lowered here, so that no CAP_SYS_RESOURCE is needed.

load helpers

@test "rlimits: soft and hard" {
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}]'
	script 'ulimit -Sn; ulimit -Hn'
	run_pyrunc -0 run "$CT"
	expect_only $'100\n200'
}

@test "rlimits: every type" {
	local names='AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK' name
	edit '.process.rlimits = []'
	for name in $names; do
		edit --arg name "RLIMIT_$name" '.process.rlimits += [{type: $name,
			soft: (if $name == "RLIMIT_NICE" or $name == "RLIMIT_RTPRIO" or $name == "RLIMIT_CORE" then 0 else 4096 end),
			hard: (if $name == "RLIMIT_NICE" or $name == "RLIMIT_RTPRIO" or $name == "RLIMIT_CORE" then 0 else 8192 end)}
			| if .type == "RLIMIT_AS" or .type == "RLIMIT_DATA" or .type == "RLIMIT_STACK" then .soft = 1e9 | .hard = 1e9 else . end]'
	done
	script 'cat /proc/self/limits'
	run_pyrunc -0 run "$CT"
	local text
	for text in 'Max cpu time' 'Max file size' 'Max resident set' 'Max processes' 'Max open files' 'Max locked memory' \
		'Max file locks' 'Max pending signals' 'Max msgqueue size' 'Max realtime timeout'; do
		expect_match "$text +4096 +8192"
	done
	for text in 'Max address space' 'Max data size' 'Max stack size'; do
		expect_match "$text +1000000000 +1000000000"
	done
	for text in 'Max core file size' 'Max nice priority' 'Max realtime priority'; do
		expect_match "$text +0 +0"
	done
}

# newer than runc 1.1 (Go raises the soft limit)
@test "rlimits: what is not named is the caller's" {
	edit '.process.rlimits = []'
	script 'ulimit -Sn; ulimit -Hn'
	(ulimit -Sn 800; ulimit -Hn 900; pyrunc run "$CT" </dev/null >"$OUT" 3>&-)
	[[ $(cat "$OUT") == $'800\n900' ]]
}

@test "rlimits: exec has them too" {
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}]'
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -c 'ulimit -Sn; ulimit -Hn'
	expect_only $'100\n200'
}

@test "rlimits: an unknown type" {
	edit '.process.rlimits = [{type: "RLIMIT_NOSUCH", soft: 1, hard: 1}]'
	run_pyrunc -1 run "$CT"
	expect 'wrong rlimit value: RLIMIT_NOSUCH'
	nothing_left "$CT"
}

@test "rlimits: soft above hard" {
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 200, hard: 100}]'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

@test "rlimits: raising without the capability" {
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 900}]'
	run_command -1 sh -c 'ulimit -n 800; exec setpriv --bounding-set -sys_resource "$PYRUNC" --root "$ROOT" run "$CT"'
	expect 'operation not permitted'
	nothing_left "$CT"
}
