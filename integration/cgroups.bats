#!/usr/bin/env bats
# cgroups: the paths, the limits on v1 (hybrid), refusals, and cgroup2 alone.

load helpers

limit() { # limit JSON: merged into linux.resources
	edit --argjson value "$1" '.linux.resources *= $value'
}

file() { # file CONTROLLER NAME: a file of the container's cgroup
	cat "$CGROUPS/$1/$CGROUP/$2"
}

@test "cgroups: every controller has the container, and only while it is there" {
	start_sleeper
	local pid controller
	pid="$(init_pid "$CT")"
	for controller in "$CGROUPS"/*/; do
		controller="$(basename "$controller")"
		grep -qx "$pid" "$CGROUPS/$controller/$CGROUP/cgroup.procs"
	done
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "cgroups: paths" {
	edit --arg path "/$CGROUP/../$CGROUP/sub" '.linux.cgroupsPath = $path'
	start_sleeper
	[[ $(jq -r .cgroup_paths.pids "$ROOT/$CT/state.json") == "$CGROUPS/pids/$CGROUP/sub" ]]
	run_pyrunc -0 delete -f "$CT"
	[[ ! -d $CGROUPS/pids/$CGROUP/sub ]]
	remove_cgroups
}

@test "cgroups: a path cannot leave the hierarchy" {
	edit --arg path "/../../../../$CGROUP" '.linux.cgroupsPath = $path'
	start_sleeper
	[[ $(jq -r .cgroup_paths.pids "$ROOT/$CT/state.json") == "$CGROUPS/pids/$CGROUP" ]]
}

@test "cgroups: no path is the id, below the runtime's own" {
	edit 'del(.linux.cgroupsPath)'
	local id="$CGROUP"
	sleeper
	run_detached -0 run -d "$id"
	[[ $(jq -r .cgroup_paths.pids "$ROOT/$id/state.json") == "$CGROUPS/pids$(sed -n 's/.*:pids://p' /proc/self/cgroup | sed 's:^/$::')/$id" ]]
	run_pyrunc -0 delete -f "$id"
}

@test "cgroups: pids" {
	limit '{"pids": {"limit": 20}}'
	start_sleeper
	[[ $(file pids pids.max) == 20 ]]
	run_pyrunc exec "$CT" sh -c 'for i in $(seq 30); do sleep 5 & done; wait'
	expect "can't fork"
}

@test "cgroups: pids without limit" {
	limit '{"pids": {"limit": -1}}'
	start_sleeper
	[[ $(file pids pids.max) == max ]]
}

# newer than runc 1.1
@test "cgroups: a pids limit of 0 means 1" {
	limit '{"pids": {"limit": 0}}'
	edit '.process.args = ["sleep", "100"]'
	run_detached -0 run -d "$CT"
	[[ $(file pids pids.max) == 1 ]]
}

@test "cgroups: memory" {
	limit '{"memory": {"limit": 67108864, "reservation": 33554432, "swappiness": 50}}'
	start_sleeper
	[[ $(file memory memory.limit_in_bytes) == 67108864 ]]
	[[ $(file memory memory.soft_limit_in_bytes) == 33554432 ]]
	[[ $(file memory memory.swappiness) == 50 ]]
}

@test "cgroups: memory and swap" {
	[[ -e $CGROUPS/memory/memory.memsw.limit_in_bytes ]] || return 0
	limit '{"memory": {"limit": 67108864, "swap": 134217728}}'
	start_sleeper
	[[ $(file memory memory.memsw.limit_in_bytes) == 134217728 ]]
}

@test "cgroups: disableOOMKiller" {
	limit '{"memory": {"limit": 67108864, "disableOOMKiller": true}}'
	start_sleeper
	file memory memory.oom_control | grep -qx 'oom_kill_disable 1'
}

@test "cgroups: memory is really limited" {
	limit '{"memory": {"limit": 33554432, "swap": 33554432}}'
	[[ -e $CGROUPS/memory/memory.memsw.limit_in_bytes ]] || edit 'del(.linux.resources.memory.swap)'
	script 'head -c 100000000 /dev/zero | tail >/dev/null; echo "status $?"'
	run_pyrunc run "$CT"
	refute 'status 0'
	nothing_left "$CT"
}

@test "cgroups: a memory limit too low to start with says so" {
	limit '{"memory": {"limit": 4096}}'
	run_pyrunc -1 run "$CT"
	refute Traceback
	nothing_left "$CT"
}

@test "cgroups: cpu shares, quota and period" {
	limit '{"cpu": {"shares": 512, "quota": 50000, "period": 200000}}'
	start_sleeper
	[[ $(file cpu cpu.shares) == 512 ]]
	[[ $(file cpu cpu.cfs_quota_us) == 50000 && $(file cpu cpu.cfs_period_us) == 200000 ]]
}

@test "cgroups: cpu shares that the kernel clips are an error" {
	limit '{"cpu": {"shares": 1}}'
	run_pyrunc -1 run "$CT"
	expect 'the minimum allowed cpu-shares is 2'
	limit '{"cpu": {"shares": 500000}}'
	run_pyrunc -1 run "$CT"
	expect 'the maximum allowed cpu-shares is 262144'
	nothing_left "$CT"
}

@test "cgroups: cpuset" {
	limit '{"cpu": {"cpus": "0", "mems": "0"}}'
	start_sleeper
	[[ $(file cpuset cpuset.cpus) == 0 && $(file cpuset cpuset.mems) == 0 ]]
	grep -qx $'Cpus_allowed_list:\t0' "/proc/$(init_pid "$CT")/status"
}

@test "cgroups: cpuset without values is the parent's" {
	start_sleeper
	[[ $(file cpuset cpuset.cpus) == "$(cat "$CGROUPS/cpuset/cpuset.cpus")" ]]
}

@test "cgroups: a cpuset that the machine does not have" {
	limit '{"cpu": {"cpus": "4000"}}'
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "cgroups: cpu idle and burst" {
	limit '{"cpu": {"idle": 1}}'
	start_sleeper
	[[ $(file cpu cpu.idle) == 1 ]]
	run_pyrunc -0 delete -f "$CT"
	limit '{"cpu": {"idle": 0, "quota": 50000, "period": 100000, "burst": 20000}}'
	start_sleeper
	[[ $(file cpu cpu.cfs_burst_us) == 20000 ]]
}

@test "cgroups: block io" {
	local dev
	dev="$(lsblk -dno MAJ:MIN | head -1 | tr -d ' ')"
	limit "{\"blockIO\": {\"throttleReadBpsDevice\": [{\"major\": ${dev%:*}, \"minor\": ${dev#*:}, \"rate\": 1048576}],
		\"throttleWriteIOPSDevice\": [{\"major\": ${dev%:*}, \"minor\": ${dev#*:}, \"rate\": 100}]}}"
	start_sleeper
	[[ $(file blkio blkio.throttle.read_bps_device) == "$dev 1048576" ]]
	[[ $(file blkio blkio.throttle.write_iops_device) == "$dev 100" ]]
}

@test "cgroups: hugepages" {
	local dir size
	dir="$(find "$CGROUPS" -maxdepth 1 -name '*hugetlb*' -type d)"
	[[ -n $dir ]] || return 0
	size="$(find "$dir" -maxdepth 1 -name 'hugetlb.*.limit_in_bytes' ! -name '*rsvd*' | head -1 | sed 's/.*hugetlb\.\(.*\)\.limit.*/\1/')"
	limit "{\"hugepageLimits\": [{\"pageSize\": \"$size\", \"limit\": 2097152}]}"
	start_sleeper
	[[ $(cat "$dir/$CGROUP/hugetlb.$size.limit_in_bytes") == 2097152 ]]
}

