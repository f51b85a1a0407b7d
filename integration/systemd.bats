#!/usr/bin/env bats
# --systemd-cgroup: what `systemctl show` says of a container's unit is what its cgroup files say; for root and for a user
# with a systemd of his own ($PYRUNC_TEST_USER, default tester).

load helpers

DRIVER=systemd
FLAGS=(--systemd-cgroup)
TESTER="${PYRUNC_TEST_USER:-tester}"
DROPPED_IN=/run/systemd/system/scope.d/pyrunctest.conf

setup() {
	[[ -d /run/systemd/system ]] || skip "systemd does not run here"
	[[ -e $CGROUPS/cgroup.controllers ]] || skip "for cgroup v2"
	setup_bundle
	UNIT="pyrunctest-$CGROUP.scope"
	SLICE=system.slice
	SYSTEMCTL=(systemctl)
	DIR="$CGROUPS$BELOW"
}

teardown() {
	[[ ! -e $DROPPED_IN ]] || {
		rm "$DROPPED_IN"
		systemctl daemon-reload
	}
	[[ -z ${UNIT:-} ]] || teardown_bundle
}

pyrunc() {
	"${AS[@]}" "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" "$@"
}

AS=()

# A loop of the shell would keep an emulated machine busy.
sleeper() {
	edit '.process.args = ["sleep", "1000"]'
}

# as_tester: from here on everything is the user's.
as_tester() {
	local uid
	uid="$(id -u "$TESTER" 2>/dev/null)" || skip "no user $TESTER"
	[[ -S /run/user/$uid/bus ]] || skip "no systemd of the user $TESTER"
	AS=(setpriv --reuid "$uid" --regid "$uid" --init-groups env -u DBUS_SESSION_BUS_ADDRESS
		HOME="$BATS_TEST_TMPDIR" XDG_RUNTIME_DIR="/run/user/$uid")
	SYSTEMCTL=("${AS[@]}" systemctl --user)
	SLICE=user.slice
	DIR="$CGROUPS/user.slice/user-$uid.slice/user@$uid.service/$SLICE/$UNIT"
	rm config.json
	chown -R "$uid:$uid" "$BATS_TEST_TMPDIR"
	"${AS[@]}" "$PYRUNC" spec --rootless
	edit --arg path ":pyrunctest:$CGROUP" '.process.terminal = false | .linux.cgroupsPath = $path'
	chown "$uid:$uid" config.json
}

no_unit_left() { # any name of a slice is a unit
	local states
	states="$("${SYSTEMCTL[@]}" show -P LoadState -P ActiveState "$UNIT" | tr '\n' ' ')"
	[[ $states == "not-found inactive " || ($UNIT == *.slice && $states == "loaded inactive ") ]] || {
		"${SYSTEMCTL[@]}" status "$UNIT"
		"${SYSTEMCTL[@]}" stop "$UNIT"
		"${SYSTEMCTL[@]}" reset-failed "$UNIT"
		return 1
	}
}

