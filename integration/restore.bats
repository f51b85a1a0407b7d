#!/usr/bin/env bats
# restore: what a checkpoint holds goes on, in a container of the bundle; every flag; nothing stays after a failure.

load helpers

setup() {
	require_criu
	setup_bundle
	writable
	IMAGES="$BATS_TEST_TMPDIR/images"
	NETNS="bats-$$-$BATS_TEST_NUMBER"
}

teardown() {
	[[ -z ${NETNS:-} || ! -e /run/netns/$NETNS ]] || ip netns del "$NETNS"
	teardown_bundle
}

# counter: writes 1, 2, 3, ... to /count, one in a tenth of a second.
counter() {
	# shellcheck disable=SC2016
	script 'i=0; while :; do i=$((i + 1)); echo $i >>/count; sleep 0.1; done'
}

ready() { # what runs has counted, or says so
	[[ -s rootfs/count || -e rootfs/tmp/ready ]]
}

# dumped [CHECKPOINT-ARGS]: the images of $CT, which is gone.
dumped() {
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for ready
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$@" "$CT"
	nothing_left "$CT"
}

restored() { # restored [RESTORE-ARGS]: detached; its descriptors are the null device as those of dumped() were
	status=0
	output="$(pyrunc restore -d --image-path "$IMAGES" "$@" "$CT" </dev/null 2>&1 >/dev/null)" || status=$?
	printf 'restore: status %d, output: %s\n' "$status" "$output"
	[[ $status -eq 0 ]]
}

# refused [RESTORE-ARGS]: it fails, and nothing is left of it.
refused() {
	! restored "$@" || return 1
	[[ ! -e $ROOT/$CT ]]
	no_cgroup_left
	! grep -F "$BATS_TEST_TMPDIR" /proc/self/mountinfo
	[[ -z $(pgrep -f "$BATS_TEST_TMPDIR/bundle" || true) ]]
}

counts() { # it goes on counting, and has missed and repeated nothing
	local before
	before=$(wc -l <rootfs/count)
	wait_for counted_more "$before"
	seq "$(wc -l <rootfs/count)" | head -n "$((before + 1))" | cmp - <(head -n "$((before + 1))" rootfs/count)
}

counted_more() {
	[[ $(wc -l <rootfs/count) -gt $1 ]]
}

inside() { # inside COMMAND...: its output
	run_pyrunc -0 exec "$CT" "$@"
}

@test "restore: a counter goes on where it was" {
	counter
	dumped
	restored
	expect_state "$CT" running
	counts
	[[ $(jq -r .config.namespaces[].type "$ROOT/$CT/state.json") == *NEWTIME* ]]
	inside readlink /proc/self/ns/time
	[[ $output == "$(readlink "/proc/$(init_pid "$CT")/ns/time")" ]]
	run_pyrunc -0 delete -f "$CT"
}

@test "restore: again and again, from what was restored" {
	counter
	dumped
	for _ in 1 2 3; do
		restored
		counts
		rm -r "$IMAGES"
		run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
		nothing_left "$CT"
	done
}

@test "restore: the foreground has the process's input, output and status" {
	script 'echo before; read line; echo "after: $line"; exit 7'
	mkfifo in
	pyrunc run "$CT" <in >out1 2>&1 3>&- &
	exec 7>in
	wait_for grep -q before out1
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	exec 7>&-
	wait
	typed() {
		echo typed | pyrunc restore --image-path "$IMAGES" "$CT"
	}
	run_command -7 typed
	expect_only "after: typed"
	nothing_left "$CT"
}

@test "restore: output that goes to a file goes on in another" {
	# shellcheck disable=SC2016
	script 'i=0; while :; do i=$((i + 1)); echo "line $i"; sleep 0.1; done'
	pyrunc run -d "$CT" </dev/null >first 2>&1
	wait_for grep -q 'line 3' first
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	pyrunc restore -d --image-path "$IMAGES" "$CT" </dev/null >second 2>&1
	wait_for grep -q 'line' second
	run_pyrunc -0 delete -f "$CT"
	[[ $(grep -o '[0-9]*' second | head -n 1) -eq $(($(tail -n 1 first | grep -o '[0-9]*') + 1)) ]]
}

