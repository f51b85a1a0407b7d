#!/usr/bin/env bats
# events: the form of the statistics, the stream and its end, out-of-memory events.
# bats file_tags=cgroups

load helpers

stream() { # stream ARGS: events into $EVENTS, in the background
	EVENTS="$BATS_TEST_TMPDIR/events"
	"$PYRUNC" --root "$ROOT" events "$@" "$CT" >"$EVENTS" 2>&1 3>&- &
	STREAM=$!
}

stream_ends() { # by itself, and successfully
	wait_for has_ended "$STREAM"
	wait "$STREAM"
}

has_ended() {
	! kill -0 "$1" 2>/dev/null
}

lines_of() { # lines_of TYPE COUNT: at least that many events
	(($(jq -c "select(.type == \"$1\")" "$EVENTS" | wc -l) >= $2))
}

watching() { # a stream that has begun: what happens from now on is seen
	stream --interval 200ms
	wait_for lines_of stats 1
}

throttled() { # more than three times
	pyrunc events --stats "$CT" | jq -e '.data.cpu.throttling.throttledPeriods > 3'
}

@test "events: --stats has all that runc's has" {
	needs_controller memory
	edit '.linux.resources.memory.limit = 33554432 | .linux.resources.pids.limit = 20'
	start_sleeper
	run_pyrunc -0 events --stats "$CT"
	[[ ${#lines[@]} == 1 ]]
	jq -e --arg id "$CT" '.type == "stats" and .id == $id' <<<"$output"
	jq -e '.data | keys - ["rdma"] == (["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] | sort)' \
		<<<"$output"
	jq -e '.data.cpu.usage.total > 0' <<<"$output"
	jq -e '.data.memory.usage | .limit == 33554432 and .usage > 0 and .usage < .limit and .max >= .usage' <<<"$output"
	jq -e '.data.memory.raw | length > 10' <<<"$output"
	jq -e '.data.pids.limit == 20 and .data.pids.current >= 1' <<<"$output"
	jq -e '.data.network_interfaces == null and .data.intel_rdt == {}' <<<"$output"
}

@test "events: pressure, where the kernel measures it" {
	[[ -e /proc/pressure/cpu ]] || skip "no PSI"
	is_v2 || is_hybrid || skip "no cgroup2"
	start_sleeper
	run_pyrunc -0 events --stats "$CT"
	jq -e '[.data.cpu, .data.memory, .data.blkio | .psi.some | has("avg10", "avg60", "avg300", "total")] | all' <<<"$output"
}

@test "events: throttling is counted" {
	needs_controller cpu
	edit '.linux.resources.cpu = {"quota": 5000, "period": 50000}'
	script 'while :; do :; done'
	run_detached -0 run -d "$CT"
	wait_for throttled
	run_pyrunc -0 events --stats "$CT"
	jq -e '.data.cpu.throttling | .throttledPeriods > 3 and .throttledTime > 0 and .periods >= .throttledPeriods' <<<"$output"
}

@test "events: the stream, and its end with the container" {
	start_sleeper
	stream --interval 200ms
	wait_for lines_of stats 3
	run_pyrunc -0 kill "$CT" KILL
	stream_ends
	jq -e --arg id "$CT" '.type == "stats" and .id == $id' "$EVENTS"
}

@test "events: nothing before the first interval is over" {
	start_sleeper
	stream --interval 1h
	sleep 1
	[[ ! -s $EVENTS ]]
	run_pyrunc -0 delete -f "$CT"
	stream_ends
	[[ ! -s $EVENTS ]]
}

@test "events: out of memory, when a limit kills" {
	needs_controller memory
	limit '{"memory": {"limit": 20971520, "swap": 20971520}}'
	script 'until [ -e /tmp/go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=100M count=1; sleep 100'
	run_detached -0 run -d "$CT"
	watching
	touch rootfs/tmp/go
	wait_for lines_of oom 1
	jq -se --arg id "$CT" 'map(select(.type == "oom"))[0] == {type: "oom", id: $id}' "$EVENTS"
	run_pyrunc -0 delete -f "$CT"
	stream_ends
}

@test "events: out of memory in a process of exec leaves the container alive" {
	needs_controller memory
	limit '{"memory": {"limit": 20971520, "swap": 20971520}}'
	edit '.process.args = ["sleep", "1000"]' # who asks for memory while another is killed for it may be next
	run_detached -0 run -d "$CT"
	watching
	run_pyrunc -137 exec "$CT" dd if=/dev/zero of=/dev/null bs=100M count=1
	wait_for lines_of oom 1
	expect_state "$CT" running
	run_pyrunc -0 delete -f "$CT"
	stream_ends
}

@test "events: a paused container has statistics" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -0 events --stats "$CT"
	jq -e '.data.pids.current >= 1' <<<"$output"
}

@test "events: wrong intervals" {
	start_sleeper
	local interval
	for interval in 0 0s -1s; do
		run_pyrunc -1 events "--interval=$interval" "$CT"
		expect "duration interval must be greater than 0"
	done
	run_pyrunc -1 events --interval abc "$CT"
	expect 'Incorrect Usage: invalid value "abc" for flag -interval: time: invalid duration "abc"'
	run_pyrunc -1 events --interval 5 "$CT"
	expect 'time: missing unit in duration "5"'
	run_pyrunc -1 events --interval 3000000h "$CT"
	expect 'time: invalid duration "3000000h"'
}

@test "events: an interval of years ends with the container" {
	start_sleeper
	stream --interval 2000000h
	sleep 0.3
	run_pyrunc -0 kill "$CT" KILL
	stream_ends
	[[ ! -s $EVENTS ]]
}

@test "events: a container that does not run, or does not exist" {
	start_sleeper
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -1 events "$CT"
	expect "container with id $CT is not running"
	run_pyrunc -1 events --stats "$CT"
	expect "container with id $CT is not running"
	run_pyrunc -1 events nobody
	expect "container does not exist"
}

@test "events: a reader that goes ends it" {
	start_sleeper
	local ended=0
	"$PYRUNC" --root "$ROOT" events --interval 100ms "$CT" 3>&- | head -1 >"$OUT" || ended=$?
	[[ $ended -eq 141 ]] # of SIGPIPE
	jq -e '.type == "stats"' "$OUT"
}
