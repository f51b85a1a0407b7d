#!/usr/bin/env bats
# NOTIFY_SOCKET: sd_notify(3) READY of the process is passed on.

load helpers

setup() {
	setup_bundle
	probe_in_rootfs
	python3 "$LIB/notifyd.py" "$BUNDLE/manager.sock" "$BUNDLE/messages" 3>&- &
	echo $! >manager.pid
	wait_for test -S manager.sock
	export NOTIFY_SOCKET="$BUNDLE/manager.sock"
}

teardown() {
	kill "$(cat "$BUNDLE/manager.pid")"
	teardown_bundle
}

# newer than runc 1.1 (BARRIER)
@test "notify: run -d waits for READY and passes it on with the pid of init" {
	script 'sleep 0.5; echo ready >/tmp/ready; probe send "$NOTIFY_SOCKET" "READY=1"; sleep 100'
	writable
	run_detached -0 run -d "$CT"
	[[ -e rootfs/tmp/ready ]]
	wait_for grep -q 'READY=1' messages
	wait_for grep -q "MAINPID=$(init_pid "$CT")" messages
	wait_for grep -q 'BARRIER=1' messages
}

@test "notify: start waits, create does not" {
	script 'sleep 0.5; touch /tmp/ready; probe send "$NOTIFY_SOCKET" "READY=1"; sleep 100'
	writable
	run_detached -0 create "$CT"
	[[ ! -s messages ]]
	run_pyrunc -0 start "$CT"
	[[ -e rootfs/tmp/ready ]]
	wait_for grep -q "READY=1" messages
}

@test "notify: the socket in the container" {
	script 'echo $NOTIFY_SOCKET; grep " /run/notify " /proc/self/mountinfo; touch /run/notify/x; probe send "$NOTIFY_SOCKET" "READY=1"; sleep 1'
	run_detached -0 run -d "$CT"
	expect /run/notify/notify.sock 'Read-only file system' nosuid,nodev,noexec
	[[ $(stat -c %a:%F "$ROOT/$CT/notify/notify.sock") == 777:socket ]]
}

@test "notify: what is not READY is dropped" {
	script 'probe send "$NOTIFY_SOCKET" "STATUS=busy" "WATCHDOG=1" "READY=1
STATUS=later"; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q READY=1 messages
	! grep -qE 'STATUS|WATCHDOG' messages || false
}

# newer than runc 1.1 (which waits for its own zombie)
@test "notify: a process that ends without READY does not block" {
	script 'exit 0'
	timeout -k 1 "$PATIENCE" "$PYRUNC" --root "$ROOT" run -d "$CT" </dev/null >"$OUT" 2>&1 3>&-
	! grep -q READY messages || false
}

@test "notify: without NOTIFY_SOCKET nothing is set up" {
	unset NOTIFY_SOCKET
	script 'ls /run/notify; echo "[$NOTIFY_SOCKET]"; sleep 100'
	run_detached -0 run -d "$CT"
	wait_for grep -q '\[\]' "$OUT"
	[[ ! -e $ROOT/$CT/notify ]]
}

@test "notify: exec knows nothing of it" {
	unset NOTIFY_SOCKET
	start_sleeper
	NOTIFY_SOCKET="$BUNDLE/manager.sock" run_pyrunc -0 exec "$CT" env
	refute NOTIFY_SOCKET
}