@test "cgroups: unified is refused on v1" {
	limit '{"unified": {"memory.min": "131072"}}'
	run_pyrunc -1 run "$CT"
	expect 'invalid configuration'
	nothing_left "$CT"
}

@test "cgroups: limits are there before the prestart hook, and for the exec'd" {
	limit '{"pids": {"limit": 20}}'
	edit --arg text "cat $CGROUPS/pids/$CGROUP/pids.max >$BUNDLE/seen" '.hooks.prestart = [{path: "/bin/sh", args: ["sh", "-c", $text]}]'
	start_sleeper
	[[ $(cat seen) == 20 ]]
	run_pyrunc -0 exec "$CT" cat /sys/fs/cgroup/pids/pids.max
	expect_only 20
}

# newer than runc 1.1
@test "cgroups: one that is not empty is refused, and left alone" {
	local dir="$CGROUPS/devices/$CGROUP"
	mkdir "$dir"
	sleep 100 3>&- &
	echo $! >"$dir/cgroup.procs"
	run_pyrunc -1 run "$CT"
	expect "container's cgroup is not empty: 1 process(es) found"
	[[ $(cat "$dir/cgroup.procs") == "$!" ]]
	[[ ! -e $ROOT/$CT ]]
	kill -KILL $!
	wait $! || true
	find "$CGROUPS" -depth -name "$CGROUP" -type d -exec rmdir {} +
}

@test "cgroups: one that is frozen is refused" {
	mkdir "$CGROUPS/freezer/$CGROUP"
	echo FROZEN >"$CGROUPS/freezer/$CGROUP/freezer.state"
	(sleep 5; echo THAWED >"$CGROUPS/freezer/$CGROUP/freezer.state") 3>&- & # a runtime that joins it would hang
	run_pyrunc -1 run "$CT"
	expect "container's cgroup unexpectedly frozen"
	find "$CGROUPS" -depth -name "$CGROUP" -type d -exec rmdir {} +
}

@test "cgroups: an empty one that exists is used" {
	mkdir "$CGROUPS/pids/$CGROUP"
	start_sleeper
	grep -qx "$(init_pid "$CT")" "$CGROUPS/pids/$CGROUP/cgroup.procs"
}

