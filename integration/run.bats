#!/usr/bin/env bats
# run: foreground stdio, exit status, signals, --keep, --detach, pid file.


load helpers

@test "run: output and status 0" {
	script 'echo hello'
	run_pyrunc -0 run "$CT"
	expect_only hello
	nothing_left "$CT"
}

@test "run: the status of the process" {
	script 'exit 7'
	run_pyrunc -7 run "$CT"
	nothing_left "$CT"
}

@test "run: 128+N when killed by signal N" {
	edit '.linux.namespaces |= map(select(.type != "pid"))'
	script 'kill -TERM $$; sleep 5'
	run_pyrunc -143 run "$CT"
	script 'kill -KILL $$; sleep 5'
	run_pyrunc -137 run "$CT"
	nothing_left "$CT"
}

@test "run: stdin reaches the process, its end too" {
	script 'cat; echo end'
	output="$(printf 'one\ntwo\n' | pyrunc run "$CT" 3>&-)"
	expect_only $'one\ntwo\nend'
}

@test "run: a megabyte goes through unchanged" {
	script 'cat'
	head -c 1048576 /dev/urandom >in
	pyrunc run "$CT" <in >out 3>&-
	cmp in out
}

@test "run: stdout and stderr are separate" {
	script 'echo one; echo two >&2'
	pyrunc run "$CT" </dev/null >"$OUT.1" 2>"$OUT.2" 3>&-
	[[ $(cat "$OUT.1") == one ]]
	[[ $(cat "$OUT.2") == two ]]
}

@test "run: stdio belongs to the process's user" {
	edit '.process.user = {uid: 1000, gid: 1000}'
	script 'stat -Lc %u /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; echo again >/proc/self/fd/1'
	output="$(echo | pyrunc run "$CT" 2>&1 3>&-)"
	expect_only $'1000\n1000\n1000\nagain'
}

@test "run: --keep keeps the stopped container" {
	script 'exit 3'
	run_pyrunc -3 run --keep "$CT"
	expect_state "$CT" stopped
	[[ -d $CGROUPS/devices/$CGROUP ]]
	run_pyrunc -0 delete "$CT"
	nothing_left "$CT"
}

@test "run: the id can be used again" {
	script 'exit 0'
	run_pyrunc -0 run "$CT"
	run_pyrunc -0 run "$CT"
}

@test "run: an id in use is refused and its container unharmed" {
	start_sleeper
	run_pyrunc -1 run "$CT"
	expect 'container with given ID already exists'
	expect_state "$CT" running
}

@test "run -d: returns while the process runs" {
	script 'echo started; sleep 100'
	run_detached -0 run -d "$CT"
	expect_state "$CT" running
	wait_for grep -q started "$OUT"
}

@test "run -d: a process that ends leaves a stopped container" {
	script 'true'
	run_detached -0 run --detach "$CT"
	wait_for_state "$CT" stopped
}

@test "run --pid-file: the pid without newline" {
	sleeper
	run_detached -0 run -d --pid-file "$BATS_TEST_TMPDIR/pid" "$CT"
	[[ $(cat "$BATS_TEST_TMPDIR/pid"; echo .) == "$(init_pid "$CT")." ]]
	[[ ! -e $BATS_TEST_TMPDIR/.pid ]]
}

@test "run --pid-file: relative to the caller, not to the bundle" {
	sleeper
	mkdir "$BATS_TEST_TMPDIR/elsewhere"
	cd "$BATS_TEST_TMPDIR/elsewhere"
	run_detached -0 run -d --bundle "$BUNDLE" --pid-file mypid "$CT"
	[[ $(cat mypid) == "$(init_pid "$CT")" ]]
	[[ ! -e $BUNDLE/mypid ]]
}

@test "run --pid-file: a stale temporary file is an error and leaves nothing" {
	sleeper
	touch .mypid
	run_detached -1 run -d --pid-file mypid "$CT"
	expect 'file exists'
	nothing_left "$CT"
}

@test "run --pid-file: a missing directory is an error and leaves nothing" {
	sleeper
	run_detached -1 run -d --pid-file no/such/pid "$CT"
	expect 'no such file or directory'
	nothing_left "$CT"
}

@test "run: command not found" {
	edit '.process.args = ["nope"]'
	run_pyrunc -1 run "$CT"
	expect 'exec: "nope": executable file not found in $PATH'
	nothing_left "$CT"
}

@test "run: command of a path that does not exist" {
	edit '.process.args = ["/no/such"]'
	run_pyrunc -1 run "$CT"
	expect 'exec: "/no/such": stat /no/such: no such file or directory'
	nothing_left "$CT"
}

@test "run: command that is not executable" {
	echo data >rootfs/data
	edit '.process.args = ["/data"]'
	run_pyrunc -1 run "$CT"
	expect 'permission denied'
	nothing_left "$CT"
}

@test "run: command that is a directory" {
	edit '.process.args = ["/bin"]'
	run_pyrunc -1 run "$CT"
	expect 'exec: "/bin": '
	nothing_left "$CT"
}

