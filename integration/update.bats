#!/usr/bin/env bats
# update: every flag, --resources, what is kept and what is forgotten, refusals; on cgroup v1 and v2.
# bats file_tags=cgroups

load helpers

setup() {
	setup_bundle
	needs_controller memory
}

memory_is() { # memory_is BYTES
	kernel_has memory memory.limit_in_bytes "$1" memory.max "$1"
}

quota_is() { # quota_is QUOTA PERIOD
	local quota=$1
	# systemd has whole per cents of a cpu, and rounds up
	[[ $DRIVER != systemd || $quota -lt 0 ]] || quota=$(((quota * 100 + $2 - 1) / $2 * $2 / 100))
	kernel_has cpu cpu.cfs_quota_us "$quota" cpu.max "${quota/#-1/max} $2"
	kernel_has cpu cpu.cfs_period_us "$2" - -
}

saved() { # saved MEMBER: of the cgroup object in state.json
	jq -c --arg name "$1" '.config.cgroups[$name]' "$ROOT/$CT/state.json"
}

@test "update: memory" {
	limit '{"memory": {"limit": 33554432}}'
	start_sleeper
	memory_is 33554432
	run_pyrunc -0 update --memory 67108864 "$CT"
	expect_only ""
	memory_is 67108864
	[[ $(saved memory) == 67108864 ]]
	run_pyrunc -0 update --memory 50M "$CT"
	memory_is 52428800
	run_pyrunc -0 update --memory-reservation 33554432 "$CT"
	memory_is 52428800
	kernel_has memory memory.soft_limit_in_bytes 33554432 memory.low 33554432
}

@test "update: memory and swap, up and down" {
	limit '{"memory": {"limit": 33554432, "swap": 33554432}}'
	start_sleeper
	[[ $(file memory "$(is_v2 && echo memory.swap.max || echo memory.memsw.limit_in_bytes)") ]] || skip "no swap accounting"
	run_pyrunc -0 update --memory 100M --memory-swap 150M "$CT"
	memory_is 104857600
	kernel_has memory memory.memsw.limit_in_bytes 157286400 memory.swap.max 52428800
	run_pyrunc -0 update --memory 20M --memory-swap 40M "$CT"
	memory_is 20971520
	kernel_has memory memory.memsw.limit_in_bytes 41943040 memory.swap.max 20971520
	run_pyrunc -0 update --memory-swap -1 "$CT"
	kernel_has memory memory.memsw.limit_in_bytes 9223372036854771712 memory.swap.max max
	run_pyrunc -0 update --memory -1 "$CT"
	kernel_has memory memory.limit_in_bytes 9223372036854771712 memory.max max
	kernel_has memory memory.memsw.limit_in_bytes 9223372036854771712 memory.swap.max max
}

@test "update: swap below memory is refused, and the old limits stay" {
	limit '{"memory": {"limit": 33554432}, "pids": {"limit": 20}}'
	start_sleeper
	run_pyrunc -1 update --memory 100M --memory-swap 50M --pids-limit 33 "$CT"
	kernel_has memory memory.limit_in_bytes 33554432 memory.max 33554432
	[[ $(file pids pids.max) == 20 ]]
	[[ $(saved memory) == 33554432 ]]
	[[ $(saved pids_limit) == 20 ]]
}

@test "update: a limit that the kernel refuses takes the others back" {
	limit '{"memory": {"limit": 33554432}, "cpu": {"shares": 512}}'
	start_sleeper
	run_pyrunc -1 update --memory 100M --cpu-share 300 --cpu-quota 100 --cpu-period 1 "$CT"
	expect "linux.resources.cpu"
	memory_is 33554432
	kernel_has cpu cpu.shares 512 cpu.weight 59
	[[ $(saved memory) == 33554432 ]]
}