@test "cgroups: exec after the container has moved its init" {
	edit '(.mounts[] | select(.type == "cgroup") | .options) = ["rw"]'
	script 'mkdir /sys/fs/cgroup/pids/inner; echo 1 >/sys/fs/cgroup/pids/inner/cgroup.procs; echo moved; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q moved "$OUT"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect ":pids:/$CGROUP"
}

# --- cgroup2 alone, as on a machine without v1 ---------------------------------------

# unified COMMAND...: with nothing but the cgroup2 hierarchy at /sys/fs/cgroup.
unified() {
	unshare -m sh -c 'mount -t tmpfs none /mnt && umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' sh "$@"
}

unified_pyrunc() {
	run_command unified "$PYRUNC" --root "$ROOT" "$@"
}

@test "cgroup2: run, and nothing stays" {
	script 'cat /proc/self/cgroup; ls /sys/fs/cgroup'
	unified_pyrunc run "$CT"
	[[ $status -eq 0 ]]
	expect "0::/$CGROUP" cgroup.procs
	nothing_left "$CT"
}

@test "cgroup2: create, start, exec, kill, delete" {
	edit '.linux.namespaces += [{type: "cgroup"}]'
	sleeper
	unified "$PYRUNC" --root "$ROOT" create "$CT" </dev/null >"$OUT" 2>&1 3>&-
	jq -e --arg path "$CGROUPS/$CGROUP" '.cgroup_paths == {"": $path}' "$ROOT/$CT/state.json"
	unified_pyrunc start "$CT"
	[[ $status -eq 0 ]]
	grep -qx "$(jq .init_process_pid "$ROOT/$CT/state.json")" "$CGROUPS/unified/$CGROUP/cgroup.procs"
	unified_pyrunc exec "$CT" cat /proc/self/cgroup
	[[ $status -eq 0 ]]
	expect '0::/'
	refute "$CGROUP"
	unified_pyrunc kill "$CT" KILL
	[[ $status -eq 0 ]]
	wait_for_state "$CT" stopped
	unified_pyrunc delete "$CT"
	[[ $status -eq 0 ]]
	nothing_left "$CT"
}

@test "cgroup2: devices are refused by eBPF" {
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/odd", type: "c", major: 1, minor: 99}]'
	script 'probe open /dev/odd r; probe open /dev/null w'
	unified_pyrunc run "$CT"
	expect_match $'^errno 1 .*\nok '
	edit '.linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 99, access: "r"}]'
	unified_pyrunc run "$CT"
	expect_match $'^errno 6 .*\nok '
}

@test "cgroup2: exec is under the device rules too" {
	probe_in_rootfs
	edit '.linux.devices = [{path: "/dev/odd", type: "c", major: 1, minor: 99}]'
	sleeper
	unified "$PYRUNC" --root "$ROOT" run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	unified_pyrunc exec "$CT" probe open /dev/odd r
	expect 'errno 1 '
	unified_pyrunc delete -f "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "cgroup2: KILL without a pid namespace ends every process" {
	edit '.linux.namespaces |= map(select(.type != "pid"))'
	script 'sleep 1000 & sleep 1000 & sleep 1000'
	unified "$PYRUNC" --root "$ROOT" run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	unified_pyrunc delete -f "$CT"
	[[ $status -eq 0 ]]
	nothing_left "$CT"
}

@test "cgroup2: a unified key with a slash, of a missing file" {
	limit '{"unified": {"a/b": "1"}}'
	unified_pyrunc run "$CT"
	[[ $status -eq 1 ]]
	expect 'must be a file name (no slashes)'
	edit '.linux.resources.unified = {"nosuch.file": "1"}'
	unified_pyrunc run "$CT"
	[[ $status -eq 1 ]]
	expect 'unified resource "nosuch.file" can'"'"'t be set: controller "nosuch" not available'
	edit '.linux.resources.unified = {"cgroup.max.depth": "7"}'
	sleeper
	unified "$PYRUNC" --root "$ROOT" run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	[[ $(file unified cgroup.max.depth) == 7 ]]
	unified_pyrunc delete -f "$CT"
}

# newer than runc 1.1
@test "cgroup2: one that is not empty is refused" {
	mkdir "$CGROUPS/unified/$CGROUP"
	sleep 100 3>&- &
	echo $! >"$CGROUPS/unified/$CGROUP/cgroup.procs"
	unified_pyrunc run "$CT"
	[[ $status -eq 1 ]]
	expect "container's cgroup is not empty: 1 process(es) found"
	kill -KILL $!
	wait $! || true
	rmdir "$CGROUPS/unified/$CGROUP"
}

@test "cgroups: --systemd-cgroup without systemd" {
	[[ ! -d /run/systemd/system ]]
	edit '.linux.cgroupsPath = "system.slice:pyrunc:test"'
	run_pyrunc -1 --systemd-cgroup run "$CT"
	expect 'systemd not running on this host, cannot use systemd cgroups manager'
	nothing_left "$CT"
}