shows() { # shows PROPERTY VALUE [PROPERTY VALUE...]
	while [[ $# -gt 0 ]]; do
		same "$1" "$2" "$("${SYSTEMCTL[@]}" show -P "$1" "$UNIT")"
		shift 2
	done
}

holds() { # holds FILE VALUE [FILE VALUE...]
	while [[ $# -gt 0 ]]; do
		same "$1" "$2" "$(cat "$DIR/$1")"
		shift 2
	done
}

block_device() { # the number of a disk
	local file
	for file in /sys/block/{vd,sd,nvme}*/dev; do
		[[ ! -e $file ]] || {
			cat "$file"
			return
		}
	done
	return 1
}

same() { # same WHAT EXPECTED GOT
	[[ $2 == "$3" ]] || {
		printf '%s: expected %s, got %s\n' "$1" "$2" "$3"
		return 1
	}
}

@test "systemd: the life of a container" {
	start_sleeper
	shows Description "libcontainer container $CGROUP" Slice system.slice Delegate yes DefaultDependencies no \
		MemoryAccounting yes IOAccounting yes TasksAccounting yes ControlGroup "/system.slice/$UNIT" ActiveState active
	grep -qx "$(init_pid "$CT")" "$DIR/cgroup.procs"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_pyrunc -0 pause "$CT"
	expect_state "$CT" paused
	holds cgroup.freeze 1
	run_pyrunc -0 resume "$CT"
	holds cgroup.freeze 0
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: run, and nothing is left" {
	script 'exit 7'
	run_pyrunc -7 run "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: limits are properties and files" {
	limit '{"memory": {"limit": 33554432, "reservation": 16777216, "swap": 67108864}, "pids": {"limit": 20},
		"cpu": {"shares": 512, "quota": 5001, "period": 50000, "cpus": "0", "mems": "0"}, "blockIO": {"weight": 500}}'
	start_sleeper
	shows MemoryMax 33554432 MemoryLow 16777216 MemorySwapMax 33554432 TasksMax 20 CPUWeight 59 CPUQuotaPeriodUSec 50ms \
		CPUQuotaPerSecUSec 110ms AllowedCPUs 0 AllowedMemoryNodes 0 IOWeight 4950
	holds memory.max 33554432 memory.low 16777216 memory.swap.max 33554432 pids.max 20 cpu.weight 59 cpu.max "5500 50000" \
		cpuset.cpus 0 cpuset.mems 0
	[[ ! -e $DIR/io.weight ]] || holds io.weight "default 4950"
}

@test "systemd: no swap, no limits, one task" {
	limit '{"memory": {"limit": 33554432, "swap": 33554432}, "pids": {"limit": -1}, "cpu": {"quota": -1}}'
	start_sleeper
	shows MemorySwapMax 0 TasksMax infinity CPUQuotaPerSecUSec infinity
	holds memory.swap.max 0 pids.max max cpu.max "max 100000"
}

@test "systemd: limits of block devices" {
	local device
	device="$(block_device)" || skip "no block device"
	edit --arg d "$device" '($d | split(":") | {major: (.[0] | tonumber), minor: (.[1] | tonumber)}) as $device
		| .linux.resources.blockIO = {
			throttleReadBpsDevice: [$device + {rate: 1048576}], throttleWriteBpsDevice: [$device + {rate: 2097152}],
			throttleReadIOPSDevice: [$device + {rate: 100}], throttleWriteIOPSDevice: [$device + {rate: 200}]}'
	start_sleeper
	shows IOReadBandwidthMax "/dev/block/$device 1048576" IOWriteBandwidthMax "/dev/block/$device 2097152" \
		IOReadIOPSMax "/dev/block/$device 100" IOWriteIOPSMax "/dev/block/$device 200"
	holds io.max "$device rbps=1048576 wbps=2097152 riops=100 wiops=200"
}

@test "systemd: weights of block devices" {
	local device
	device="$(block_device)" || skip "no block device"
	[[ ! -e /sys/fs/cgroup/system.slice/io.bfq.weight ]] || skip "BFQ's weights are not systemd's"
	echo "$device enable=1" >"$CGROUPS/io.cost.qos" || skip "no io.cost, whose io.weight is"
	limit "{\"blockIO\": {\"weight\": 100, \"weightDevice\": [{\"major\": ${device%:*}, \"minor\": ${device#*:}, \"weight\": 1000}]}}"
	sleeper
	run_detached run -d "$CT"
	echo "$device enable=0" >"$CGROUPS/io.cost.qos"
	[[ $status -eq 0 ]]
	shows IOWeight 910 IODeviceWeight "/dev/block/$device 10000"
	holds io.weight $'default 910\n'"$device 10000"
}

@test "systemd: unified" {
	limit '{"unified": {"memory.min": "4096", "memory.low": "8192", "memory.high": "30M", "memory.max": "33554432",
		"memory.swap.max": "max", "pids.max": "33", "cpu.max": "20000 100000", "cpu.weight": "77", "cpuset.cpus": "0",
		"cpuset.mems": "0", "memory.oom.group": "1"}}'
	start_sleeper
	shows MemoryMin 4096 MemoryLow 8192 MemoryHigh 31457280 MemoryMax 33554432 MemorySwapMax infinity TasksMax 33 \
		CPUQuotaPerSecUSec 200ms CPUWeight 77 AllowedCPUs 0 AllowedMemoryNodes 0 OOMPolicy kill
	holds memory.min 4096 memory.low 8192 memory.high 31457280 memory.max 33554432 memory.swap.max max pids.max 33 \
		cpu.max "20000 100000" cpu.weight 77 cpuset.cpus 0 cpuset.mems 0 memory.oom.group 1
}

@test "systemd: unified that is wrong" {
	limit '{"unified": {"max": "1"}}'
	run_pyrunc -1 run "$CT"
	expect 'unified resource "max" must be in the form CONTROLLER.PARAMETER'
	limit '{"unified": null}'
	limit '{"unified": {"cpu.max": "1 2 3"}}'
	run_pyrunc -1 run "$CT"
	expect 'unified resource "cpu.max" value invalid: "1 2 3"'
	nothing_left "$CT"
}

@test "systemd: an idle container" {
	limit '{"cpu": {"idle": 1}}'
	start_sleeper
	shows CPUWeight idle
	holds cpu.idle 1
	run_pyrunc -0 update --cpu-idle 0 --cpu-share 1024 "$CT"
	shows CPUWeight 100
	holds cpu.idle 0 cpu.weight 100
}

@test "systemd: update" {
	limit '{"memory": {"limit": 33554432}, "pids": {"limit": 20}, "cpu": {"quota": 50000, "period": 100000}}'
	start_sleeper
	run_pyrunc -0 update --memory 67108864 --pids-limit 30 --cpu-quota 5001 --cpu-period 50000 --cpu-share 512 \
		--cpuset-cpus 0 "$CT"
	shows MemoryMax 67108864 TasksMax 30 CPUQuotaPerSecUSec 110ms CPUQuotaPeriodUSec 50ms CPUWeight 59 AllowedCPUs 0
	holds memory.max 67108864 pids.max 30 cpu.max "5500 50000" cpu.weight 59 cpuset.cpus 0
	run_pyrunc -0 update --memory -1 --pids-limit -1 --cpu-quota -1 "$CT"
	shows MemoryMax infinity TasksMax infinity CPUQuotaPerSecUSec infinity
	holds memory.max max pids.max max cpu.max "max 50000"
}

@test "systemd: update by unified" {
	limit '{"pids": {"limit": 20}, "cpu": {"quota": 500000, "period": 1000000}}'
	start_sleeper
	echo '{"unified": {"cpu.max": "max 100000", "cpu.weight": "16", "pids.max": "10", "cpuset.cpus": "0", "memory.high": "29999104"}}' >unified.json
	run_pyrunc -0 update --resources unified.json "$CT"
	shows CPUQuotaPerSecUSec infinity CPUWeight 16 TasksMax 10 AllowedCPUs 0 MemoryHigh 29999104
	holds cpu.max "max 100000" cpu.weight 16 pids.max 10 cpuset.cpus 0 memory.high 29999104
}

@test "systemd: idle and a weight exclude each other" {
	start_sleeper
	run_pyrunc -0 update --cpu-share 200 --cpu-idle 1 "$CT"
	expect "unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight"
	holds cpu.idle 1
	shows CPUWeight idle
	run_pyrunc -0 update --cpu-share 200 "$CT"
	holds cpu.idle 0 cpu.weight 29
	shows CPUWeight 29
	echo '{"unified": {"cpu.idle": "1", "cpu.weight": "8"}}' >unified.json
	run_pyrunc -0 update --resources unified.json "$CT"
	expect "unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight"
	holds cpu.idle 1
	echo '{"unified": {"cpu.weight": "8"}}' >unified.json
	run_pyrunc -0 update --resources unified.json "$CT"
	holds cpu.idle 0 cpu.weight 8
	shows CPUWeight 8
}

@test "systemd: update of a paused container" {
	start_sleeper
	run_pyrunc -0 pause "$CT"
	run_pyrunc -0 update --memory 33554432 "$CT"
	shows MemoryMax 33554432
	holds memory.max 33554432 cgroup.freeze 1
	expect_state "$CT" paused
	run_pyrunc -0 resume "$CT"
}

@test "systemd: a limit below what is used is refused before systemd knows it" {
	start_sleeper
	echo '{"memory": {"limit": 4096, "checkBeforeUpdate": true}}' >low.json
	run_pyrunc -1 update --resources low.json "$CT"
	expect "rejecting memory limit 4096 <= usage"
	shows MemoryMax infinity
	expect_state "$CT" running
}

@test "systemd: what was limited stays so over daemon-reload" {
	limit '{"memory": {"limit": 33554432}, "cpu": {"quota": 50000}, "devices": [{"allow": false, "access": "rwm"}],
		"blockIO": {"weight": 500}}'
	start_sleeper
	systemctl daemon-reload
	shows MemoryMax 33554432 NeedDaemonReload no
	holds memory.max 33554432 cpu.max "50000 100000"
	run_pyrunc -0 exec "$CT" sh -c 'echo x >/dev/null && head -c 1 /dev/urandom >/dev/full || echo full'
	expect full
}

@test "systemd: terminals over daemon-reload, and of a unit that waits for one" {
	start_sleeper
	local in_terminal=(python3 "$LIB/interminal.py" 24 80 "$PYRUNC" --root "$ROOT" exec -t "$CT" sh -c 'echo x >/proc/self/fd/1 && echo 123')
	run_command -0 "${in_terminal[@]}"
	expect 123
	systemctl daemon-reload
	run_command -0 "${in_terminal[@]}"
	expect 123
	run_pyrunc -0 delete -f "$CT"
	mkdir -p "$(dirname "$DROPPED_IN")"
	printf '[Scope]\nTimeoutStopSec=77\n' >"$DROPPED_IN"
	start_sleeper
	printf '[Scope]\nTimeoutStopSec=78\n' >"$DROPPED_IN"
	sleep 1.1
	touch "$DROPPED_IN"
	systemctl show -P NeedDaemonReload "$UNIT" >"$OUT.need"
	run_pyrunc -0 update --pids-limit 20 "$CT"
	run_command "${in_terminal[@]}"
	rm "$DROPPED_IN"
	systemctl daemon-reload
	expect 123
	[[ $(cat "$OUT.need") == yes ]]
}

@test "systemd: device rules" {
	edit '.linux.resources.devices = [{"allow": false, "access": "rwm"},
		{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"}, {"allow": true, "type": "b", "major": 7, "access": "rw"}]
		| .linux.devices = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11},
			{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]'
	start_sleeper
	shows DevicePolicy strict
	run_command -0 systemctl show -P DeviceAllow "$UNIT"
	expect "/dev/char/10:229 r" "block-7 rw" "/dev/char/1:3 rwm" "char-136 rwm" "char-* m"
	run_pyrunc -0 exec "$CT" sh -c ': </dev/fuse && echo may read; (: >>/dev/fuse) 2>/dev/null || echo may not write
		(: >>/dev/kmsg) 2>/dev/null || echo may not write'
	expect_only $'may read\nmay not write\nmay not write'
}

@test "systemd: every device" {
	edit '.linux.resources.devices = [{"allow": true, "access": "rwm"}]'
	start_sleeper
	shows DevicePolicy auto DeviceAllow ""
}

@test "systemd: slices" {
	edit --arg path "pyrunctest-a.slice:pyrunctest:$CGROUP" '.linux.cgroupsPath = $path'
	start_sleeper
	shows Slice pyrunctest-a.slice ControlGroup "/pyrunctest.slice/pyrunctest-a.slice/$UNIT"
	run_pyrunc -0 delete -f "$CT"
	edit --arg path "-.slice:pyrunctest:$CGROUP" '.linux.cgroupsPath = $path'
	start_sleeper
	shows Slice -.slice ControlGroup "/$UNIT"
	run_pyrunc -0 delete -f "$CT"
	systemctl stop pyrunctest.slice
}

@test "systemd: the default place" {
	edit 'del(.linux.cgroupsPath)'
	start_sleeper
	UNIT="runc-$CT.scope"
	shows Slice system.slice ControlGroup "/system.slice/runc-$CT.scope" Description "libcontainer container $CT"
	run_pyrunc -0 delete -f "$CT"
}

@test "systemd: a container that is a slice" {
	UNIT="pyrunctest-$BATS_TEST_NUMBER.slice"
	DIR="$CGROUPS/pyrunctest.slice/$UNIT"
	edit --arg path "pyrunctest.slice::$UNIT" '.linux.cgroupsPath = $path'
	limit '{"pids": {"limit": 11}}'
	start_sleeper
	shows ActiveState active TasksMax 11 Wants pyrunctest.slice
	holds pids.max 11
	grep -qx "$(init_pid "$CT")" "$DIR/cgroup.procs"
	run_pyrunc -0 exec "$CT" true
	run_pyrunc -0 delete -f "$CT"
	systemctl stop pyrunctest.slice
}

@test "systemd: paths of another form" {
	local path
	for path in /a/b a:b a:b:c:d; do
		edit --arg path "$path" '.linux.cgroupsPath = $path'
		run_pyrunc -1 create "$CT"
		expect "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"$path\" instead"
	done
	for path in a a--b.slice -a.slice .slice; do
		edit --arg path "$path:x:y" '.linux.cgroupsPath = $path'
		run_pyrunc -1 create "$CT"
		expect "invalid slice name: $path"
	done
}

@test "systemd: annotations" {
	edit '.annotations = {"org.systemd.property.TimeoutStopSec": "uint64 7", "org.systemd.property.Before": "[\"a.service\"]",
		"org.systemd.property.CollectMode": "\u0027inactive-or-failed\u0027"}'
	start_sleeper
	shows TimeoutStopUSec 7s Before a.service CollectMode inactive-or-failed
	run_pyrunc -0 delete -f "$CT"
	edit '.annotations = {"org.systemd.property.No": "1"}'
	run_pyrunc -1 create "$CT"
	expect "annotation org.systemd.property.No name incorrect: too short"
	edit '.annotations = {"org.systemd.property.TimeoutStopSec": "\u0027x\u0027"}'
	run_pyrunc -1 create "$CT"
	expect "annotation org.systemd.property.TimeoutStopSec='x' value parse error: not a number"
	edit '.annotations = {"org.systemd.property.NoSuchProperty": "1"}'
	run_pyrunc -1 create "$CT"
	expect "unable to start unit \"$UNIT\": " NoSuchProperty
	nothing_left "$CT"
}