@test "update: a limit that is refused takes those back that state.json does not know" {
	limit '{"pids": {"limit": 20}}'
	start_sleeper
	run_pyrunc -0 update --cpu-share 700 "$CT" # which forgets pids
	local before
	before="$(file memory "$(is_v2 && echo memory.max || echo memory.limit_in_bytes)")"
	run_pyrunc -1 update --memory 100M --pids-limit 30 --cpu-quota 100 --cpu-period 1 "$CT"
	memory_is "$before"
	[[ $(file pids pids.max) == 20 ]]
	kernel_has cpu cpu.shares 700 cpu.weight 75
}

@test "update: quota and period" {
	limit '{"cpu": {"quota": 500000, "period": 1000000}}'
	start_sleeper
	quota_is 500000 1000000
	run_pyrunc -0 update --cpu-quota 600000 "$CT"
	quota_is 600000 1000000
	run_pyrunc -0 update --cpu-period 900000 "$CT"
	quota_is 600000 900000
	run_pyrunc -0 update --cpu-quota 20000 --cpu-period 50000 "$CT"
	quota_is 20000 50000
	run_pyrunc -0 update --cpu-quota -1 "$CT"
	quota_is -1 50000
}

@test "update: quota and period are forgotten by an update without them" {
	limit '{"cpu": {"quota": 20000, "period": 50000}}'
	start_sleeper
	run_pyrunc -0 update --memory 50M "$CT"
	quota_is 20000 50000
	[[ $(saved cpu_quota) == null ]]
	run_pyrunc -0 update --cpu-quota 30000 "$CT"
	if is_v2; then # cpu.max takes both at once, and the period is the kernel's default then
		quota_is 30000 100000
	else
		quota_is 30000 50000
	fi
}

@test "update: a quota or a period where there was none" {
	start_sleeper
	run_pyrunc -0 update --cpu-period 50000 "$CT"
	quota_is -1 50000
	run_pyrunc -0 delete -f "$CT"
	start_sleeper
	run_pyrunc -0 update --cpu-quota 30000 "$CT"
	quota_is 30000 100000
	run_pyrunc -0 update --cpu-quota -1 --cpu-period 200000 "$CT"
	quota_is -1 200000
}

@test "update: shares" {
	limit '{"cpu": {"shares": 100}}'
	start_sleeper
	run_pyrunc -0 update --cpu-share 1024 "$CT"
	kernel_has cpu cpu.shares 1024 cpu.weight 100
	run_pyrunc -0 update --cpu-share 262144 "$CT"
	kernel_has cpu cpu.shares 262144 cpu.weight 10000
	run_pyrunc -0 update --memory 50M "$CT"
	[[ $(saved cpu_shares) == 262144 ]]
	[[ $(saved cpu_weight) == 10000 ]]
}

@test "update: shares that the kernel clamps" {
	only_v1
	start_sleeper
	run_pyrunc -1 update --cpu-share 1000000 "$CT"
	expect "the maximum allowed cpu-shares is 262144"
	run_pyrunc -1 update --cpu-share 1 "$CT"
	expect "the minimum allowed cpu-shares is 2"
}

@test "update: burst" {
	limit '{"cpu": {"quota": 20000, "period": 50000}}'
	start_sleeper
	[[ $(file cpu "$(is_v2 && echo cpu.max.burst || echo cpu.cfs_burst_us)") == 0 ]] || skip "no burst"
	run_pyrunc -0 update --cpu-burst 10000 "$CT"
	kernel_has cpu cpu.cfs_burst_us 10000 cpu.max.burst 10000
	run_pyrunc -0 update --cpu-quota 5000 --cpu-period 50000 --cpu-burst 0 "$CT"
	kernel_has cpu cpu.cfs_burst_us 0 cpu.max.burst 0
	# more than the present quota: it has to come after the new one
	run_pyrunc -0 update --cpu-quota 40000 --cpu-period 50000 --cpu-burst 40000 "$CT"
	kernel_has cpu cpu.cfs_burst_us 40000 cpu.max.burst 40000
}