@test "restore: the terminal's master goes to the console socket" {
	edit '.process.terminal = true'
	script '(while :; do echo tick; sleep 0.2; done) & read line; echo "got: $line"; tty; wait'
	python3 "$LIB/recvtty.py" "$BUNDLE/tty.sock" "$BUNDLE/tty" 3>&- &
	wait_for test -S tty.sock
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait_for grep -q tick tty.out
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	rm -f tty.sock
	python3 "$LIB/recvtty.py" "$BUNDLE/tty.sock" "$BUNDLE/tty2" $'typed\n' 3>&- &
	wait_for test -S tty.sock
	restored --console-socket "$BUNDLE/tty.sock"
	wait_for grep -q 'got: typed' tty2.out
	wait_for grep -q '/dev/pts/0' tty2.out
	[[ $(cat tty2.fds) == 1 ]]
	run_pyrunc -0 delete -f "$CT"
}

@test "restore: the foreground takes the terminal" {
	edit '.process.terminal = true'
	# shellcheck disable=SC2016
	script 'i=0; left=5; while [ $left -gt 0 ]; do i=$((i + 1)); echo "tick $i"; sleep 0.1; [ ! -e /end ] || left=$((left - 1)); done; stty size; exit 3'
	python3 "$LIB/recvtty.py" "$BUNDLE/tty.sock" "$BUNDLE/tty" 3>&- &
	wait_for test -S tty.sock
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait_for grep -q 'tick 3' tty.out
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	touch rootfs/end # five ticks from now
	status=0
	output="$(python3 "$LIB/interminal.py" 33 77 "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" restore --image-path "$IMAGES" "$CT" </dev/null 2>&1 3>&-)" ||
		status=$?
	printf 'status %d, output: %s\n' "$status" "$output"
	[[ $status -eq 3 ]]
	output="${output//$'\r'/}"
	expect_match $'(tick [0-9]+\n){4,5}33 77'
	refute $'tick 2\n'
	nothing_left "$CT"
}

@test "restore: a terminal needs somebody at its other end" {
	counter
	dumped
	edit '.process.terminal = true'
	refused
	expect "cannot allocate tty if runc will detach without setting console socket"
	edit '.process.terminal = false'
	refused --console-socket nowhere
	expect "cannot use console socket if runc will not detach or allocate tty"
}

capable() { # capable NUMBER: of a capability
	(((0x$(sed -n 's/^CapEff:\t//p' /proc/self/status) >> $1) & 1))
}

@test "restore: --pid-file, and the state is that of the new process" {
	counter
	dumped
	restored --pid-file pid
	[[ $(cat pid) == "$(init_pid "$CT")" && -d /proc/$(cat pid) ]]
	[[ $(jq .init_process_start "$ROOT/$CT/state.json") == "$(cut -d' ' -f22 "/proc/$(cat pid)/stat")" ]]
	[[ ! -e $ROOT/$CT/criu-root && ! -e $ROOT/$CT/checkpoint ]]
}

@test "restore: a pid file that cannot be written leaves nothing" {
	counter
	dumped
	refused --pid-file /nonexistent/pid
}

@test "restore: another id, bundle and cgroup" {
	counter
	dumped
	mkdir ../other && cp -a rootfs config.json ../other/
	cd ../other
	place_cgroup "$CGROUP-other"
	limit '{"pids": {"limit": 17}}'
	cd "$BUNDLE"
	pyrunc restore -d --image-path "$IMAGES" --bundle ../other other </dev/null >/dev/null 2>&1
	local pid
	pid=$(init_pid other)
	grep -q "$BELOW$" "/proc/$pid/cgroup"
	[[ -z $(grep "$CGROUP" "/proc/$pid/cgroup" | grep -v "$BELOW\$") ]]
	kernel_has pids pids.max 17 pids.max 17
	run_pyrunc -0 delete -f other
	rm -r ../other
}

