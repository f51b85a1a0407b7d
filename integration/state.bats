#!/usr/bin/env bats
# state: its fields through the life of a container.
# bats file_tags=cgroups

load helpers

@test "state: created, running, paused, stopped" {
	sleeper
	run_detached -0 create "$CT"
	expect_state "$CT" created
	run_pyrunc -0 start "$CT"
	expect_state "$CT" running
	freeze
	expect_state "$CT" paused
	thaw
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
}

@test "state: the fields" {
	edit '.annotations = {"key": "value"}'
	start_sleeper
	run_pyrunc -0 state "$CT"
	jq -e --arg id "$CT" --arg bundle "$BUNDLE" '
		.id == $id and .status == "running" and .pid > 1 and .bundle == $bundle
		and .rootfs == "\($bundle)/rootfs" and .annotations == {"key": "value"} and .owner == ""
		and (.created | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\\.[0-9]{1,9})?Z$"))
		and (keys == ["annotations", "bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"])
	' <<<"$output"
}

# newer than runc 1.1
@test "state: ociVersion is the version this runtime speaks" {
	edit '.ociVersion = "1.0.0"'
	start_sleeper
	[[ $(pyrunc state "$CT" | jq -r .ociVersion) == 1.3.0 ]]
}

@test "state: indented by two blanks, annotations left out when there are none" {
	start_sleeper
	run_pyrunc -0 state "$CT"
	[[ ${lines[0]} == '{' && ${lines[1]} =~ ^'  "ociVersion": "' ]]
	refute annotations
}

@test "state: the pid of a stopped container is 0" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	[[ $(pyrunc state "$CT" | jq .pid) == 0 ]]
}

@test "state: an init that is a zombie is stopped" {
	# Orphans are given to a parent that does not reap them: PR_SET_CHILD_SUBREAPER
	script 'until [ -e /tmp/go ]; do sleep 0.05; done'
	python3 -c 'import ctypes, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.run(sys.argv[1:])
time.sleep(1000)' "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" run -d --pid-file pid "$CT" </dev/null >/dev/null 2>&1 3>&- &
	local keeper=$!
	wait_for_state "$CT" running
	touch rootfs/tmp/go
	wait_for_state "$CT" stopped
	grep -q '^State:.Z' "/proc/$(cat pid)/status"
	kill "$keeper"
}

@test "state: a reused pid is not taken for init" {
	start_sleeper
	local pid
	pid="$(init_pid "$CT")"
	jq ".init_process_start += 1" "$ROOT/$CT/state.json" >"$OUT"
	cp "$OUT" "$ROOT/$CT/state.json"
	expect_state "$CT" stopped
	kill -KILL "$pid"
}

@test "state: an unknown container" {
	run_pyrunc -1 state no-such
	expect 'container does not exist'
}

@test "state: a broken state.json" {
	start_sleeper
	cp "$ROOT/$CT/state.json" keep.json
	echo '{' >"$ROOT/$CT/state.json"
	run_pyrunc -1 state "$CT"
	cp keep.json "$ROOT/$CT/state.json"
	expect_state "$CT" running
}