@test "update: idle" {
	start_sleeper
	[[ $(file cpu cpu.idle) == 0 ]] || skip "no cpu.idle"
	run_pyrunc -0 update --cpu-share 500 "$CT"
	run_pyrunc -0 update --cpu-idle 1 "$CT"
	[[ $(file cpu cpu.idle) == 1 ]]
	[[ $(saved cpu_shares) == null ]]
	run_pyrunc -0 update --cpu-idle 0 --cpu-share 300 "$CT"
	[[ $(file cpu cpu.idle) == 0 ]]
	run_pyrunc -1 update --cpu-idle 2 "$CT"
	expect "invalid argument"
	run_pyrunc -1 update --cpu-idle yes "$CT"
	expect 'invalid value for cpu-idle: strconv.ParseInt: parsing "yes": invalid syntax'
}

@test "update: real time" {
	only_v1
	[[ $(cat "$CGROUPS/cpu/cpu.rt_runtime_us" 2>/dev/null || echo 0) -gt 10000 ]] || skip "the kernel groups no real-time tasks"
	start_sleeper
	run_pyrunc -0 update --cpu-rt-runtime 5001 "$CT"
	[[ $(file cpu cpu.rt_runtime_us) == 5001 ]]
	run_pyrunc -0 update --cpu-rt-period 800001 --cpu-rt-runtime 6001 "$CT"
	[[ $(file cpu cpu.rt_runtime_us) == 6001 && $(file cpu cpu.rt_period_us) == 800001 ]]
	run_pyrunc -0 update --memory 50M "$CT"
	[[ $(saved cpu_rt_quota) == 6001 && $(saved cpu_rt_period) == 800001 ]]
	run_pyrunc -1 update --cpu-rt-runtime 900000 --cpu-rt-period 800001 "$CT"
	expect "linux.resources.cpu.realtimeRuntime"
	[[ $(file cpu cpu.rt_runtime_us) == 6001 ]]
}

@test "update: cpuset" {
	(($(nproc) > 1)) || skip "one cpu"
	limit '{"cpu": {"cpus": "0-1"}}'
	start_sleeper
	run_pyrunc -0 update --cpuset-cpus 1 "$CT"
	[[ $(file cpuset cpuset.cpus) == 1 ]]
	run_pyrunc -0 exec "$CT" grep Cpus_allowed_list /proc/self/status
	expect_match 'Cpus_allowed_list:.1$'
	run_pyrunc -0 update --cpuset-mems 0 --cpuset-cpus 0 "$CT"
	[[ $(file cpuset cpuset.mems) == 0 ]]
	[[ $(saved cpuset_mems) == '"0"' ]] # where all have the only node anyway
	[[ $(file cpuset cpuset.cpus) == 0 ]]
	run_pyrunc -0 update --memory 50M "$CT"
	[[ $(file cpuset cpuset.cpus) == 0 ]]
	[[ $(saved cpuset_cpus) == null ]]
	run_pyrunc -1 update --cpuset-cpus 5000 "$CT"
	expect "linux.resources.cpu.cpus"
}

@test "update: pids" {
	limit '{"pids": {"limit": 20}}'
	start_sleeper
	run_pyrunc -0 update --pids-limit 30 "$CT"
	[[ $(file pids pids.max) == 30 ]]
	run_pyrunc -0 update --memory 50M "$CT"
	[[ $(file pids pids.max) == 30 ]]
	[[ $(saved pids_limit) == null ]]
	run_pyrunc -0 update --pids-limit -1 "$CT"
	[[ $(file pids pids.max) == max ]]
	run_pyrunc -0 update --pids-limit 0 "$CT"
	[[ $(file pids pids.max) == 1 ]]
}

@test "update: weight of block devices" {
	local files=(blkio.bfq.weight blkio.weight)
	! is_v2 || files=(io.bfq.weight io.weight)
	start_sleeper
	local name found=
	for name in "${files[@]}"; do
		file blkio "$name" >/dev/null 2>&1 && found=$name && break
	done
	[[ -n $found ]] || skip "no weights"
	run_pyrunc -0 update --blkio-weight 500 "$CT"
	[[ $(file blkio "$found" | head -1 | tr -dc 0-9) == 500 || $found == io.weight ]]
	run_pyrunc -0 update --memory 50M "$CT"
	[[ $(saved blkio_weight) == 500 ]]
	run_pyrunc -1 update --blkio-weight 70000 "$CT"
	expect "invalid value for blkio-weight"
}

