#!/usr/bin/env bats
# --pidfd-socket.

load helpers

receiver() { # receiver [SIGNAL]
	rm -f pidfd.sock pidfd
	python3 "$LIB/recvpidfd.py" "$BUNDLE/pidfd.sock" "$BUNDLE/pidfd" "$@" 3>&- &
	wait_for test -S pidfd.sock
}

# newer than runc 1.1
@test "pidfd: create sends one of init" {
	receiver
	sleeper
	run_detached -0 create --pidfd-socket pidfd.sock "$CT"
	wait
	[[ $(cat pidfd) == "standard $(init_pid "$CT")" ]]
}

# newer than runc 1.1
@test "pidfd: run -d, and a signal by the descriptor" {
	receiver 9
	sleeper
	run_detached -0 run -d --pidfd-socket "$BUNDLE/pidfd.sock" "$CT"
	expect_state "$CT" running
	touch pidfd.go
	wait
	wait_for_state "$CT" stopped
}

# newer than runc 1.1
@test "pidfd: run in the foreground" {
	receiver
	script 'exit 4'
	run_pyrunc -4 run --pidfd-socket pidfd.sock "$CT"
	wait
	grep -q '^standard ' pidfd
}

# newer than runc 1.1
@test "pidfd: exec sends one of its own process" {
	start_sleeper
	receiver
	run_detached -0 exec -d --pid-file pid --pidfd-socket pidfd.sock "$CT" sleep 100
	wait
	[[ $(cat pidfd) == "setns $(cat pid)" ]]
}

# newer than runc 1.1
@test "pidfd: nobody listens" {
	run_pyrunc -1 create --pidfd-socket "$BUNDLE/none.sock" "$CT"
	expect 'no such file or directory'
	nothing_left "$CT"
}
