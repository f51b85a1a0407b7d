#!/usr/bin/env bats
# pause and resume: the state they leave, what they refuse, and what still works on a paused container.
# bats file_tags=cgroups

load helpers

counter() { # a container that counts in /tmp/n, which the host sees
	writable
	script 'n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; sleep 0.02; done'
	run_detached -0 run -d "$CT"
	wait_for test -s rootfs/tmp/n
}

counts() { # the count goes on
	local before
	before="$(cat rootfs/tmp/n)"
	wait_for differs "$before"
}

differs() {
	[[ $(cat rootfs/tmp/n) != "$1" ]]
}

stands() { # it does not
	local before
	before="$(cat rootfs/tmp/n)"
	sleep 0.5
	! differs "$before"
}

@test "pause: nothing runs until resume" {
	counter
	counts
	run_pyrunc -0 pause "$CT"
	expect_only ""
	expect_state "$CT" paused
	stands
	run_pyrunc -0 resume "$CT"
	expect_only ""
	expect_state "$CT" running
	counts
}

@test "pause: processes of exec too" {
	start_sleeper
	writable
	pyrunc exec -d "$CT" sh -c 'while :; do echo x; sleep 0.02; done' >"$OUT" 2>&1
	wait_for test -s "$OUT"
	run_pyrunc -0 pause "$CT"
	local size
	size="$(stat -c %s "$OUT")"
	sleep 0.3
	[[ $(stat -c %s "$OUT") == "$size" ]]
	run_pyrunc -0 resume "$CT"
}

@test "pause: twice" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -1 pause "$CT"
	expect "container not running"
	expect_state "$CT" paused
}

@test "resume: what is not paused" {
	start_sleeper
	run_pyrunc -1 resume "$CT"
	expect "container not paused"
	expect_state "$CT" running
}

@test "pause: a created container is created again afterwards" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 pause "$CT"
	expect_state "$CT" paused
	run_pyrunc -0 resume "$CT"
	expect_state "$CT" created
	run_pyrunc -0 start "$CT"
	expect_state "$CT" running
}

@test "pause: a stopped container" {
	start_sleeper
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -1 pause "$CT"
	expect "container not running"
	run_pyrunc -1 resume "$CT"
	expect "container not paused"
}

@test "pause: no such container" {
	local verb
	for verb in pause resume; do
		run_pyrunc -1 "$verb" nobody
		expect "container does not exist"
		run_pyrunc -1 "$verb"
		expect "\"$verb\" requires exactly 1 argument(s)"
	done
}

@test "pause: start and exec are refused, exec --ignore-paused waits" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -1 start "$CT"
	run_pyrunc -255 exec "$CT" true
	expect "cannot exec in a paused container (use --ignore-paused to override)"
	pyrunc exec --ignore-paused "$CT" echo hello >"$OUT" 2>&1 3>&- &
	sleep 0.3
	[[ ! -s $OUT ]]
	run_pyrunc -0 resume "$CT"
	wait_for grep -qx hello "$OUT"
}

@test "pause: killed and deleted while paused" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -1 delete "$CT"
	expect "cannot delete container $CT that is not stopped: paused"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "pause: delete --force of a paused container" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -0 delete --force "$CT"
	nothing_left "$CT"
}

@test "pause: a container that forks all the time" {
	script 'while :; do true & done'
	needs_controller pids
	limit '{"pids": {"limit": 200}}'
	run_detached -0 run -d "$CT"
	for _ in 1 2 3 4 5; do
		run_pyrunc -0 pause "$CT"
		expect_state "$CT" paused
		run_pyrunc -0 resume "$CT"
	done
}
