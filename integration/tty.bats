#!/usr/bin/env bats
# terminals: the console socket, the foreground, window size, exec -t.

load helpers

setup() {
	setup_bundle
	edit '.process.terminal = true'
}

receiver() { # receiver [INPUT]: waits at ./tty.sock, writes ./tty.name, ./tty.fds, ./tty.out
	rm -f tty.sock tty.name tty.fds
	python3 "$LIB/recvtty.py" "$BUNDLE/tty.sock" "$BUNDLE/tty" "$@" 3>&- &
	wait_for test -S tty.sock
}

# foreground ARGS: pyrunc under a terminal of its own, of 33 rows and 77 columns; stdin is typed there.
foreground() {
	status=0
	output="$(in_terminal "$PYRUNC" --root "$ROOT" "$@" </dev/null)" || status=$?
	output="${output//$'\r'/}"
	printf 'status %d, output: %s\n' "$status" "$output"
}

in_terminal() {
	python3 "$LIB/interminal.py" 33 77 "$@" 2>&1 3>&-
}

@test "tty: create sends the master over the console socket" {
	receiver
	script 'tty; echo done; sleep 100'
	run_detached -0 create --console-socket tty.sock "$CT"
	wait_for test -s tty.name
	[[ $(cat tty.fds) == 1 && $(cat tty.name) == /dev/p* ]]
	run_pyrunc -0 start "$CT"
	wait_for grep -q "done" tty.out
	grep -q /dev/pts/0 tty.out
	run_pyrunc -0 delete -f "$CT"
	wait
}

@test "tty: run -d" {
	receiver
	script '[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait
	grep -q 'all three' tty.out
}

@test "tty: the console socket is relative to the caller, not to the bundle" {
	receiver
	mkdir elsewhere
	mv tty.sock elsewhere
	script 'echo here'
	cd elsewhere
	run_detached -0 run -d --bundle "$BUNDLE" --console-socket tty.sock "$CT"
	wait
	grep -q here ../tty.out
}

@test "tty: what is typed arrives" {
	receiver $'some words\n'
	script 'echo ready; read line; echo "got: $line"'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait
	grep -q 'got: some words' tty.out
}

@test "tty: it is the controlling terminal, and /dev/console is it" {
	receiver $'\x03'
	script 'trap "echo interrupted; exit" INT; echo "to console $(stat -c "%F %t" /dev/console)" >/dev/console; while :; do sleep 0.1; done'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait
	grep -q 'to console character special file 88' tty.out
	grep -q interrupted tty.out
}

@test "tty: hanging up ends the process" {
	receiver
	script 'trap "exit 0" HUP; echo ready; while :; do sleep 0.1; done'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait_for grep -q ready tty.out
	kill %%
	wait_for_state "$CT" stopped
}

@test "tty: the terminal belongs to the process's user" {
	edit '.process.user = {uid: 1000, gid: 1000}'
	receiver
	script 'stat -c "%u:%g" "$(tty)"; echo opened >"$(tty)"'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait
	grep -q 1000:5 tty.out
	grep -q opened tty.out
}

@test "tty: consoleSize" {
	edit '.process.consoleSize = {height: 21, width: 99}'
	receiver
	script 'stty size'
	run_detached -0 run -d --console-socket tty.sock "$CT"
	wait
	grep -q '21 99' tty.out
}

@test "tty: a missing console socket, and one too many" {
	run_detached -1 create "$CT"
	expect 'cannot allocate tty if runc will detach without setting console socket'
	run_detached -1 run -d "$CT"
	expect 'cannot allocate tty if runc will detach without setting console socket'
	edit '.process.terminal = false'
	receiver
	run_detached -1 create --console-socket tty.sock "$CT"
	expect 'cannot use console socket if runc will not detach or allocate tty'
	kill %%
	nothing_left "$CT"
}

@test "tty: foreground" {
	script 'tty; stty size; exit 6'
	foreground run "$CT"
	[[ $status -eq 6 ]]
	expect_only $'/dev/pts/0\n33 77'
	nothing_left "$CT"
}

@test "tty: foreground, a line ends with one carriage return" {
	script 'printf "one\ntwo\n"'
	output="$(in_terminal "$PYRUNC" --root "$ROOT" run "$CT" </dev/null | od -An -c | tr -d ' \n')"
	expect_only 'one\r\ntwo\r\n'
}

@test "tty: foreground input, and the host terminal's mode is restored" {
	script 'echo ready; read line; echo "got: $line"'
	output="$(echo typed | in_terminal sh -c 'stty -g; "$PYRUNC" --root "$ROOT" run "$CT"; stty -g')"
	output="${output//$'\r'/}"
	expect 'got: typed'
	[[ $(head -1 <<<"$output") == "$(tail -1 <<<"$output")" ]]
}

@test "tty: foreground without a host terminal" {
	script 'tty; echo end'
	run_pyrunc run "$CT"
	[[ $status -eq 0 || $output == *terminal* || $output == *tty* ]]
	nothing_left "$CT"
}

@test "tty: exec -t in the foreground" {
	edit '.process.terminal = false'
	start_sleeper
	foreground exec -t "$CT" sh -c 'tty; stty size; exit 5'
	[[ $status -eq 5 ]]
	expect /dev/pts/ '33 77'
}

@test "tty: exec without -t has none, though config.json says so" {
	receiver
	sleeper
	run_detached -0 run -d --console-socket tty.sock "$CT"
	run_pyrunc exec "$CT" tty
	expect_only 'not a tty'
	run_pyrunc -0 delete -f "$CT"
	wait
}

@test "tty: exec -t -d with a console socket" {
	edit '.process.terminal = false'
	start_sleeper
	receiver
	run_detached -0 exec -t -d --console-socket tty.sock "$CT" sh -c 'tty; echo "done"'
	wait
	grep -q /dev/pts/ tty.out
	grep -q "done" tty.out
	run_detached -255 exec -t -d "$CT" true
	expect 'cannot allocate tty if runc will detach without setting console socket'
}

@test "tty: exec -p with terminal and consoleSize" {
	edit '.process.terminal = false'
	start_sleeper
	jq '.process | .terminal = true | .consoleSize = {height: 11, width: 22} | .args = ["stty", "size"]' config.json >process.json
	receiver
	run_detached -0 exec -d -p process.json --console-socket tty.sock "$CT"
	wait
	grep -q '11 22' tty.out
}

@test "tty: exec's terminal belongs to its user" {
	edit '.process.terminal = false'
	start_sleeper
	receiver
	run_detached -0 exec -t -d -u 1000:1000 --console-socket tty.sock "$CT" sh -c 'stat -c %u "$(tty)"'
	wait
	grep -q 1000 tty.out
}

@test "tty: a console socket that is a file" {
	touch plain
	run_detached -1 create --console-socket plain "$CT"
	expect 'connection refused'
	nothing_left "$CT"
}
