#!/usr/bin/env bats
# kill: signal names and numbers, stopped containers, shared pid namespaces.
# bats file_tags=cgroups

load helpers

traps() { # a container that writes the name of each signal it gets
	script 'for s in HUP INT QUIT USR1 USR2 WINCH CONT; do trap "echo got $s" $s; done
		trap "echo got TERM; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
	run_detached -0 run -d "$CT"
	wait_for grep -q ready "$OUT"
}

@test "kill: SIGTERM when no signal is given" {
	traps
	run_pyrunc -0 kill "$CT"
	wait_for_state "$CT" stopped
	grep -qx 'got TERM' "$OUT"
}

@test "kill: names with and without SIG, in any case, and numbers" {
	traps
	local pair
	for pair in HUP:HUP SIGUSR1:USR1 usr2:USR2 sigint:INT 3:QUIT SigWinch:WINCH; do
		run_pyrunc -0 kill "$CT" "${pair%:*}"
		wait_for grep -qx "got ${pair#*:}" "$OUT"
	done
	expect_state "$CT" running
}

@test "kill: signal 0 and a real-time signal" {
	start_sleeper
	run_pyrunc -0 kill "$CT" 0
	expect_state "$CT" running
	run_pyrunc -0 kill "$CT" 34
}

@test "kill: KILL" {
	start_sleeper
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "kill: an unknown signal" {
	start_sleeper
	run_pyrunc -1 kill "$CT" NOSUCH
	expect 'unknown signal "NOSUCH"'
	run_pyrunc -1 kill "$CT" 12x
	expect 'unknown signal "12x"'
	expect_state "$CT" running
}

@test "kill: a created container" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
}

@test "kill: a stopped container" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -1 kill "$CT"
	expect 'container not running'
	run_pyrunc -1 kill "$CT" 0
	expect 'container not running'
}

@test "kill -a: a stopped container is no error" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 kill -a "$CT" KILL
	run_pyrunc -0 kill --all "$CT" KILL
	run_pyrunc -0 kill -a "$CT"
}

@test "kill -a: a running container" {
	start_sleeper
	run_pyrunc -0 kill -a "$CT" 9
	wait_for_state "$CT" stopped
}

@test "kill: an unknown container" {
	run_pyrunc -1 kill no-such
	expect 'container does not exist'
}

@test "kill: without an id, with three arguments" {
	run_pyrunc -1 kill
	expect '"kill" requires a minimum of 1 argument'
	run_pyrunc -1 kill a b c
	expect '"kill" requires a maximum of 2 argument'
}

@test "kill: only init gets the signal" {
	script 'trap "echo init" USR1
		sh -c "trap \"echo child\" USR1; echo ready; while :; do sleep 0.05; done" &
		while :; do sleep 0.05; done'
	run_detached -0 run -d "$CT"
	wait_for grep -q ready "$OUT"
	run_pyrunc -0 kill "$CT" USR1
	wait_for grep -q init "$OUT"
	! grep -q child "$OUT" || false
}

# newer than runc 1.1
@test "kill: KILL without a pid namespace ends every process" {
	share_pids
	script 'sleep 1000 & sleep 1000 & sleep 1000'
	run_detached -0 run -d "$CT"
	wait_for three_processes
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	wait_for empty_cgroup
}

three_processes() {
	[[ $(wc -l <"$(cgroup pids)/cgroup.procs") -ge 3 ]]
}

empty_cgroup() {
	[[ -z $(cat "$(cgroup pids)/cgroup.procs") ]]
}

# newer than runc 1.1
@test "kill: KILL with a joined pid namespace ends this container's processes alone" {
	only_root # a user's containers have user namespaces of their own
	start_sleeper
	local pid cgroup="$CGROUP" first="$CT"
	pid="$(init_pid "$CT")"
	CGROUP="$cgroup-b"
	place_cgroup "$CGROUP"
	edit --arg path "/proc/$pid/ns/pid" '.linux.namespaces |= map(if .type == "pid" then .path = $path else . end)'
	script 'sleep 1000 & sleep 1000 & sleep 1000'
	run_detached -0 run -d second
	run_pyrunc -0 kill second KILL
	wait_for_state second stopped
	wait_for empty_cgroup
	run_pyrunc -0 delete second
	no_cgroup_left
	CGROUP="$cgroup"
	expect_state "$first" running
}

@test "kill: KILL reaches a paused container" {
	start_sleeper
	freeze
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
}