@test "update: rates of block devices, one entry a device" {
	local device
	device="$(find /dev -maxdepth 1 -name 'loop[0-9]' -o -maxdepth 1 -name 'vd[a-z]' -o -maxdepth 1 -name 'sd[a-z]' | head -1)"
	[[ -b $device ]] || skip "no block device"
	local major minor
	major=$((0x$(stat -c %t "$device"))) minor=$((0x$(stat -c %T "$device")))
	start_sleeper
	local kind rates
	for rates in 1000000 2000000; do
		for kind in throttleReadBpsDevice throttleWriteIOPSDevice; do
			jq -n --arg kind "$kind" --argjson major "$major" --argjson minor "$minor" --argjson rate "$rates" \
				'{blockIO: {($kind): [{$major, $minor, $rate}]}}' >"$BATS_TEST_TMPDIR/r.json"
			run_pyrunc -0 update --resources "$BATS_TEST_TMPDIR/r.json" "$CT"
		done
	done
	[[ $(saved blkio_throttle_read_bps_device | jq -c 'map(.rate)') == '[2000000]' ]]
	[[ $(saved blkio_throttle_write_iops_device | jq -c 'map(.rate)') == '[2000000]' ]]
	kernel_has blkio blkio.throttle.read_bps_device "$major:$minor 2000000" io.max \
		"$major:$minor rbps=2000000 wbps=max riops=max wiops=2000000"
}

@test "update: from a file and from standard input" {
	start_sleeper
	echo '{"memory": {"limit": 33554432}, "cpu": {"shares": 100, "quota": 20000, "period": 50000}, "pids": {"limit": 10}}' \
		>"$BATS_TEST_TMPDIR/r.json"
	run_pyrunc -0 update -r "$BATS_TEST_TMPDIR/r.json" --memory 1M "$CT"
	memory_is 33554432
	quota_is 20000 50000
	[[ $(file pids pids.max) == 10 ]]
	echo '{"memory": {"limit": 52428800, "kernel": 0}, "pids": null, "devices": []}' | pyrunc update --resources - "$CT"
	memory_is 52428800
	run_pyrunc -1 update -r /nonexistent "$CT"
	expect "open /nonexistent: no such file or directory"
	echo '{"memory": {"limit": "x"}}' >"$BATS_TEST_TMPDIR/r.json"
	run_pyrunc -1 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
	expect "memory.limit"
	echo '[]' >"$BATS_TEST_TMPDIR/r.json"
	run_pyrunc -1 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
	expect "$BATS_TEST_TMPDIR/r.json: must be an object, is an array"
	update_from() { # update_from TEXT
		pyrunc update -r - "$CT" <<<"$1"
	}
	run_command -1 update_from '[]'
	expect "standard input: must be an object, is an array"
	run_command -1 update_from '{'
	expect "standard input: invalid JSON"
}

@test "update: unified" {
	start_sleeper
	echo '{"unified": {"memory.max": "33554432"}}' >"$BATS_TEST_TMPDIR/r.json"
	if is_v2; then
		run_pyrunc -0 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
		memory_is 33554432
		[[ $(saved unified) == '{"memory.max":"33554432"}' ]]
		run_pyrunc -0 update --pids-limit 10 "$CT"
		[[ $(saved unified) == null ]]
	else
		run_pyrunc -1 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
		expect "invalid configuration: cannot use unified on cgroup v1"
	fi
}

