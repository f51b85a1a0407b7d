#!/usr/bin/env bats
# create: the created container, its state directory, and create's failures.

load helpers

@test "create: the process waits for start" {
	script 'echo started'
	run_detached -0 create "$CT"
	expect_only ''
	expect_state "$CT" created
	sleep 0.2
	[[ ! -s $OUT ]]
	run_pyrunc -0 start "$CT"
	wait_for grep -qx started "$OUT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "create: state directory, its modes and its files" {
	sleeper
	run_detached -0 create "$CT"
	[[ $(stat -c %a "$ROOT") == 700 ]]
	[[ $(stat -c %a "$ROOT/$CT") == 711 ]]
	[[ $(stat -c %F:%a "$ROOT/$CT/exec.fifo") == fifo:622 ]]
	[[ $(stat -c %F "$ROOT/$CT/state.json") == 'regular file' ]]
	run_pyrunc -0 start "$CT"
	[[ ! -e $ROOT/$CT/exec.fifo ]]
}

@test "create: state.json names what other tools read" {
	sleeper
	edit '.annotations = {"a.b": "c"}'
	run_detached -0 create "$CT"
	run jq -e --arg id "$CT" --arg bundle "$BUNDLE" --arg cgroup "$CGROUP" '
		.id == $id
		and (.init_process_pid | type) == "number"
		and (.init_process_start | type) == "number"
		and (.created | test("^2[0-9-]+T.*Z$"))
		and .rootless == false
		and .cgroup_paths.devices == "/sys/fs/cgroup/devices/\($cgroup)"
		and (.namespace_paths | keys | contains(["NEWCGROUP", "NEWIPC", "NEWNET", "NEWNS", "NEWPID", "NEWUSER", "NEWUTS"]))
		and .namespace_paths.NEWNS == "/proc/\(.init_process_pid)/ns/mnt"
		and (.external_descriptors | length) == 3
		and .config.rootfs == "\($bundle)/rootfs"
		and (.config.labels | contains(["a.b=c", "bundle=\($bundle)"]))
		and .config.cgroups.path == "/\($cgroup)"
		and .intel_rdt_path == ""
	' "$ROOT/$CT/state.json"
	[[ $status -eq 0 ]]
}

@test "create: init_process_start is the start time of init" {
	sleeper
	run_detached -0 create "$CT"
	local pid
	pid="$(init_pid "$CT")"
	[[ $(jq .init_process_start "$ROOT/$CT/state.json") == "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f20)" ]]
}

@test "create --pid-file: the pid of the waiting process" {
	sleeper
	run_detached -0 create --pid-file pid "$CT"
	[[ $(cat pid) == "$(init_pid "$CT")" ]]
	[[ -d /proc/$(cat pid) ]]
}

@test "create: --bundle and --pid-file relative to the caller" {
	sleeper
	cd "$BATS_TEST_TMPDIR"
	run_detached -0 create --bundle bundle --pid-file pid "$CT"
	[[ $(cat pid) == "$(init_pid "$CT")" ]]
	[[ $(pyrunc state "$CT" | jq -r .bundle) == "$BUNDLE" ]]
}

@test "create: an id in use is refused" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -1 create "$CT"
	expect 'container with given ID already exists'
	expect_state "$CT" created
}

@test "create: the descriptors 0 to 2 and no other are open in the container" {
	probe_in_rootfs
	edit '.process.args = ["probe", "fds"]'
	exec 5</etc/hostname 7</dev/null
	run_detached -0 create "$CT"
	run_pyrunc -0 start "$CT"
	exec 5<&- 7<&-
	wait_for_state "$CT" stopped
	[[ $(cut -d' ' -f1 "$OUT" | sort -n | tr '\n' ' ') == '0 1 2 ' ]]
}