@test "run: a command name is looked up in the container's PATH" {
	mkdir rootfs/own
	printf '#!/bin/sh\necho own tool\n' >rootfs/own/tool
	chmod +x rootfs/own/tool
	edit '.process.args = ["tool"] | .process.env = ["PATH=/nowhere:/own:/bin"]'
	run_pyrunc -0 run "$CT"
	expect_only 'own tool'
}

# newer than runc 1.1
@test "run: an error of execve itself is one plain line and 255" {
	printf '#!/no/such/interpreter\n' >rootfs/run.sh
	chmod +x rootfs/run.sh
	edit '.process.args = ["/run.sh"]'
	run_pyrunc -255 run "$CT"
	expect_only 'exec /run.sh: no such file or directory'
	nothing_left "$CT"
}

@test "run: signals are forwarded to the process" {
	script 'trap "echo term; exit 42" TERM; trap "echo hup" HUP; trap "echo usr1" USR1
		echo ready; while :; do sleep 0.05; done'
	"$PYRUNC" --root "$ROOT" run "$CT" </dev/null >"$OUT" 2>&1 3>&- &
	local pid=$! code=0
	wait_for grep -q ready "$OUT"
	kill -HUP "$pid"
	wait_for grep -q hup "$OUT"
	kill -USR1 "$pid"
	wait_for grep -q usr1 "$OUT"
	kill -TERM "$pid"
	wait "$pid" || code=$?
	[[ $code -eq 42 ]]
	grep -q term "$OUT"
	nothing_left "$CT"
}

@test "run: killed from outside while in the foreground" {
	sleeper
	"$PYRUNC" --root "$ROOT" run "$CT" </dev/null >"$OUT" 2>&1 3>&- &
	local pid=$! code=0
	wait_for_state "$CT" running
	run_pyrunc -0 kill "$CT" KILL
	wait "$pid" || code=$?
	[[ $code -eq 137 ]]
	nothing_left "$CT"
}

@test "run: processes that end at once do not make it hang" {
	local i
	edit '.process.args = ["true"]'
	for ((i = 0; i < 10; i++)); do
		timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" run "$CT" </dev/null 3>&-
	done
}

@test "run: children left behind end with the container" {
	edit '.linux.namespaces |= map(select(.type != "pid"))'
	script 'sleep 54321 & echo left'
	run_pyrunc -0 run "$CT" >"$OUT"
	nothing_left "$CT"
}

@test "run: --bundle from another directory" {
	script 'echo from the bundle'
	cd /
	run_pyrunc -0 run --bundle "$BUNDLE" "$CT"
	expect_only 'from the bundle'
	run_pyrunc -0 run "--bundle=$BUNDLE" "$CT"
	run_pyrunc -0 run -b "$BUNDLE" "$CT"
	run_pyrunc -0 run -bundle "$BUNDLE" "$CT"
}

@test "run: root.path may be absolute" {
	edit --arg path "$BUNDLE/rootfs" '.root.path = $path'
	script 'echo hello'
	run_pyrunc -0 run "$CT"
	expect_only hello
}

@test "run: root.path may be the bundle itself" {
	mv config.json rootfs/
	cd rootfs
	edit '.root.path = "."'
	script 'ls /config.json'
	run_pyrunc -0 run "$CT"
	expect_only /config.json
}

@test "run: flags may follow the id" {
	script 'echo hello'
	cd /
	run_pyrunc -0 run "$CT" --bundle "$BUNDLE"
	expect_only hello
}

@test "run: every character that an id may have" {
	script 'echo hello'
	run_pyrunc -0 run 'Az09_+.-x'
	expect_only hello
}

@test "run: the session keyring is the container's own" {
	probe_in_rootfs
	edit '.process.args = ["probe", "keyring"]'
	run_pyrunc -0 run "$CT"
	expect "_ses.$CT"
}

@test "run: --no-new-keyring keeps the caller's" {
	probe_in_rootfs
	edit '.process.args = ["probe", "keyring"]'
	run_pyrunc -0 run --no-new-keyring "$CT"
	refute "_ses.$CT"
}

@test "run: the process is pid 1, leader of its session, and no signal is blocked or SIGPIPE ignored" {
	script 'echo $$; cut -d" " -f6 /proc/self/stat; grep SigBlk /proc/self/status
		echo $((0x$(grep SigIgn /proc/self/status | cut -f2) & 0x1000))'
	run_pyrunc -0 run "$CT"
	expect_match $'^1\n1\nSigBlk:\t0+\n0$'
}

@test "run: root.readonly" {
	script 'touch /new'
	run_pyrunc -1 run "$CT"
	expect 'Read-only file system'
	writable
	run_pyrunc -0 run "$CT"
	[[ -e rootfs/new ]]
}

@test "run: the umask of created files is 0022" {
	writable
	script 'umask; touch /new; mkdir /newdir'
	(umask 0077 && pyrunc run "$CT" </dev/null >"$OUT" 3>&-)
	[[ $(cat "$OUT") == 0022 ]]
	[[ $(stat -c %a rootfs/new) == 644 && $(stat -c %a rootfs/newdir) == 755 ]]
}
