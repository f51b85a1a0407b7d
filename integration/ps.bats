#!/usr/bin/env bats
# ps: the table, the options of the host's ps, JSON.
# bats file_tags=cgroups

load helpers

@test "ps: the table has the container's processes and no others" {
	start_sleeper
	wait_for_program
	run_pyrunc -0 ps "$CT"
	[[ ${lines[0]} == UID*PID*PPID*CMD ]]
	expect "sh -c trap"
	local pid line
	pid="$(init_pid "$CT")"
	awk -v pid="$pid" 'NR > 1 && $2 == pid { found = 1 } END { exit !found }' <<<"$output"
	for line in "${lines[@]:1}"; do
		grep -qxF "$(awk '{ print $2 }' <<<"$line")" "$(cgroup devices)/cgroup.procs" ||
			[[ $line == *sleep* ]] # it has ended meanwhile
	done
}

@test "ps: options of ps" {
	start_sleeper
	wait_for_program
	run_pyrunc -0 ps "$CT" -o ppid,pid,args
	[[ ${lines[0]} == *PPID*PID*COMMAND ]]
	expect "sh -c trap"
	run_pyrunc -0 ps "$CT" aux
	[[ ${lines[0]} == USER*PID*%CPU* ]]
	expect "sh -c trap"
}

@test "ps: options without PID, and wrong ones" {
	start_sleeper
	run_pyrunc -1 ps "$CT" -o args
	expect "couldn't find PID field in ps output"
	run_pyrunc -1 ps "$CT" --nonsense
	expect "ps --nonsense: exit status"
}

@test "ps: json" {
	edit '.process.args = ["sleep", "1000"]'
	run_detached -0 run -d "$CT"
	run_pyrunc -0 ps --format json "$CT"
	expect_only "[$(init_pid "$CT")]"
	pyrunc exec -d "$CT" sleep 1000
	run_pyrunc -0 ps -f json "$CT"
	[[ $(jq length <<<"$output") == 2 ]]
}

@test "ps: processes in sub-cgroups of the container" {
	edit '.process.args = ["sleep", "1000"]'
	run_detached -0 run -d "$CT"
	local sub
	sub="$(cgroup devices)/sub"
	mkdir "$sub"
	init_pid "$CT" >"$sub/cgroup.procs"
	run_pyrunc -0 ps -f json "$CT"
	expect_only "[$(init_pid "$CT")]"
}

@test "ps: created, paused and stopped containers" {
	edit '.process.args = ["sleep", "1000"]'
	run_detached -0 create "$CT"
	run_pyrunc -0 ps -f json "$CT"
	expect_only "[$(init_pid "$CT")]"
	run_pyrunc -0 pause "$CT"
	run_pyrunc -0 ps -f json "$CT"
	expect_only "[$(init_pid "$CT")]"
	run_pyrunc -0 resume "$CT"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 ps -f json "$CT"
	expect_only null
	run_pyrunc -0 ps "$CT"
	[[ ${#lines[@]} == 1 ]]
}

@test "ps: a process whose name is a newline and a number" {
	writable
	start_sleeper
	run_pyrunc -0 exec -d "$CT" sh -c $'exec -a "x\n root 1 1" sleep 1000'
	run_pyrunc -0 ps "$CT"
	expect "sleep"
}

@test "ps: wrong format, no such container" {
	start_sleeper
	run_pyrunc -1 ps --format xml "$CT"
	expect "invalid format option"
	run_pyrunc -1 ps nobody
	expect "container does not exist"
	run_pyrunc -1 ps
	expect '"ps" requires a minimum of 1 argument(s)'
}
