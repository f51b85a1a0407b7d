#!/usr/bin/env bats
# --preserve-fds and LISTEN_FDS.

load helpers

setup() {
	setup_bundle
	probe_in_rootfs
	script 'probe fds; env | grep LISTEN'
}

# with_listen ARGS: pyrunc with LISTEN_PID its own.
with_listen() {
	sh -c 'export LISTEN_PID=$$; exec "$PYRUNC" --root "$ROOT" "$@"' sh "$@" </dev/null
}

@test "fds: --preserve-fds" {
	output="$(pyrunc run --preserve-fds 2 "$CT" </dev/null 3</etc/hostname 4</etc/passwd 5</etc/group)" || true
	expect '3 /etc/hostname' '4 /etc/passwd'
	refute '5 ' LISTEN
}

@test "fds: --preserve-fds reads on in the container" {
	script 'cat <&3'
	output="$(pyrunc run --preserve-fds 1 "$CT" </dev/null 3< <(echo from outside))"
	expect_only 'from outside'
}

@test "fds: --preserve-fds with create and start" {
	echo content >file
	script 'cat <&4'
	pyrunc create --preserve-fds 2 "$CT" </dev/null >"$OUT" 2>&1 3</dev/null 4<file
	run_pyrunc -0 start "$CT"
	wait_for grep -qx content "$OUT"
}

@test "fds: --preserve-fds of one that is not open" {
	run_pyrunc -1 run --preserve-fds 40 "$CT"
	expect_match 'unable to stat preserved-fd [0-9]+ [(]of 40[)]'
	nothing_left "$CT"
}

@test "fds: LISTEN_FDS for this process is handed on" {
	output="$(LISTEN_FDS=2 with_listen run "$CT" 3</etc/hostname 4</etc/passwd 5</etc/group)"
	expect '3 /etc/hostname' '4 /etc/passwd' LISTEN_FDS=2 LISTEN_PID=1
	refute '5 '
}

@test "fds: LISTEN_FDS come first, preserved ones after them" {
	output="$(LISTEN_FDS=1 with_listen run --preserve-fds 1 "$CT" 3</etc/hostname 4</etc/passwd 5</etc/group)"
	expect '3 /etc/hostname' '4 /etc/passwd' LISTEN_FDS=1
	refute '5 '
}

@test "fds: LISTEN_FDS for another process is ignored" {
	output="$(LISTEN_FDS=1 LISTEN_PID=1 pyrunc run "$CT" </dev/null 3</etc/hostname)" || true
	refute '3 ' LISTEN
}

@test "fds: what the caller left open is closed" {
	output="$(pyrunc run "$CT" </dev/null 3</etc/hostname 20</etc/passwd)" || true
	[[ $(cut -d' ' -f1 <<<"$output" | sort -n | tr '\n' ' ') == '0 1 2 ' ]]
}

@test "fds: closed stdio does no harm" {
	script 'echo inside; sleep 100'
	"$PYRUNC" --root "$ROOT" run -d "$CT" <&- >&- 2>&- 3>&-
	wait_for_state "$CT" running
}
