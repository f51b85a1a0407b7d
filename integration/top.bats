#!/usr/bin/env bats
# top in a pipe: a table and JSON, once. (What it does on a terminal: tests/root/test_top.py.)
# bats file_tags=cgroups

load helpers

@test "top: one row for each container that runs" {
	needs_controller memory
	edit '.linux.resources.memory.limit = 33554432 | .linux.resources.pids.limit = 20'
	start_sleeper
	edit '.linux.cgroupsPath += "-b"'
	run_detached -0 create "$CT-b"
	run_pyrunc -0 top --interval 100ms
	[[ ${#lines[@]} == 3 ]]
	[[ ${lines[0]} == ID*STATUS*CPU*MEMORY*LIMIT*PIDS*READ/s*WRITE/s*PRESSURE* ]]
	expect_match "$CT +running +[0-9]+\.[0-9] .* 32\.0MiB .* [0-9]+/20 "
	expect_match "$CT-b +created "
	run_pyrunc -0 top --interval 100ms "$CT-b"
	[[ ${#lines[@]} == 2 ]]
}

busy() {
	pyrunc top --format json --interval 500ms | jq -e '.[0].cpu_percent > 20'
}

@test "top: json" {
	needs_controller memory
	edit '.linux.resources.memory.limit = 33554432'
	script 'while :; do :; done'
	run_detached -0 run -d "$CT"
	wait_for busy # as soon as the machine has time for it
	run_pyrunc -0 top --format json --interval 500ms
	[[ ${#lines[@]} == 1 ]]
	jq -e --arg id "$CT" '.[0].id == $id and .[0].status == "running"' <<<"$output"
	jq -e '.[0] | .cpu_percent > 0 and .memory.limit == 33554432 and .memory.usage > 0 and .pids.current >= 1' <<<"$output"
	jq -e '.[0] | .io | has("read", "written", "read_rate", "write_rate")' <<<"$output"
	jq -e '.[0].pressure | has("cpu", "memory", "io")' <<<"$output"
}

@test "top: nothing runs" {
	run_pyrunc -0 top --interval 10ms
	[[ ${#lines[@]} == 1 ]]
	run_pyrunc -0 top --format json --interval 10ms
	expect_only "[]"
	start_sleeper
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 top --format json --interval 10ms
	expect_only "[]"
	run_pyrunc -0 top --format json --interval 10ms "$CT"
	jq -e '.[0].status == "stopped"' <<<"$output"
}

@test "top: wrong arguments" {
	run_pyrunc -1 top nobody
	expect "container does not exist"
	run_pyrunc -1 top --format xml
	expect "invalid format option"
	run_pyrunc -1 top --interval 0s
	expect "duration interval must be greater than 0"
}
