#!/usr/bin/env bats
# logging: --log, --log-format, --debug, as podman and containerd read them.

load helpers

LOG=

setup() {
	setup_bundle
	LOG="$BATS_TEST_TMPDIR/log"
}

@test "log: without --log a record on stderr, nothing on stdout" {
	run --separate-stderr pyrunc state none
	[[ $status -eq 1 ]]
	[[ -z $output ]]
	[[ $stderr =~ ^time=\"[0-9T:Z-]+\"\ level=error\ msg=\"container\ does\ not\ exist\"$ ]]
}

@test "log: json, one object, and the text again on stderr" {
	run --separate-stderr pyrunc --log "$LOG" --log-format json state none
	[[ $status -eq 1 ]]
	[[ $stderr == 'container does not exist' ]]
	[[ $(wc -l <"$LOG") -eq 1 ]]
	output="$(jq -c '[keys_unsorted, .level, .msg, (.time | fromdate > 1700000000)]' "$LOG")"
	expect_only '[["level","msg","time"],"error","container does not exist",true]'
}

@test "log: a failed create is one object" {
	edit '.process.args = ["/no/such"]'
	run_detached -1 --log "$LOG" --log-format=json create "$CT"
	[[ $(jq -s length "$LOG") -eq 1 ]]
	[[ $(jq -r .msg "$LOG") == 'runc create failed: '*'exec: "/no/such": stat /no/such: no such file or directory' ]]
	[[ $output == "$(jq -r .msg "$LOG")" ]]
}

@test "log: a failed exec is one object" {
	start_sleeper
	run_pyrunc -255 --log "$LOG" --log-format=json exec "$CT" nope
	[[ $(jq -s length "$LOG") -eq 1 ]]
	[[ $(jq -r .msg "$LOG") == 'exec failed: '*'exec: "nope": executable file not found in $PATH' ]]
}

@test "log: exists, and is empty, after a success" {
	script true
	run_pyrunc -0 --log "$LOG" --log-format json run "$CT"
	[[ -f $LOG && ! -s $LOG ]]
	[[ $(stat -c %a "$LOG") == 644 ]]
}

@test "log: is appended to" {
	echo kept >"$LOG"
	pyrunc --log "$LOG" state one || true
	pyrunc --log "$LOG" state two || true
	[[ $(wc -l <"$LOG") -eq 3 ]]
	[[ $(head -1 "$LOG") == kept ]]
}

@test "log: is relative to the caller, not to the bundle" {
	edit '.process.args = ["nope"]'
	mkdir "$BATS_TEST_TMPDIR/elsewhere"
	cd "$BATS_TEST_TMPDIR/elsewhere"
	run_detached -1 --log here create --bundle "$BUNDLE" "$CT"
	grep -q 'executable file not found' here
	[[ ! -e $BUNDLE/here ]]
}

@test "log: global flags count behind the command too" {
	run_pyrunc -1 state --log "$LOG" --log-format json none
	jq -e '.level == "error"' "$LOG"
}

@test "log: bad flags are logged" {
	run_pyrunc -1 --log "$LOG" --log-format json create --nope "$CT"
	[[ $(jq -r .msg "$LOG") == 'flag provided but not defined: -nope' ]]
}

@test "log: an unknown format, a path that cannot be opened" {
	run_pyrunc -1 --log-format xml list
	expect 'invalid log-format: xml'
	run_pyrunc -1 --log /no/such/log list
	expect 'open /no/such/log: no such file or directory'
}

@test "log --debug: who logged, and where" {
	run_pyrunc -1 --debug --log "$LOG" --log-format json state none
	output="$(jq -c 'select(.level == "error") | [(.func | length > 0), (.file | test(":[0-9]+$"))]' "$LOG")"
	expect_only '[true,true]'
}

@test "log --debug: the container's output is not mixed with it" {
	script 'echo only this'
	run --separate-stderr pyrunc --debug --log "$LOG" run "$CT"
	[[ $status -eq 0 ]]
	expect_only 'only this'
	[[ -z $stderr ]]
}

@test "log: a descriptor of ours is not passed on as preserved" {
	run_pyrunc -1 --log "$LOG" run --preserve-fds 1 "$CT"
	expect 'unable to stat preserved-fd 0 (of 1)'
}

@test "log: the log file is not open inside" {
	script 'ls -l /proc/self/fd'
	run_pyrunc -0 --log "$LOG" run "$CT"
	refute "$LOG"
}

@test "root: / is refused" {
	run "$PYRUNC" --root / list
	[[ $status -eq 1 ]]
	expect 'Option --root argument should not be set to /'
	run "$PYRUNC" --root '' list
	[[ $status -eq 1 ]]
}

@test "root: XDG_RUNTIME_DIR of root is not used" {
	mkdir "$BATS_TEST_TMPDIR/xdg"
	XDG_RUNTIME_DIR="$BATS_TEST_TMPDIR/xdg" run "$PYRUNC" list -q
	[[ $status -eq 0 ]]
	[[ ! -e $BATS_TEST_TMPDIR/xdg/runc ]]
}
