#!/usr/bin/env bats
# delete: every state, force, leftovers.
# bats file_tags=cgroups

load helpers

@test "delete: a stopped container" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	expect_only ''
	nothing_left "$CT"
	run_pyrunc -1 state "$CT"
}

@test "delete: a created container" {
	sleeper
	run_detached -0 create "$CT"
	local pid
	pid="$(init_pid "$CT")"
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
	wait_for test ! -d "/proc/$pid"
}

@test "delete: a running container is refused" {
	start_sleeper
	run_pyrunc -1 delete "$CT"
	expect "cannot delete container $CT that is not stopped: running"
	expect_state "$CT" running
}

@test "delete: a paused container is refused, forced it goes" {
	start_sleeper
	freeze
	run_pyrunc -1 delete "$CT"
	expect 'that is not stopped: paused'
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "delete -f: created, running, stopped" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	run_detached -0 run -d "$CT"
	run_pyrunc -0 delete --force "$CT"
	nothing_left "$CT"
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "delete: an unknown container" {
	run_pyrunc -1 delete no-such
	expect 'container does not exist'
}

@test "delete -f: an unknown container is no error" {
	run_pyrunc -0 delete -f no-such
	expect_only ''
	run_pyrunc -0 delete --force no-such
}

@test "delete: a directory without state is removed" {
	mkdir -p "$ROOT/left"
	run_pyrunc -1 delete left
	expect 'container does not exist'
	[[ ! -e $ROOT/left ]]
	mkdir -p "$ROOT/left/sub"
	run_pyrunc -0 delete -f left
	[[ ! -e $ROOT/left ]]
}

@test "delete: an id cannot reach out of the state root" {
	mkdir "$BATS_TEST_TMPDIR/precious" "$ROOT"
	run_pyrunc -1 delete ../precious
	run_pyrunc delete -f ../precious
	run_pyrunc delete -f ..
	run_pyrunc delete -f .
	[[ -d $BATS_TEST_TMPDIR/precious && -d $ROOT ]]
}

@test "delete -f: processes of a container without pid namespace" {
	share_pids
	script 'sleep 1000 & sleep 1000 & sleep 1000'
	run_detached -0 run -d "$CT"
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "delete: what a stopped init left in the host's pid namespace" {
	share_pids
	script 'sleep 1000 & sleep 1000 & exit 0'
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	[[ $(wc -l <"$(cgroup pids)/cgroup.procs") -eq 2 ]]
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "delete: without force, what a stopped init left goes too" {
	share_pids
	script 'sleep 1000 & sleep 1000 & exit 0'
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "delete: sub-cgroups made by the container" {
	start_sleeper
	mkdir -p "$(cgroup pids)/a/b" "$(cgroup memory)/c"
	! is_hybrid || mkdir "$(cgroup unified)/d"
	sleep 1000 3>&- &
	echo $! >"$(cgroup pids)/a/b/cgroup.procs"
	kill -KILL $!
	wait $! || true
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "delete: the cgroup's parent stays" {
	only_cgroupfs
	place_cgroup "$CGROUP.parent/$CGROUP"
	mkdir "$(dirname "$(cgroup pids)")"
	start_sleeper
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	local dir
	for dir in "$CGROUPS"{,/*}"$(dirname "$BELOW")"; do
		[[ ! -d $dir ]] || rmdir "$dir"
	done
}

@test "delete: the cgroup is already gone" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	local dir
	for dir in "$CGROUPS"{,/*}"$BELOW"; do
		[[ ! -d $dir ]] || wait_for rmdir "$dir"
	done
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "delete: two at once" {
	start_sleeper
	"$PYRUNC" --root "$ROOT" delete -f "$CT" </dev/null >/dev/null 2>&1 3>&- &
	run_pyrunc delete -f "$CT"
	wait $! || true
	nothing_left "$CT"
}

@test "delete: a container that nobody reaps" {
	start_sleeper
	kill -STOP "$(init_pid "$CT")"
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}