@test "restore: limits and device rules are the config's" {
	edit '.linux.resources.memory.limit = 67108864'
	counter
	dumped
	restored
	kernel_has memory memory.limit_in_bytes 67108864 memory.max 67108864
	run_pyrunc exec --cap CAP_MKNOD "$CT" sh -c 'mknod /tmp/disk b 7 0 && head -c 1 /tmp/disk'
	[[ $status -ne 0 ]]
	expect "Operation not permitted"
}

@test "restore: CRIU has room beside a limit of processes that the container just keeps" {
	edit '.linux.resources.pids.limit = 2' # the shell and its sleep
	counter
	dumped
	restored
	counts
	kernel_has pids pids.max 2 pids.max 2
}

@test "restore: every process, with its session and group" {
	script 'sleep 1001 & (setsid sleep 1002 &) ; sh -c "sleep 1003 & sleep 1004; :" & while :; do sleep 1; done'
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for pyrunc exec "$CT" sh -c '[ $(ps -o args | grep -c "^sleep 100[1-4]") = 4 ]'
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	restored
	inside ps -o args
	expect "sleep 1001" "sleep 1002" "sleep 1003" "sleep 1004"
}

@test "restore: environment, directory, user and hostname" {
	capable 24 || skip "no CAP_SYS_RESOURCE: CRIU cannot dump processes of other users"
	edit '.process.user = {uid: 1000, gid: 1000, additionalGids: [50]} | .process.env += ["KEPT=yes"] | .hostname = "kept"'
	script 'cd /tmp; touch ready; while :; do sleep 0.1; done'
	dumped
	restored
	local pid
	pid=$(init_pid "$CT")
	tr '\0' '\n' <"/proc/$pid/environ" | grep -qx KEPT=yes
	grep -qP '^Uid:\t1000\t1000' "/proc/$pid/status"
	grep -q '^Groups:.*50' "/proc/$pid/status"
	inside sh -c 'hostname; readlink /proc/1/cwd'
	expect kept /tmp
}

@test "restore: content of the container's own file systems" {
	add_mount /scratch tmpfs tmpfs size=1m
	script 'echo kept >/dev/shm/a; echo kept too >/scratch/b; touch /tmp/ready; while :; do sleep 0.1; done'
	dumped
	restored
	inside cat /dev/shm/a /scratch/b
	expect_only "kept
kept too"
}

@test "restore: masked and read-only paths still are" {
	counter
	dumped
	restored
	inside sh -c 'head -c 1 /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/domainname; :'
	expect "0" "Read-only file system"
}

@test "restore: hooks run in the container's namespaces, before the processes" {
	edit --arg out "$OUT" '.hooks = {
		prestart: [{path: "/bin/sh", args: ["sh", "-c", "cat >\($out).prestart"]}],
		createRuntime: [{path: "/bin/sh", args: ["sh", "-c", "cat >\($out).createRuntime"]}],
		poststart: [{path: "/bin/sh", args: ["sh", "-c", "touch \($out).poststart"]}],
		poststop: [{path: "/bin/sh", args: ["sh", "-c", "touch \($out).poststop"]}]}'
	counter
	dumped
	rm "$OUT".*
	restored
	[[ $(jq -r .id "$OUT.prestart") == "$CT" ]]
	[[ $(jq .pid "$OUT.createRuntime") == "$(init_pid "$CT")" ]]
	[[ ! -e $OUT.poststart ]]
	run_pyrunc -0 delete -f "$CT"
	[[ -e $OUT.poststop ]]
}

