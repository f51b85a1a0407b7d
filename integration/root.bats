#!/usr/bin/env bats
# --root: where the state is.

load helpers

@test "root: two state roots are independent" {
	sleeper
	local other="$BATS_TEST_TMPDIR/state-two"
	run_detached -0 run -d "$CT"
	edit --arg cgroup "/$CGROUP/two" '.linux.cgroupsPath = $cgroup'
	"$PYRUNC" --root "$other" run -d "$CT" </dev/null >/dev/null 2>&1 3>&-
	[[ $("$PYRUNC" --root "$other" state "$CT" | jq .pid) != "$(init_pid "$CT")" ]]
	"$PYRUNC" --root "$other" delete -f "$CT"
	expect_state "$CT" running
	[[ $(pyrunc list -q) == "$CT" ]]
	[[ -z $("$PYRUNC" --root "$other" list -q) ]]
}

@test "root: is made with its parents, 0700" {
	ROOT="$BATS_TEST_TMPDIR/state-deep/er/root"
	script 'echo hello'
	run_pyrunc -0 run "$CT"
	expect_only hello
	[[ $(stat -c %a "$ROOT") == 700 ]]
}

@test "root: relative paths" {
	script 'echo hello'
	run_command -0 "$PYRUNC" --root relative run "$CT"
	[[ -d relative ]]
}

# newer than runc 1.1
@test "root: / is refused" {
	local value
	for value in / '' ../../../../../../../.. //; do
		run "$PYRUNC" --root "$value" list </dev/null 3>&-
		[[ $status -eq 1 ]]
		expect 'Option --root argument should not be set to /'
	done
}

@test "root: a file" {
	touch file
	script true
	run_command -1 "$PYRUNC" --root "$PWD/file" run "$CT"
	expect 'not a directory'
}

@test "root: XDG_RUNTIME_DIR does not count for root" {
	mkdir xdg
	script 'echo hello'
	XDG_RUNTIME_DIR="$PWD/xdg" run_pyrunc -0 run "$CT"
	[[ -z $(ls xdg) ]]
}
