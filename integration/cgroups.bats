#!/usr/bin/env bats
# cgroups: where they are, the limits of config.json on v1 and v2, refusals, what exec joins.
# bats file_tags=cgroups

load helpers

saved_path() { # of a controller, as state.json has it
	jq -r --arg name "$1" '.cgroup_paths | .[$name] // .[""]' "$ROOT/$CT/state.json"
}

@test "cgroups: every controller has the container, and only while it is there" {
	start_sleeper
	local pid top
	pid="$(init_pid "$CT")"
	for top in "$CGROUPS"{,/*}; do
		[[ ! -e $top/cgroup.procs ]] || grep -qx "$pid" "$top$BELOW/cgroup.procs"
		! is_v2 || break
	done
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "cgroups: on v2 every controller that there is above is there" {
	only_v2
	only_root # systemd hands some of them to no user
	start_sleeper
	[[ $(file any cgroup.controllers) == "$(cat "$CGROUPS/cgroup.controllers")" ]]
}

@test "cgroups: paths" {
	only_cgroupfs
	place_cgroup "$CGROUP/../$CGROUP/sub"
	start_sleeper
	place_cgroup "$CGROUP/sub"
	[[ $(saved_path pids) == "$(cgroup pids)" ]]
	run_pyrunc -0 delete -f "$CT"
	[[ ! -d $(cgroup pids) ]]
	remove_cgroups
}

@test "cgroups: a path cannot leave the hierarchy" {
	only_cgroupfs
	only_root
	edit --arg path "/../../../../$CGROUP" '.linux.cgroupsPath = $path'
	start_sleeper
	[[ $(saved_path pids) == "$(cgroup pids)" ]]
}

@test "cgroups: no path is the id, below the runtime's own, on v2 beside it" {
	only_cgroupfs
	edit 'del(.linux.cgroupsPath)'
	CT="$CGROUP"
	start_sleeper
	local own
	if is_v2; then
		own="$CGROUPS$(dirname "$(sed -n 's/^0:://p' /proc/self/cgroup)")"
	else
		own="$CGROUPS/pids$(sed -n 's/.*:pids://p' /proc/self/cgroup)"
	fi
	[[ $(saved_path pids) == "${own%/}/$CT" ]]
	run_pyrunc -0 delete -f "$CT"
}

@test "cgroups: pids" {
	needs_controller pids
	limit '{"pids": {"limit": 20}}'
	start_sleeper
	[[ $(file pids pids.max) == 20 ]]
	run_pyrunc exec "$CT" sh -c 'for i in $(seq 30); do sleep 1000 & done; wait'
	expect "can't fork"
}

@test "cgroups: pids without limit" {
	needs_controller pids
	limit '{"pids": {"limit": -1}}'
	start_sleeper
	[[ $(file pids pids.max) == max ]]
}

# newer than runc 1.1
@test "cgroups: a pids limit of 0 means 1" {
	needs_controller pids
	limit '{"pids": {"limit": 0}}'
	edit '.process.args = ["sleep", "100"]'
	run_detached -0 run -d "$CT"
	[[ $(file pids pids.max) == 1 ]]
}

@test "cgroups: memory" {
	needs_controller memory
	limit '{"memory": {"limit": 67108864, "reservation": 33554432, "swappiness": 50}}'
	start_sleeper
	kernel_has memory memory.limit_in_bytes 67108864 memory.max 67108864
	kernel_has memory memory.soft_limit_in_bytes 33554432 memory.low 33554432
	kernel_has memory memory.swappiness 50 - -
}

@test "cgroups: memory and swap" {
	needs_controller memory
	is_v2 || [[ -e $CGROUPS/memory/memory.memsw.limit_in_bytes ]] || skip "no swap accounting"
	limit '{"memory": {"limit": 67108864, "swap": 134217728}}'
	start_sleeper
	kernel_has memory memory.memsw.limit_in_bytes 134217728 memory.swap.max 67108864
}

@test "cgroups: disableOOMKiller is for v1" {
	needs_controller memory
	limit '{"memory": {"limit": 67108864, "disableOOMKiller": true}}'
	start_sleeper
	is_v2 || file memory memory.oom_control | grep -qx 'oom_kill_disable 1'
}

@test "cgroups: memory is really limited" {
	needs_controller memory
	limit '{"memory": {"limit": 33554432, "swap": 33554432}}'
	is_v2 || [[ -e $CGROUPS/memory/memory.memsw.limit_in_bytes ]] || edit 'del(.linux.resources.memory.swap)'
	script 'head -c 100000000 /dev/zero | tail >/dev/null; echo "status $?"'
	run_pyrunc run "$CT"
	refute 'status 0'
	nothing_left "$CT"
}

@test "cgroups: a memory limit too low to start with says so" {
	needs_controller memory
	limit '{"memory": {"limit": 4096}}'
	run_pyrunc -1 run "$CT"
	expect 'OOM-killed'
	refute Traceback
	nothing_left "$CT"
}

@test "cgroups: cpu shares, quota and period" {
	needs_controller cpu
	limit '{"cpu": {"shares": 512, "quota": 50000, "period": 200000}}'
	start_sleeper
	kernel_has cpu cpu.shares 512 cpu.weight 59
	kernel_has cpu cpu.cfs_quota_us 50000 cpu.max "50000 200000"
	kernel_has cpu cpu.cfs_period_us 200000 - -
}

@test "cgroups: a period alone, a quota alone" {
	needs_controller cpu
	limit '{"cpu": {"period": 200000}}'
	start_sleeper
	kernel_has cpu cpu.cfs_quota_us -1 cpu.max "max 200000"
	kernel_has cpu cpu.cfs_period_us 200000 - -
	run_pyrunc -0 delete -f "$CT"
	limit '{"cpu": {"period": null, "quota": 5000}}'
	start_sleeper
	kernel_has cpu cpu.cfs_quota_us 5000 cpu.max "5000 100000"
	run_pyrunc -0 delete -f "$CT"
	limit '{"cpu": {"period": 100, "quota": null}}'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

@test "cgroups: cpu shares that the kernel clips are an error on v1, the nearest weight on v2" {
	needs_controller cpu
	limit '{"cpu": {"shares": 1}}'
	if is_v2; then
		start_sleeper
		[[ $(file cpu cpu.weight) == 1 ]]
		run_pyrunc -0 delete -f "$CT"
		limit '{"cpu": {"shares": 500000}}'
		start_sleeper
		[[ $(file cpu cpu.weight) == 10000 ]]
		return
	fi
	run_pyrunc -1 run "$CT"
	expect 'the minimum allowed cpu-shares is 2'
	limit '{"cpu": {"shares": 500000}}'
	run_pyrunc -1 run "$CT"
	expect 'the maximum allowed cpu-shares is 262144'
	nothing_left "$CT"
}

@test "cgroups: cpuset" {
	needs_controller cpuset
	limit '{"cpu": {"cpus": "0", "mems": "0"}}'
	start_sleeper
	[[ $(file cpuset cpuset.cpus) == 0 && $(file cpuset cpuset.mems) == 0 ]]
	grep -qx $'Cpus_allowed_list:\t0' "/proc/$(init_pid "$CT")/status"
}

@test "cgroups: cpuset without values is the parent's" {
	only_v1
	start_sleeper
	[[ $(file cpuset cpuset.cpus) == "$(cat "$CGROUPS/cpuset/cpuset.cpus")" ]]
}

@test "cgroups: a cpuset that the machine does not have" {
	needs_controller cpuset
	limit '{"cpu": {"cpus": "4000"}}'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

@test "cgroups: where the caller may run is of no account, only the cpuset" {
	needs_controller cpuset
	(($(nproc) > 1)) || skip "one cpu"
	local allowed
	allowed="$(sed -n $'s/^Cpus_allowed_list:\t//p' /proc/self/status)"
	script 'grep Cpus_allowed_list: /proc/self/status'
	run_command -0 taskset -c 0 "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" run "$CT"
	expect_only $'Cpus_allowed_list:\t'"$allowed"
	limit '{"cpu": {"cpus": "1", "mems": "0"}}'
	run_command -0 taskset -c 0 "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" run "$CT"
	expect_only $'Cpus_allowed_list:\t1'
	start_sleeper
	run_command -0 taskset -c 0 "$PYRUNC" --root "$ROOT" exec "$CT" grep Cpus_allowed_list: /proc/self/status
	expect_only $'Cpus_allowed_list:\t1'
}

# newer than runc 1.1
@test "cgroups: cpu idle and burst" {
	needs_controller cpu
	limit '{"cpu": {"idle": 1}}'
	start_sleeper
	[[ $(file cpu cpu.idle) == 1 ]]
	run_pyrunc -0 delete -f "$CT"
	limit '{"cpu": {"idle": 0, "quota": 50000, "period": 100000, "burst": 20000}}'
	start_sleeper
	kernel_has cpu cpu.cfs_burst_us 20000 cpu.max.burst 20000
}

@test "cgroups: block io" {
	needs_controller "$(is_v2 && echo io || echo blkio)"
	local dev
	dev="$(lsblk -dno MAJ:MIN | tr -d ' ' | sort -rV | head -1)" # loop devices, which come and go, have low numbers
	limit "{\"blockIO\": {\"throttleReadBpsDevice\": [{\"major\": ${dev%:*}, \"minor\": ${dev#*:}, \"rate\": 1048576}],
		\"throttleWriteIOPSDevice\": [{\"major\": ${dev%:*}, \"minor\": ${dev#*:}, \"rate\": 100}]}}"
	start_sleeper
	kernel_has blkio blkio.throttle.read_bps_device "$dev 1048576" io.max "$dev rbps=1048576 wbps=max riops=max wiops=100"
	kernel_has blkio blkio.throttle.write_iops_device "$dev 100" - -
}

@test "cgroups: weights of block io" {
	needs_controller "$(is_v2 && echo io || echo blkio)"
	limit '{"blockIO": {"weight": 750}}'
	sleeper
	run_detached run -d "$CT"
	if is_v2; then
		kernel_has io - - io.bfq.weight "default 750" 2>/dev/null || kernel_has io - - io.weight "default 7475"
	elif [[ $status -eq 0 ]]; then
		grep -qsx '\(default \)\?750' "$(cgroup blkio)"/{blkio.bfq.weight,blkio.weight}
	else # a kernel without a scheduler that knows weights
		expect 'linux.resources.blockIO.weight'
	fi
}

@test "cgroups: the weight of one device, by BFQ" {
	needs_controller "$(is_v2 && echo io || echo blkio)"
	only_root # to make a device
	local loop device scheduler file=blkio.bfq.weight_device
	! is_v2 || file=io.bfq.weight
	truncate -s 1M "$BATS_TEST_TMPDIR/disk"
	modprobe -q bfq || true
	loop="$(losetup --find --show "$BATS_TEST_TMPDIR/disk")" || skip "no loop device"
	scheduler="/sys/block/${loop#/dev/}/queue/scheduler"
	{ grep -qw bfq "$scheduler" && echo bfq >"$scheduler"; } || {
		losetup -d "$loop"
		skip "no BFQ"
	}
	device="$(cat "/sys/block/${loop#/dev/}/dev")"
	limit "{\"blockIO\": {\"weight\": 333, \"weightDevice\": [{\"major\": ${device%:*}, \"minor\": ${device#*:}, \"weight\": 444}]}}"
	sleeper
	run_detached run -d "$CT"
	losetup -d "$loop"
	[[ $status -eq 0 ]]
	[[ $(file blkio "$file") == "default 333"*"$device 444" ]]
}

@test "cgroups: hugepages" {
	needs_controller hugetlb
	only_root
	local size suffix
	is_v2 && suffix=max || suffix=limit_in_bytes
	start_sleeper
	size="$(find "$(cgroup hugetlb)" -maxdepth 1 -name "hugetlb.*.$suffix" ! -name '*rsvd*' | head -1 | sed "s/.*hugetlb\.\(.*\)\.$suffix/\1/")"
	run_pyrunc -0 delete -f "$CT"
	limit "{\"hugepageLimits\": [{\"pageSize\": \"$size\", \"limit\": 1073741824}]}"
	start_sleeper
	[[ $(file hugetlb "hugetlb.$size.$suffix") == 1073741824 ]]
	[[ ! -e $(cgroup hugetlb)/hugetlb.$size.rsvd.$suffix ]] || [[ $(file hugetlb "hugetlb.$size.rsvd.$suffix") == 1073741824 ]]
}

@test "cgroups: unified is refused on v1" {
	only_v1
	limit '{"unified": {"memory.min": "131072"}}'
	run_pyrunc -1 run "$CT"
	expect 'invalid configuration'
	nothing_left "$CT"
}

@test "cgroups: unified has the last word" {
	only_v2
	needs_controller memory
	limit '{"memory": {"limit": 33554432}, "cpu": {"shares": 3333, "quota": 40000, "period": 100000}, "unified": {
		"memory.min": "131072", "memory.max": "40484864", "pids.max": "42", "cpu.max": "5000 50000", "cpu.weight": "42"}}'
	start_sleeper
	local pair
	for pair in memory.min=131072 memory.max=40484864 pids.max=42 "cpu.max=5000 50000" cpu.weight=42; do
		kernel_has any - - "${pair%%=*}" "${pair#*=}"
	done
}

@test "cgroups: a unified key with a slash, of a missing file, of no controller" {
	only_v2
	limit '{"unified": {"a/b": "1"}}'
	run_pyrunc -1 run "$CT"
	expect 'must be a file name (no slashes)'
	edit '.linux.resources.unified = {"nosuch.file": "1"}'
	run_pyrunc -1 run "$CT"
	expect 'unified resource "nosuch.file" can'"'"'t be set: controller "nosuch" not available'
	edit '.linux.resources.unified = {"cgroup.max.depth": "7"}'
	start_sleeper
	[[ $(file any cgroup.max.depth) == 7 ]]
}

@test "cgroups: limits are there before the prestart hook, and for the exec'd" {
	needs_controller pids
	limit '{"pids": {"limit": 20}}'
	edit --arg text "cat $(cgroup pids)/pids.max >$BUNDLE/seen" '.hooks.prestart = [{path: "/bin/sh", args: ["sh", "-c", $text]}]'
	start_sleeper
	[[ $(cat seen) == 20 ]]
	run_pyrunc -0 exec "$CT" cat "/sys/fs/cgroup/$(is_v2 || echo pids/)pids.max"
	expect_only 20
}

@test "cgroups: the container sees its own, and none that it has not made" {
	is_v2 || edit '.linux.namespaces += [{"type": "cgroup"}]'
	start_sleeper
	run_pyrunc -0 exec "$CT" find "/sys/fs/cgroup$(is_v2 || echo /pids)" -type d
	[[ ${#lines[@]} == 1 ]]
	run_pyrunc -0 exec "$CT" grep -c 1 "/sys/fs/cgroup$(is_v2 || echo /pids)/cgroup.procs"
}

@test "cgroups: devices are refused, for the exec'd too" {
	only_root
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/odd", type: "c", major: 1, minor: 99}]'
	script 'probe open /dev/odd r; probe open /dev/null w'
	run_pyrunc run "$CT"
	expect_match $'^errno 1 .*\nok '
	sleeper
	run_detached -0 run -d "$CT"
	run_pyrunc exec "$CT" probe open /dev/odd r
	expect 'errno 1 '
	run_pyrunc -0 delete -f "$CT"
	edit '.linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 99, access: "r"}]'
	script 'probe open /dev/odd r; probe open /dev/null w'
	run_pyrunc run "$CT"
	expect_match $'^errno 6 .*\nok '
}

# newer than runc 1.1
@test "cgroups: one that is not empty is refused, and left alone" {
	local dir
	dir="$(cgroup devices)"
	mkdir -p "$dir"
	sleep 100 3>&- &
	echo $! >"$dir/cgroup.procs"
	local verb
	for verb in run create; do
		run_pyrunc -1 "$verb" "$CT"
		expect "container's cgroup is not empty: 1 process(es) found"
	done
	[[ $(cat "$dir/cgroup.procs") == "$!" ]]
	[[ ! -e $ROOT/$CT ]]
	kill -KILL $!
	wait $! || true
	remove_cgroups
}

@test "cgroups: one that is frozen is refused" {
	mkdir -p "$(cgroup freezer)"
	local verb
	for verb in run create; do
		freeze
		run_command timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" "$verb" "$CT" # who joins it hangs
		thaw
		[[ $status -eq 1 ]]
		expect "container's cgroup unexpectedly frozen"
	done
	remove_cgroups
}

@test "cgroups: an empty one that exists is used" {
	mkdir -p "$(cgroup pids)"
	start_sleeper
	grep -qx "$(init_pid "$CT")" "$(cgroup pids)/cgroup.procs"
}

@test "cgroups: exec after the container has moved its init" {
	only_v1
	edit '(.mounts[] | select(.type == "cgroup") | .options) = ["rw"]'
	script 'mkdir /sys/fs/cgroup/pids/inner; echo 1 >/sys/fs/cgroup/pids/inner/cgroup.procs; echo moved; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q moved "$OUT"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect ":pids:/$CGROUP"
}

@test "cgroups: exec joins init where controllers are on that leave the container's own to no process" {
	only_v2
	only_root
	needs_controller memory
	edit '(.mounts[] | select(.type == "cgroup") | .options) |= map(select(. != "ro"))'
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -ec 'cd /sys/fs/cgroup; mkdir inner; for pid in $(cat cgroup.procs); do echo $pid >inner/cgroup.procs || :; done'
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_pyrunc -0 exec "$CT" sh -ec 'cd /sys/fs/cgroup; echo $$ >inner/cgroup.procs; echo +memory >cgroup.subtree_control'
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/inner
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "cgroups: create, start, exec, kill, delete in a cgroup namespace" {
	is_v2 || edit '.linux.namespaces += [{type: "cgroup"}]'
	sleeper
	run_detached -0 create "$CT"
	[[ $(saved_path pids) == "$(cgroup pids)" ]]
	run_pyrunc -0 start "$CT"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect ':/'
	refute "$CGROUP"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "cgroups: --systemd-cgroup without systemd" {
	[[ ! -d /run/systemd/system ]] || skip "systemd runs here"
	edit '.linux.cgroupsPath = "system.slice:pyrunc:test"'
	run_pyrunc -1 --systemd-cgroup run "$CT"
	expect 'systemd not running on this host, cannot use systemd cgroups manager'
	nothing_left "$CT"
}