@test "restore: a hook that fails leaves nothing" {
	counter
	dumped
	edit '.hooks.createRuntime = [{path: "/bin/false"}]'
	refused
	expect "error running createRuntime hook #0"
	[[ $output != *"type NOTIFY errno 0"* ]]
	edit 'del(.hooks)'
	restored
}

@test "restore: a signal ends it, and leaves nothing" {
	counter
	dumped
	local signal begin=$SECONDS sleep="sleep 3071.$$" # like no other's
	# What a shell has started in the background ignores INT, and so do we then.
	pyrunc() { env --default-signal=INT,HUP "$PYRUNC" --root "$ROOT" "${FLAGS[@]}" "$@"; }
	for signal in TERM INT HUP; do
		edit --arg signal "$signal" --arg sleep "$sleep" \
			'.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "sleep 0.3; kill -\($signal) $PPID; exec \($sleep)"]}]'
		refused
		expect "interrupted by a signal"
		[[ $((SECONDS - begin)) -lt 3000 && -z $(pgrep -f "$sleep" || true) ]]
	done
	edit 'del(.hooks)'
	restored
	counts
}

@test "restore: CRIU that is killed leaves nothing" {
	counter
	dumped
	# shellcheck disable=SC2016
	edit '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c",
		"for p in $(cat /proc/$PPID/task/*/children); do grep -q swrk /proc/$p/cmdline && kill -9 $p; done; :"]}]'
	refused
	expect "signal: killed"
	edit 'del(.hooks)'
	restored
	counts
}

@test "restore: --work-path has the log" {
	counter
	dumped
	restored --work-path "$BATS_TEST_TMPDIR/work"
	[[ -s $BATS_TEST_TMPDIR/work/restore.log && ! -e $IMAGES/restore.log ]]
}

@test "restore: default image path is ./checkpoint of the caller" {
	counter
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for ready
	mkdir ../elsewhere
	cd ../elsewhere
	run_pyrunc -0 checkpoint "$CT"
	[[ -e checkpoint/inventory.img ]]
	pyrunc restore -d --bundle "$BUNDLE" "$CT" </dev/null >/dev/null 2>&1
	expect_state "$CT" running
	cd "$BUNDLE"
}

@test "restore: no such images" {
	refused
	expect "$IMAGES" "no such file or directory"
}

@test "restore: a directory that is no checkpoint, or a part of one" {
	counter
	dumped
	local name aside="$BATS_TEST_TMPDIR/aside"
	for name in descriptors.json pstree.img inventory.img; do
		mv "$IMAGES/$name" "$aside"
		refused
		expect "$IMAGES is no directory of checkpoint images: it has no" "$name"
		[[ ! -e $IMAGES/restore.log ]]
		mv "$aside" "$IMAGES/$name"
	done
	mv "$IMAGES/core-1.img" "$aside"
	refused
	expect "an image is missing or cut off" "restore.log"
	mv "$aside" "$IMAGES/core-1.img"
	restored
	counts
}

@test "restore: an image that is cut off" {
	counter
	dumped
	truncate -s 40 "$IMAGES"/mountpoints-*.img
	refused
	expect "invalid checkpoint image mountpoints-"
}

@test "restore: pages that are gone are an error in words, and nothing stays" {
	counter
	dumped
	rm "$IMAGES"/pages-*.img
	refused
	expect "criu failed: type RESTORE" "restore.log"
}

@test "restore: images that are links, pipes, or lead in a circle are refused before anything is done" {
	counter
	dumped
	local aside="$BATS_TEST_TMPDIR/aside"
	mv "$IMAGES/pages-1.img" "$aside"
	ln -s /etc/passwd "$IMAGES/pages-1.img"
	refused
	expect "$IMAGES is no directory of checkpoint images: no regular files: 'pages-1.img'"
	rm "$IMAGES/pages-1.img"
	mkfifo "$IMAGES/pages-1.img"
	refused
	expect "no regular files: 'pages-1.img'"
	mv "$aside" "$IMAGES/pages-1.img"
	ln -s . "$IMAGES/parent"
	refused
	expect "lead back to where they come from"
	[[ ! -e $IMAGES/restore.log ]]
	rm "$IMAGES/parent"
	restored
	counts
}