@test "update: checkBeforeUpdate" {
	only_v2
	limit '{"memory": {"limit": 67108864}}'
	start_sleeper
	echo '{"memory": {"limit": 8192, "checkBeforeUpdate": true}, "pids": {"limit": 7}}' >"$BATS_TEST_TMPDIR/r.json"
	run_pyrunc -1 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
	expect "rejecting memory limit 8192 <= usage"
	memory_is 67108864
	[[ $(file pids pids.max) != 7 ]]
	echo '{"memory": {"limit": 67108864, "swap": 4096, "checkBeforeUpdate": true}}' >"$BATS_TEST_TMPDIR/r.json"
	run_pyrunc -1 update -r "$BATS_TEST_TMPDIR/r.json" "$CT"
	expect "rejecting memory+swap limit 4096 <= usage"
	expect_state "$CT" running
}

@test "update: a limit below what is used ends a container whose memory cannot be taken from it" {
	only_v2
	limit '{"memory": {"limit": 67108864, "swap": 67108864}}'
	start_sleeper
	run_pyrunc update --memory 4096 --memory-swap 4096 "$CT" # which may be too late for the answer
	wait_for_state "$CT" stopped
}

@test "update: a paused container stays paused" {
	limit '{"memory": {"limit": 33554432}}'
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -0 update --memory 67108864 --pids-limit 20 --cpu-share 300 "$CT"
	memory_is 67108864
	expect_state "$CT" paused
	run_pyrunc -0 resume "$CT"
	expect_state "$CT" running
}

@test "update: created and stopped containers" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 update --memory 67108864 "$CT"
	memory_is 67108864
	run_pyrunc -0 start "$CT"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -1 update --memory 33554432 "$CT"
	expect "container not running"
	run_pyrunc -1 update --memory 33554432 nobody
	expect "container does not exist"
}

@test "update: device rules stay as they are, whoever made them" {
	only_v1
	start_sleeper
	echo 'c 1:11 r' >"$CGROUPS/devices/$CGROUP/devices.allow"
	run_pyrunc -0 update --memory 50M "$CT"
	grep -qx 'c 1:11 r' "$CGROUPS/devices/$CGROUP/devices.list"
}

@test "update: no device is refused or allowed for a moment" {
	only_root
	edit '.linux.resources.devices = [{"allow": false, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rw"}]
		| .linux.devices = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
		| .process.capabilities[] += ["CAP_SYSLOG"]'
	# what is read of the one is printed, and so is that the other cannot be written to
	script 'while :; do head -c 100 /dev/kmsg 2>/dev/null; done'
	run_detached -0 run -d "$CT"
	local pids
	for pids in 30 31 32 33 34 35 36 37 38 39; do
		run_pyrunc -0 update --pids-limit "$pids" "$CT"
	done
	expect_state "$CT" running
	[[ ! -s $OUT ]]
}

@test "update: wrong numbers" {
	start_sleeper
	run_pyrunc -1 update --memory 5x "$CT"
	expect "invalid value for memory: invalid suffix: 'x'"
	run_pyrunc -1 update --cpu-period -5 "$CT"
	expect 'invalid value for cpu-period: strconv.ParseUint: parsing "-5": invalid syntax'
	run_pyrunc -1 update --cpu-quota 1.5 "$CT"
	expect 'invalid value for cpu-quota: strconv.ParseInt: parsing "1.5": invalid syntax'
	run_pyrunc -1 update --pids-limit x "$CT"
	expect "Incorrect Usage"
	local flag
	for flag in memory memory-reservation memory-swap; do
		run_pyrunc -1 update "--$flag" 16384P "$CT"
		expect "invalid value for $flag: invalid size: '16384P'"
	done
}

@test "update: kernel memory is ignored with a warning" {
	start_sleeper
	run_pyrunc -0 update --kernel-memory 100M "$CT"
	expect "Setting --kernel-memory is ignored and will be removed"
}

@test "update: Intel RDT without the kernel's" {
	! grep -q ' resctrl ' /proc/self/mounts || skip "resctrl is mounted"
	start_sleeper
	run_pyrunc -1 update --l3-cache-schema 'L3:0=f' "$CT"
	expect "Intel RDT/CAT: l3 cache schema is not enabled"
	run_pyrunc -1 update --mem-bw-schema 'MB:0=50' "$CT"
	expect "Intel RDT/MBA: memory bandwidth schema is not enabled"
}