@test "create: the waiting init holds nothing of the host but its stdio" {
	sleeper
	exec 9</etc/hostname
	run_detached -0 create "$CT"
	exec 9<&-
	local pid
	pid="$(init_pid "$CT")"
	run readlink "/proc/$pid/fd/"*
	refute "$BATS_TEST_TMPDIR/bundle" /etc/hostname
}

@test "create: /dev/null as stdio is the container's own node" {
	# In a process of its own: the shell may run stat itself, with its own descriptor 1 redirected.
	script '(for f in /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2 /dev/null; do stat -Lc "%d:%i" $f; done >/tmp/out) & wait'
	writable
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1 3>&-
	wait_for_state "$CT" stopped
	[[ $(sort -u rootfs/tmp/out | wc -l) -eq 1 ]]
}

@test "create: exec in the created container leaves it created" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 exec "$CT" echo inside
	expect_only inside
	expect_state "$CT" created
	run_pyrunc -0 start "$CT"
	expect_state "$CT" running
}

@test "create: two at once with one id, one wins" {
	sleeper
	local i won=0 pids=()
	for i in 1 2 3 4; do
		"$PYRUNC" --root "$ROOT" create "$CT" </dev/null >"$OUT.$i" 2>&1 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		! wait "$i" || won=$((won + 1))
	done
	[[ $won -eq 1 ]]
	expect_state "$CT" created
}

# --- failures leave nothing ----------------------------------------------------------

fails_and_leaves_nothing() { # fails_and_leaves_nothing TEXT...
	# where nobody else mounts
	run_command -1 unshare -m --propagation private sh -c 'cat /proc/self/mountinfo >"$OUT.before"
		"$PYRUNC" --root "$ROOT" create "$CT"; status=$?
		cat /proc/self/mountinfo >"$OUT.after"; exit $status'
	expect "$@"
	nothing_left "$CT"
	! grep -vxFf "$OUT.before" "$OUT.after" || return 1
}

@test "create: command not found" {
	edit '.process.args = ["nope"]'
	fails_and_leaves_nothing 'executable file not found in $PATH'
}

@test "create: the root file system is missing" {
	rm -r rootfs
	fails_and_leaves_nothing rootfs
}

@test "create: the root file system is a symlink" {
	mv rootfs real
	ln -s real rootfs
	fails_and_leaves_nothing 'invalid rootfs: not an absolute path, or a symlink'
}

@test "create: a bind source is missing" {
	edit '.mounts += [{destination: "/mnt", type: "bind", source: "/no/such/source", options: ["bind"]}]'
	fails_and_leaves_nothing /no/such/source 'no such file or directory'
}

@test "create: a file system type is unknown" {
	edit '.mounts += [{destination: "/mnt", type: "nosuchfs", source: "none"}]'
	fails_and_leaves_nothing 'no such device'
}

@test "create: a namespace to join is missing" {
	edit '.linux.namespaces |= map(if .type == "network" then .path = "/no/such/ns" else . end)'
	fails_and_leaves_nothing /no/such/ns 'no such file or directory'
}

@test "create: a sysctl does not exist" {
	edit '.linux.sysctl = {"net.no.such.name": "1"}'
	fails_and_leaves_nothing 'no/such/name'
}

@test "create: the console socket is not there" {
	edit '.process.terminal = true'
	run_pyrunc -1 create --console-socket "$BATS_TEST_TMPDIR/none" "$CT"
	expect 'no such file or directory'
	nothing_left "$CT"
}

@test "create: config.json is missing" {
	rm config.json
	fails_and_leaves_nothing 'JSON specification file config.json not found'
}

# newer than runc 1.1
@test "create: killed at any time, delete -f cleans up" {
	local delay
	sleeper
	for delay in 0.005 0.01 0.02 0.03 0.05; do
		"$PYRUNC" --root "$ROOT" create "$CT" </dev/null >"$OUT" 2>&1 3>&- &
		sleep "$delay"
		kill -KILL $! || true
		wait $! || true
		run_pyrunc -0 delete -f "$CT"
		wait_for nothing_left "$CT"
	done
}