@test "restore: nothing is written through what lies in the directory under CRIU's names" {
	counter
	dumped
	echo precious >"$BATS_TEST_TMPDIR/precious"
	ln -s ../precious "$IMAGES/restore.log"
	ln "$BATS_TEST_TMPDIR/precious" "$IMAGES/stats-restore"
	restored
	counts
	[[ $(cat "$BATS_TEST_TMPDIR/precious") == precious ]]
	[[ -s $IMAGES/restore.log && -s $IMAGES/stats-restore ]]
	run_pyrunc -0 delete -f "$CT"
	rm "$IMAGES/restore.log"
	mkfifo "$IMAGES/restore.log"
	restored
}

@test "restore: names of descriptors that are none of CRIU's are passed over" {
	counter
	dumped
	printf '["\\ud800pipe:[1]","pipe:[1]\\u0000","file[%s"]' "$(head -c 500000 /dev/zero | tr '\0' x)" >"$IMAGES/descriptors.json"
	restored
	counts
}

@test "restore: the id is taken" {
	counter
	dumped
	restored
	if restored; then
		return 1
	fi
	expect "container with given ID already exists"
	expect_state "$CT" running
}

@test "restore: a network namespace by path is joined again" {
	ip netns add "$NETNS" 2>/dev/null || skip "no ip netns"
	edit --arg path "/run/netns/$NETNS" '(.linux.namespaces[] | select(.type == "network")).path = $path'
	counter
	dumped
	restored
	[[ $(stat -Lc %i "/proc/$(init_pid "$CT")/ns/net") == "$(stat -c %i "/run/netns/$NETNS")" ]]
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	ip netns del "$NETNS"
	refused
	expect "/run/netns/$NETNS"
}

@test "restore: a uts namespace by path is joined" {
	unshare -u sh -c 'hostname joined; exec sleep 1000' 3>&- >/dev/null 2>&1 &
	local holder=$!
	wait_for sh -c "[ \$(readlink /proc/$holder/ns/uts) != $(readlink /proc/self/ns/uts) ]"
	counter
	dumped
	edit --arg path "/proc/$holder/ns/uts" '(.linux.namespaces[] | select(.type == "uts")).path = $path | del(.hostname)'
	restored
	[[ $(readlink "/proc/$(init_pid "$CT")/ns/uts") == "$(readlink "/proc/$holder/ns/uts")" ]]
	kill "$holder"
}

@test "restore: a cgroup namespace by path is refused in words" {
	counter
	dumped
	edit '.linux.namespaces |= map(select(.type != "cgroup")) + [{type: "cgroup", path: "/proc/1/ns/cgroup"}]'
	refused
	expect "Do not know how to handle namespace"
}