@test "systemd: a container that fails leaves no unit" {
	edit '.process.args = ["/no/such/program"]'
	run_pyrunc -1 create "$CT"
	nothing_left "$CT"
	no_unit_left
	limit '{"cpu": {"cpus": "8000"}}'
	run_pyrunc -1 create "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: a unit that an earlier container left failed" {
	systemd-run --quiet --scope --unit="$UNIT" -p RuntimeMaxSec=1 sleep 100 || true
	wait_for systemctl is-failed "$UNIT"
	start_sleeper
	shows ActiveState active
}

@test "systemd: somebody else's unit is not touched" {
	systemd-run --quiet --scope --unit="$UNIT" sleep 100 >/dev/null 2>&1 3>&- &
	wait_for systemctl is-active "$UNIT"
	run_pyrunc -1 create "$CT"
	expect "container's cgroup is not empty: 1 process(es) found"
	shows ActiveState active
	systemctl stop "$UNIT"
}

@test "systemd: a unit that failed goes with its container" {
	edit '.annotations = {"org.systemd.property.TimeoutStopSec": "uint64 1"}'
	start_sleeper # pid 1 of a pid namespace does not hear SIGTERM
	systemctl stop "$UNIT"
	shows ActiveState failed Result timeout
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	no_unit_left
}

@test "systemd: a process over its memory is killed" {
	limit '{"memory": {"limit": 20971520, "swap": 20971520}}'
	script 'x=$(tr "\0" x </dev/zero | head -c 60000000); echo survived'
	run_pyrunc run "$CT"
	[[ $status -ne 0 ]]
	refute survived
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: exec in a cgroup below" {
	edit '.linux.namespaces |= map(select(.type != "cgroup"))'
	start_sleeper
	mkdir "$DIR/sub"
	run_pyrunc -0 exec --cgroup sub "$CT" cat /proc/self/cgroup
	expect_only "0::/system.slice/$UNIT/sub"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only "0::/system.slice/$UNIT"
	run_pyrunc -0 delete -f "$CT"
}

@test "systemd: a container may make cgroups in what is delegated to it" {
	edit '.linux.namespaces |= (map(select(.type != "cgroup" and .type != "user")) + [{"type": "cgroup"}, {"type": "user"}])
		| .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings
		| .mounts |= map(select(.destination != "/sys/fs/cgroup"))'
	add_mount /sys/fs/cgroup cgroup cgroup nosuid noexec nodev
	sleeper
	run_detached -0 run -d "$CT"
	same owner 100000 "$(stat -c %u "$DIR")"
	same procs 100000 "$(stat -c %u "$DIR/cgroup.procs")"
	same limit 0 "$(stat -c %u "$DIR/memory.max")"
	run_pyrunc -0 exec "$CT" sh -ec 'mkdir /sys/fs/cgroup/below; echo $$ >/sys/fs/cgroup/below/cgroup.procs; cat /proc/self/cgroup'
	expect_only 0::/below
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
}

@test "systemd: nothing is delegated where the container could not use it" {
	edit '.linux.namespaces += [{"type": "user"}]
		| .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings'
	start_sleeper # with a cgroup namespace, but what is mounted is read-only
	same owner 0 "$(stat -c %u "$DIR")"
	run_pyrunc -0 delete -f "$CT"
	edit '.linux.namespaces |= map(select(.type != "cgroup"))
		| .mounts |= map(if .type == "cgroup" then .options -= ["ro"] else . end)'
	start_sleeper
	same owner 0 "$(stat -c %u "$DIR")"
}

@test "systemd: runc and pyrunc operate each other's containers" {
	command -v runc >/dev/null || skip "no runc"
	start_sleeper
	run_command -0 runc --root "$ROOT" --systemd-cgroup exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_command -0 runc --root "$ROOT" --systemd-cgroup update --memory 33554432 "$CT"
	shows MemoryMax 33554432
	run_command -0 runc --root "$ROOT" --systemd-cgroup delete --force "$CT"
	nothing_left "$CT"
	no_unit_left
	runc --root "$ROOT" --systemd-cgroup run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_pyrunc -0 update --pids-limit 33 "$CT"
	shows TasksMax 33
	holds pids.max 33
	run_pyrunc -0 delete --force "$CT"
}

@test "systemd: many at a time" {
	local i pids=()
	sleeper
	for i in 1 2 3 4 5 6 7 8; do
		edit --arg path "system.slice:pyrunctest:$CGROUP-$i" '.linux.cgroupsPath = $path'
		cp -r . "../bundle$i"
		{ pyrunc run -d --bundle "../bundle$i" "$CT-$i" && pyrunc exec "$CT-$i" true && pyrunc delete -f "$CT-$i"; } \
			</dev/null >"$OUT-$i" 2>&1 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || { cat "$OUT"-*; return 1; }
	done
	[[ -z $(systemctl list-units --all --plain --no-legend "pyrunctest-$CGROUP-*") ]]
}

# --- checkpoint and restore ---

# counting: a running container that writes 1, 2, 3, ... to /count; its stdio is the null device.
counting() {
	require_criu
	writable
	# shellcheck disable=SC2016
	script 'i=0; while :; do i=$((i + 1)); echo $i >>/count; sleep 0.2; done'
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1 3>&-
	counts
}

counts() { # it goes on, and has missed and repeated nothing
	wait_for more_than "$(cat rootfs/count 2>/dev/null | wc -l)"
	local numbers
	numbers="$(cat rootfs/count)"
	same numbers "$(seq "$(wc -l <<<"$numbers")")" "$numbers"
}

more_than() {
	[[ $(wc -l <rootfs/count) -gt $1 ]]
}

dumped() { # dumped [CHECKPOINT-ARGS]
	run_pyrunc -0 checkpoint --image-path "$BATS_TEST_TMPDIR/images" "$@" "$CT"
	nothing_left "$CT"
	no_unit_left
}

restored() { # restored [RESTORE-ARGS]
	pyrunc restore -d --image-path "$BATS_TEST_TMPDIR/images" "$@" "$CT" </dev/null >/dev/null 2>"$OUT" 3>&- || {
		cat "$OUT"
		return 1
	}
}

@test "systemd: a restored container is in its scope, with its limits and device rules" {
	limit '{"memory": {"limit": 67108864}, "pids": {"limit": 20}, "cpu": {"quota": 50000, "period": 100000, "cpus": "0"}}'
	counting
	dumped
	restored
	counts
	shows ControlGroup "/system.slice/$UNIT" Description "libcontainer container $CGROUP" ActiveState active Delegate yes \
		MemoryMax 67108864 TasksMax 20 CPUQuotaPerSecUSec 500ms AllowedCPUs 0 DevicePolicy strict
	holds memory.max 67108864 pids.max 20 cpu.max "50000 100000" cpuset.cpus 0
	systemctl daemon-reload
	holds memory.max 67108864 pids.max 20 cpu.max "50000 100000" cpuset.cpus 0
	# all of it is in the scope, and nothing else: CRIU was there for a while; paused, or its sleep would be another each time
	run_pyrunc -0 pause "$CT"
	same processes "$(pyrunc ps -f json "$CT" | jq -r 'sort | .[]')" "$(sort -n "$DIR/cgroup.procs")"
	grep -qx "$(init_pid "$CT")" "$DIR/cgroup.procs"
	# shellcheck disable=SC2046  # names of files
	! grep -l criu $(sed 's|.*|/proc/&/comm|' "$DIR/cgroup.procs") || return 1
	run_pyrunc -0 resume "$CT"
	run_pyrunc exec --cap CAP_MKNOD "$CT" sh -c 'mknod /tmp/disk b 7 0 && head -c 1 /tmp/disk'
	expect "Operation not permitted"
	run_pyrunc -0 exec "$CT" sh -c 'cat /proc/self/cgroup; echo x >/dev/null; head -c 2 /dev/zero | wc -c'
	expect_only $'0::/\n2'
	run_pyrunc -0 update --pids-limit 30 "$CT"
	shows TasksMax 30
	run_pyrunc -0 pause "$CT"
	holds cgroup.freeze 1
	run_pyrunc -0 resume "$CT"
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: restored again and again, and left running" {
	counting
	for _ in 1 2 3; do
		run_pyrunc -0 checkpoint --leave-running --image-path "$BATS_TEST_TMPDIR/images" "$CT"
		shows ActiveState active
		counts
		rm -r "$BATS_TEST_TMPDIR/images"
		dumped
		restored
		counts
		rm -r "$BATS_TEST_TMPDIR/images"
	done
}

@test "systemd: images know no driver" {
	counting
	dumped
	edit --arg path "/$CGROUP" '.linux.cgroupsPath = $path | .linux.resources.pids.limit = 17'
	"$PYRUNC" --root "$ROOT" restore -d --image-path "$BATS_TEST_TMPDIR/images" "$CT" </dev/null >/dev/null 2>"$OUT" 3>&-
	counts
	same limit 17 "$(cat "$CGROUPS/$CGROUP/pids.max")"
	no_unit_left
	rm -r "$BATS_TEST_TMPDIR/images"
	"$PYRUNC" --root "$ROOT" checkpoint --image-path "$BATS_TEST_TMPDIR/images" "$CT"
	edit --arg path "pyrunctest-b.slice:pyrunctest:$CGROUP" '.linux.cgroupsPath = $path'
	restored
	counts
	shows ControlGroup "/pyrunctest.slice/pyrunctest-b.slice/$UNIT" TasksMax 17
	run_pyrunc -0 delete -f "$CT"
	systemctl stop pyrunctest.slice
}

@test "systemd: a restore that fails leaves no unit" {
	counting
	dumped
	rm "$BATS_TEST_TMPDIR/images"/pages-*.img
	! restored || return 1
	grep -q "criu failed: type RESTORE" "$OUT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: a restored container with a user namespace may make cgroups below its own" {
	edit '.linux.namespaces |= (map(select(.type != "cgroup" and .type != "user")) + [{"type": "cgroup"}, {"type": "user"}])
		| .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings
		| .mounts |= map(select(.destination != "/sys/fs/cgroup"))'
	add_mount /sys/fs/cgroup cgroup cgroup nosuid noexec nodev
	chown -R 100000:100000 rootfs
	counting
	dumped
	restored
	counts
	same owner 100000 "$(stat -c %u "$DIR")"
	run_pyrunc -0 exec "$CT" sh -ec 'mkdir /sys/fs/cgroup/below; echo $$ >/sys/fs/cgroup/below/cgroup.procs; cat /proc/self/cgroup'
	expect_only 0::/below
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd: podman checkpoints and restores, in the scope of its own" {
	require_criu
	command -v podman >/dev/null || skip "no podman"
	mkdir "$BATS_TEST_TMPDIR/podman"
	local podman=(podman --root "$BATS_TEST_TMPDIR/podman/graph" --runroot "$BATS_TEST_TMPDIR/podman/run"
		--tmpdir "$BATS_TEST_TMPDIR/podman/tmp" --storage-driver vfs --cgroup-manager systemd --events-backend file --runtime "$PYRUNC")
	tar -C rootfs -c . | "${podman[@]}" import - localhost/box >/dev/null
	# shellcheck disable=SC2016
	"${podman[@]}" run -d --name "$CT" --network none --memory 64m --pids-limit 30 localhost/box \
		sh -c 'i=0; while :; do i=$((i + 1)); echo $i >>/count; sleep 0.2; done' >"$OUT" 3>&-
	UNIT="libpod-$(cat "$OUT").scope"
	for _ in 1 2; do
		shows ActiveState active Slice machine.slice MemoryMax 67108864
		run_command -0 "${podman[@]}" container checkpoint "$CT"
		no_unit_left
		run_command -0 "${podman[@]}" container restore "$CT"
		shows ActiveState active Slice machine.slice MemoryMax 67108864 TasksMax 30
		DIR="$CGROUPS$("${SYSTEMCTL[@]}" show -P ControlGroup "$UNIT")"
		grep -qx "$("${podman[@]}" inspect -f '{{.State.Pid}}' "$CT")" "$DIR"/{,container/}cgroup.procs
		wait_for "${podman[@]}" exec "$CT" sh -ec 'was=$(wc -l </count); sleep 1; [ $(wc -l </count) -gt $was ]'
		run_command -0 "${podman[@]}" exec "$CT" cat /count
		same numbers "$(seq "$(wc -l <<<"$output")")" "$output"
	done
	run_command -0 "${podman[@]}" rm -f -t 0 "$CT"
	no_unit_left
	umount -R "$BATS_TEST_TMPDIR/podman/graph" 2>/dev/null || true
}

# --- a user's own systemd ---

@test "systemd, rootless: the life of a container" {
	as_tester
	limit '{"memory": {"limit": 33554432}, "pids": {"limit": 20}, "cpu": {"shares": 512, "quota": 5001, "period": 50000, "cpus": "0"}}'
	start_sleeper
	shows Slice user.slice ActiveState active Delegate yes MemoryMax 33554432 TasksMax 20 CPUQuotaPerSecUSec 110ms \
		CPUQuotaPeriodUSec 50ms CPUWeight 59 AllowedCPUs 0
	holds memory.max 33554432 pids.max 20 cpu.max "5500 50000" cpu.weight 59 cpuset.cpus 0
	grep -qx "$(init_pid "$CT")" "$DIR/cgroup.procs"
	jq -e '.rootless and .config.cgroups.Rootless' "$ROOT/$CT/state.json"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_pyrunc -0 update --memory 67108864 "$CT"
	shows MemoryMax 67108864
	holds memory.max 67108864
	run_pyrunc -0 pause "$CT"
	expect_state "$CT" paused
	run_pyrunc -0 resume "$CT"
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd, rootless: who may not move a process asks systemd to" {
	as_tester
	start_sleeper
	pyrunc exec "$CT" sleep 30 </dev/null >"$OUT" 2>&1 3>&- &
	two() {
		[[ $(grep -c . "$DIR/cgroup.procs") -eq 2 ]]
	}
	wait_for two
	run_pyrunc -0 delete -f "$CT"
}

@test "systemd, rootless: root of a user namespace has its user's systemd" {
	as_tester
	"${AS[@]}" unshare --user --map-root-user sleep 300 >/dev/null 2>&1 3>&- &
	local namespace=$!
	wait_for grep -qx sleep "/proc/$namespace/comm"
	AS+=(nsenter --target="$namespace" --user --preserve-credentials)
	edit '.linux.namespaces |= map(select(.type != "user")) | del(.linux.uidMappings, .linux.gidMappings)'
	limit '{"memory": {"limit": 33554432}, "pids": {"limit": 20}}'
	start_sleeper
	jq -e '.config | (.rootless_euid | not) and .rootless_cgroups and .cgroups.Rootless' "$ROOT/$CT/state.json"
	jq -e '.rootless | not' "$ROOT/$CT/state.json"
	shows Slice user.slice MemoryMax 33554432 TasksMax 20
	holds memory.max 33554432 pids.max 20
	grep -qx "$(init_pid "$CT")" "$DIR/cgroup.procs"
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect_only 0::/
	run_pyrunc -0 update --memory 67108864 "$CT"
	shows MemoryMax 67108864
	run_pyrunc -0 pause "$CT"
	expect_state "$CT" paused
	run_pyrunc -0 delete -f "$CT"
	nothing_left "$CT"
	no_unit_left
}

@test "systemd, rootless: the flag says whose systemd" {
	run_pyrunc -1 --rootless=true create "$CT"
	expect "unable to connect to the user's systemd"
	as_tester
	run_pyrunc -1 --rootless=false create "$CT" # the system's, which gives a user nothing
	expect "unable to start unit \"$UNIT\": "
	nothing_left "$CT"
}

@test "systemd, rootless: no bus" {
	as_tester
	AS+=(DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere XDG_RUNTIME_DIR=/nowhere)
	run_pyrunc -1 create "$CT"
	expect "unable to connect to the user's systemd: connect unix:path=/nowhere: no such file or directory"
	AS=()
}
