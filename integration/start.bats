#!/usr/bin/env bats
# start: from created to running.

load helpers

@test "start: a created container runs" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 start "$CT"
	expect_only ''
	expect_state "$CT" running
}

@test "start: the pid stays" {
	sleeper
	run_detached -0 create "$CT"
	local pid
	pid="$(init_pid "$CT")"
	run_pyrunc -0 start "$CT"
	[[ $(init_pid "$CT") == "$pid" ]]
}

@test "start: a running container" {
	start_sleeper
	run_pyrunc -1 start "$CT"
	expect 'cannot start an already running container'
	expect_state "$CT" running
}

@test "start: a stopped container" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -1 start "$CT"
	expect 'cannot start a container that has stopped'
}

@test "start: a created container whose init was killed" {
	sleeper
	run_detached -0 create "$CT"
	kill -KILL "$(init_pid "$CT")"
	wait_for_state "$CT" stopped
	run_pyrunc -1 start "$CT"
	expect 'cannot start a container that has stopped'
}

@test "start: an unknown container" {
	run_pyrunc -1 start no-such
	expect 'container does not exist'
}

@test "start: without an id, with two" {
	run_pyrunc -1 start
	expect '"start" requires exactly 1 argument'
	run_pyrunc -1 start one two
	expect '"start" requires exactly 1 argument'
}

@test "start: two at once, one wins, both end" {
	sleeper
	run_detached -0 create "$CT"
	local one two won=0
	timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" start "$CT" </dev/null >/dev/null 2>&1 3>&- &
	one=$!
	timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" start "$CT" </dev/null >/dev/null 2>&1 3>&- &
	two=$!
	! wait "$one" || won=$((won + 1))
	! wait "$two" || won=$((won + 1))
	[[ $won -eq 1 ]]
	expect_state "$CT" running
}
