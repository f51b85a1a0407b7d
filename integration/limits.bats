#!/usr/bin/env bats
# limits: that they hold, and are not only written; at create as after an update.
# bats file_tags=cgroups

load helpers

cpu_used() { # nanoseconds
	pyrunc events --stats "$CT" | jq .data.cpu.usage.total
}

# burns PER-MILLE: what the container uses of a cpu in two seconds is that, to ten per cent. Never more; less only while
# the machine has no time for it, so that is looked at again.
burns() {
	local times before after used begin=$SECONDS
	while ((SECONDS - begin < 2 * PATIENCE)); do
		# The clock is read around both readings, which take a while: what was used in between was used in no more time than
		# from the first to the last, and in no less than from the second to the third.
		times=("$(now)")
		before="$(cpu_used)"
		times+=("$(now)")
		sleep 2
		times+=("$(now)")
		after="$(cpu_used)"
		times+=("$(now)")
		used=$(((after - before) * 1000))
		echo "used $((used / (times[3] - times[0]))) to $((used / (times[2] - times[1]))) per mille"
		((used / (times[3] - times[0]) <= $1 * 110 / 100)) || return 1
		((used / (times[2] - times[1]) < $1 * 90 / 100)) || return 0
	done
	return 1
}

now() { # nanoseconds
	date +%s%N
}

spinner() { # a container that wants a whole cpu
	script 'while :; do :; done'
	run_detached -0 run -d "$CT"
}

@test "limits: a cpu quota holds within ten per cent" {
	needs_controller cpu
	limit '{"cpu": {"quota": 20000, "period": 100000}}'
	spinner
	burns 200
}

@test "limits: a cpu quota given by update holds" {
	needs_controller cpu
	limit '{"cpu": {"quota": 10000, "period": 50000}}'
	spinner
	run_pyrunc -0 update --cpu-quota 4000 --cpu-period 40000 "$CT"
	burns 100
}

@test "limits: a paused container uses nothing" {
	needs_controller cpu
	limit '{"cpu": {"quota": 20000, "period": 100000}}'
	spinner
	run_pyrunc -0 pause "$CT"
	local before
	before="$(cpu_used)"
	sleep 1
	(($(cpu_used) - before < 10000000))
}

@test "limits: who takes more memory than there is gets killed" {
	needs_controller memory
	limit '{"memory": {"limit": 20971520, "swap": 20971520}}'
	script 'dd if=/dev/zero of=/dev/null bs=100M count=1 && echo survived'
	run_pyrunc run "$CT"
	[[ $status -ne 0 ]]
	refute survived
}

@test "limits: memory given by update is there to use" {
	needs_controller memory
	limit '{"memory": {"limit": 20971520, "swap": 20971520}}'
	edit '.process.args = ["sleep", "1000"]' # who asks for memory while another is killed for it may be next
	run_detached -0 run -d "$CT"
	local greedy=(dd if=/dev/zero of=/dev/null bs=30M count=1)
	run_pyrunc -137 exec "$CT" "${greedy[@]}"
	run_pyrunc -0 update --memory 200M --memory-swap 200M "$CT"
	run_pyrunc -0 exec "$CT" "${greedy[@]}"
}

@test "limits: pids stop a fork bomb" {
	needs_controller pids
	limit '{"pids": {"limit": 15}}'
	script 'bomb() { bomb | bomb & }; bomb; exec sleep 1000'
	run_detached -0 run -d "$CT"
	wait_for grep -qx 'max [1-9][0-9]*' "$(cgroup pids)/pids.events" # it was refused a process
	local count
	count="$(pyrunc ps -f json "$CT" | jq length)"
	((count <= 15))
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "limits: pids given by update hold for exec" {
	needs_controller pids
	start_sleeper
	run_pyrunc -0 update --pids-limit 10 "$CT"
	run_pyrunc exec "$CT" sh -c 'for i in $(seq 20); do sleep 1000 & done; wait'
	expect "can't fork"
}

@test "limits: a cpuset holds for every process" {
	needs_controller cpuset
	(($(nproc) > 1)) || skip "one cpu"
	limit '{"cpu": {"cpus": "1"}}'
	start_sleeper
	run_pyrunc -0 exec "$CT" grep Cpus_allowed_list /proc/self/status
	expect_match 'Cpus_allowed_list:.1$'
	run_pyrunc -0 update --cpuset-cpus 0 "$CT"
	run_pyrunc -0 exec "$CT" grep Cpus_allowed_list /proc/1/status
	expect_match 'Cpus_allowed_list:.0$'
}

@test "limits: a device rule refuses open, also after an update" {
	only_root
	needs_controller pids
	edit '.linux.devices = [{path: "/dev/kmsg", type: "c", major: 1, minor: 11}]'
	start_sleeper
	run_pyrunc exec "$CT" head -c 1 /dev/kmsg
	expect "Operation not permitted"
	run_pyrunc -0 update --pids-limit 100 "$CT"
	run_pyrunc exec "$CT" head -c 1 /dev/kmsg
	expect "Operation not permitted"
	run_pyrunc -0 exec "$CT" head -c 1 /dev/zero
}

@test "limits: read from a block device is slowed down" {
	only_root
	needs_controller "$(is_v2 && echo io || echo blkio)"
	local device major minor
	device="$(find /dev -maxdepth 1 \( -name 'vd[a-z]' -o -name 'sd[a-z]' \) | head -1)"
	head -c 1 "$device" >"$OUT" 2>/dev/null || skip "no block device to read"
	major=$((0x$(stat -c %t "$device"))) minor=$((0x$(stat -c %T "$device")))
	edit --argjson major "$major" --argjson minor "$minor" \
		'.linux.resources.blockIO.throttleReadBpsDevice = [{$major, $minor, rate: 1048576}]
		| .linux.resources.devices += [{allow: true, type: "b", $major, $minor, access: "r"}]
		| .linux.devices = [{path: "/dev/disk", type: "b", $major, $minor}]'
	start_sleeper
	local start
	start="$(date +%s)"
	run_pyrunc -0 exec "$CT" dd if=/dev/disk of=/dev/null bs=64k count=32 iflag=direct
	(($(date +%s) - start >= 1))
	run_pyrunc -0 events --stats "$CT"
	jq -e '.data.blkio.ioServiceBytesRecursive[] | select(.op == "Read" and .value >= 2097152)' <<<"$output"
}

@test "limits: Intel RDT without the kernel's" {
	! grep -q ' resctrl ' /proc/self/mounts || skip "resctrl is mounted"
	edit '.linux.intelRdt = {l3CacheSchema: "L3:0=f"}'
	run_pyrunc -1 create "$CT"
	expect "linux.intelRdt: Intel RDT resctrl mount point not found"
	nothing_left "$CT"
	edit '.linux.intelRdt = {closID: ".."}'
	run_pyrunc -1 create "$CT"
	expect 'invalid intelRdt.ClosID ".."'
	nothing_left "$CT"
}