@test "restore: in a user namespace, with its devices" {
	chown -R 100000:100000 rootfs
	edit '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] | .linux.gidMappings = .linux.uidMappings
		| .linux.devices = [{path: "/dev/mynull", type: "c", major: 1, minor: 3, fileMode: 432, uid: 0, gid: 50}]'
	script 'exec 5<>/dev/mynull; i=0; while :; do i=$((i + 1)); echo $i >>/count; echo x >&5; sleep 0.1; done'
	dumped
	chmod 600 "$IMAGES"/*.img
	restored
	expect "runc checkpoint is untested with rootless containers"
	counts
	inside sh -c 'stat -c "%F %a %u:%g" /dev/mynull; echo >/dev/null && head -c 2 /dev/zero | wc -c; head -c 1 /proc/keys | wc -c'
	expect "character special file 660 0:50" "2"
	inside stat -c %u:%g /dev/mqueue
	expect_only 0:0
	run_pyrunc -0 checkpoint --image-path "$IMAGES.2" "$CT"
	IMAGES="$IMAGES.2"
	restored
	counts
}

# clock: writes the seconds since the boot to /clock, ten times a second
clock() {
	# shellcheck disable=SC2016
	script 'while :; do read now rest </proc/uptime; echo $now >>/clock; : >/tmp/ready; sleep 0.1; done'
}

away() { # seven seconds, since the last that the clock showed
	shown="$(tail -n 1 rootfs/clock | cut -d. -f1)"
	written="$(date -r rootfs/clock +%s)"
	sleep 7
}

steady() { # the clock has stood still while the container was away, goes on, and never backwards
	wait_for ticked_more "$(wc -l <rootfs/clock)"
	awk 'NR > 1 && $1 < last {print "from " last " to " $1; bad = 1} {last = $1} END {exit bad}' rootfs/clock
	# those of the container first: what passes between the two readings is the host's
	shown=$(($(tail -n 1 rootfs/clock | cut -d. -f1) - shown))
	written=$(($(date -r rootfs/clock +%s) - written))
	echo "$shown seconds in the container, $written on the host"
	((shown <= written - 4))
}

ticked_more() {
	[[ $(wc -l <rootfs/clock) -gt $(($1 + 3)) ]]
}

@test "restore: clocks go on where they were" {
	clock
	dumped
	away
	restored
	steady
	[[ $(pyrunc exec "$CT" cut -d. -f1 /proc/uptime) -le $(($(tail -n 1 rootfs/clock | cut -d. -f1) + 2)) ]]
	rm -r "$IMAGES"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	away
	restored
	steady
}

@test "restore: clocks of a time namespace go on where they were" {
	edit '.linux.namespaces += [{type: "time"}] | .linux.timeOffsets = {monotonic: {secs: 7881}, boottime: {secs: 1000000}}'
	clock
	dumped
	[[ $(head -n 1 rootfs/clock | cut -d. -f1) -ge 1000000 ]]
	away
	restored
	steady
	inside cut -d. -f1 /proc/uptime
	[[ $output -ge 1000000 && $output -le $(($(tail -n 1 rootfs/clock | cut -d. -f1) + 2)) ]]
	inside readlink /proc/self/ns/time
	[[ $output == "$(readlink "/proc/$(init_pid "$CT")/ns/time")" ]]
}

@test "restore: a busy cgroup is refused, before anything is made" {
	counter
	dumped
	run_detached -0 run -d other
	if restored; then
		return 1
	fi
	[[ ! -e $ROOT/$CT ]]
	expect "container's cgroup is not empty"
	run_pyrunc -0 delete -f other
}

@test "restore: --empty-ns network, and no other" {
	counter
	dumped
	refused --empty-ns uts
	expect 'namespace "uts" is not supported'
	restored --empty-ns network
}

@test "restore: --manage-cgroups-mode" {
	counter
	dumped
	refused --manage-cgroups-mode sometimes
	expect "invalid manage-cgroups-mode value"
	local mode
	# the container's cgroups are made beforehand
	refused --manage-cgroups-mode strict
	expect "existing cgroups"
	for mode in soft full ignore; do
		restored --manage-cgroups-mode "$mode"
		counts
		grep -q "$BELOW$" "/proc/$(init_pid "$CT")/cgroup"
		run_pyrunc -0 checkpoint --manage-cgroups-mode "$mode" --image-path "$IMAGES" "$CT"
	done
}

@test "restore: --network-lock takes the three methods" {
	counter
	dumped
	refused --network-lock wishes
	expect 'invalid network-lock value "wishes"'
	restored --network-lock skip
}

@test "restore: flags that callers give, and lsm profiles in the wrong place" {
	counter
	dumped
	run_pyrunc restore --lsm-mount-context
	expect "flag needs an argument" "requires an argument"
	restored --no-new-keyring --no-pivot -no-subreaper --auto-dedup --ext-unix-sk --tcp-established
	counts
	jq -e .config.no_pivot_root "$ROOT/$CT/state.json"
}

# profile NAME FILE: an AppArmor profile that allows all but writing to /FILE, loaded.
profile() {
	apparmor_parser --replace --skip-cache <<-END
		profile $1 flags=(attach_disconnected,mediate_deleted) {
			file,
			capability,
			network,
			mount,
			umount,
			pivot_root,
			ptrace,
			signal,
			unix,
			dbus,
			deny /$2 w,
		}
	END
}

@test "restore: processes are under their AppArmor profile again, and with --lsm-profile under another one" {
	grep -q apparmor /sys/kernel/security/lsm && command -v apparmor_parser >/dev/null || skip "no AppArmor"
	local ours="pyrunc-$$-$BATS_TEST_NUMBER"
	profile "$ours-a" free
	profile "$ours-b" forbidden
	edit --arg name "$ours-a" '.process.apparmorProfile = $name'
	# shellcheck disable=SC2016
	script 'i=0; while :; do i=$((i + 1)); echo >/free; echo >/forbidden; echo $i >>/count; sleep 0.1; done 2>/dev/null'
	dumped
	restored
	counts
	grep -qx "$ours-a (enforce)" "/proc/$(init_pid "$CT")/attr/current"
	[[ ! -e rootfs/free && -e rootfs/forbidden ]]
	rm -r "$IMAGES"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	rm rootfs/forbidden
	restored --lsm-profile "apparmor:$ours-b"
	counts
	grep -qx "$ours-b (enforce)" "/proc/$(init_pid "$CT")/attr/current"
	[[ -e rootfs/free && ! -e rootfs/forbidden ]]
	run_pyrunc -0 delete -f "$CT"
	printf 'profile %s {}\nprofile %s {}\n' "$ours-a" "$ours-b" | apparmor_parser --remove
}

@test "restore: an AppArmor profile that is not loaded here is named" {
	grep -q apparmor /sys/kernel/security/lsm && command -v apparmor_parser >/dev/null || skip "no AppArmor"
	local ours="pyrunc-$$-$BATS_TEST_NUMBER"
	profile "$ours" nothing
	edit --arg name "$ours" '.process.apparmorProfile = $name'
	counter
	dumped
	echo "profile $ours {}" | apparmor_parser --remove
	refused
	expect "AppArmor profiles are not loaded: '$ours'"
	refused --lsm-profile apparmor:nobody-knows
	expect "AppArmor profiles are not loaded: 'nobody-knows'"
	profile "$ours" nothing
	restored
	counts
	run_pyrunc -0 delete -f "$CT"
	echo "profile $ours {}" | apparmor_parser --remove
}

@test "restore: without a mount namespace it is refused in words" {
	counter
	dumped
	edit '.linux.namespaces |= map(select(.type != "mount")) | .linux.maskedPaths = [] | .linux.readonlyPaths = [] | .mounts = []'
	refused
	expect "a container without a mount namespace of its own cannot be restored"
}

@test "restore: --tcp-close" {
	counter
	dumped
	restored --tcp-close
	counts
}

@test "restore: somebody else than root is told" {
	run_command -1 setpriv --reuid=1000 --regid=1000 --clear-groups "$PYRUNC" --root "$BATS_TEST_TMPDIR/other" \
		restore --image-path "$IMAGES" --bundle "$BUNDLE" "$CT"
	expect "only root of the initial user namespace can restore"
}

@test "restore: a hostile rootfs cannot lead mountpoints out" {
	mkdir "$BATS_TEST_TMPDIR/outside"
	add_mount /inner/point tmpfs tmpfs
	counter
	dumped
	rm -r rootfs/inner
	ln -s "$BATS_TEST_TMPDIR/outside" rootfs/inner
	restored || true
	[[ -z $(ls "$BATS_TEST_TMPDIR/outside") ]]
}
