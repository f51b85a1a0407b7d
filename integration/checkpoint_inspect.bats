#!/usr/bin/env bats
# checkpoint inspect, checkpoint --stats, and progress on a terminal.

load helpers

# with_pycriu COMMAND...: the machine's pycriu, or in a mount namespace of its own what tools/criu has fetched.
with_pycriu() {
	local packages=/usr/lib/python3/dist-packages fetched
	fetched="${BATS_TEST_DIRNAME}/../build/criu/tree$packages"
	if [[ -d $packages/pycriu ]]; then
		"$@"
	elif [[ -d $fetched/pycriu && -d $packages ]]; then
		unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$fetched" "$packages" "$@"
	fi
}

require_pycriu() { # a skip in with_pycriu, which `run` calls, would end the test and nothing else
	local packages=/usr/lib/python3/dist-packages
	[[ -d $packages/pycriu || -d "${BATS_TEST_DIRNAME}/../build/criu/tree$packages/pycriu" ]] ||
		skip "no pycriu; tools/criu fetches one"
}

inspect() { # inspect [ARGS] DIRECTORY
	local directory="${*: -1}"
	run_command -0 with_pycriu "$PYRUNC" --root "$ROOT" checkpoint "${@:1:$#-1}" inspect "$directory"
}

# dumped: images of a sleeper with a child that listens, in ./images; it runs on. CRIU wants no file
# of the host's behind a descriptor, so its output goes nowhere. A sleep that is restored may end early (EINTR).
dumped() {
	require_criu
	require_pycriu
	# shellcheck disable=SC2016
	script 'hostname inspected; (exec nc -l -p 1234) & while :; do sleep 100; done'
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for grep -q :04D2 "/proc/$(init_pid "$CT")/net/tcp" "/proc/$(init_pid "$CT")/net/tcp6"
	run_pyrunc -0 checkpoint --image-path "$PWD/images" --leave-running "$@" "$CT"
}

@test "checkpoint inspect: processes, memory, mounts, sockets, files" {
	dumped
	inspect images
	expect "directory" "$BUNDLE/images" "kind        checkpoint" "namespaces  pid net ipc uts mnt"
	expect_match 'criu +[0-9]+\.[0-9]+'
	expect_match 'frozen +[0-9.]+ ms'
	expect_match '1 +1 +1 +0:0 +alive +1 +[0-9.]+ KiB .* sh -c hostname'
	expect_match '   nc -l -p 1234'
	expect_match 'tcp +stream +listening +(\[::\]|0.0.0.0):1234 +[^ ]+:\* +[0-9]+/[0-9]+'
	expect_match '/proc +proc +proc +/ +rw'
	expect_match '1 +0 +file +rw? +[0-9]+ +/dev/null'
}

@test "checkpoint inspect --format json" {
	dumped
	inspect --format json images
	jq -e '.kind == "checkpoint" and .processes[0].arguments[:2] == ["sh", "-c"]
		and .processes[0].memory.images > 4095 and .timings.dump.frozen_time > 0
		and (.sockets | any((.local | endswith(":1234")) and .state == "listening"))
		and (.mounts | any(.destination == "/dev/pts" and .type == "devpts"))' <<<"$output"
}

@test "checkpoint inspect: names that are not UTF-8" {
	require_criu
	require_pycriu
	writable
	printf '#!/bin/sh\nexec 3>"$(printf "/caf\\351")"\nwhile :; do sleep 1; done\n' >rootfs/bin/opener
	chmod 755 rootfs/bin/opener
	edit '.process.args = ["/bin/opener"]'
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for sh -c 'ls rootfs | grep -q caf'
	run_pyrunc -0 checkpoint --image-path "$PWD/images" --leave-running "$CT"
	inspect images
	expect '/caf\xe9'
	refute protobuf
}

@test "checkpoint inspect: logs and statistics in a work directory" {
	dumped --work-path "$PWD/work" --stats
	expect_match 'pages written +[1-9][0-9]*'
	inspect images
	expect 'unknown (dump.log is not here'
	inspect --work-path work images
	expect_match 'criu +[0-9]+\.[0-9]+'
	expect_match 'frozen +[0-9.]+ ms'
}

@test "checkpoint inspect: what is no directory of images" {
	require_pycriu
	mkdir nothing
	run_command -1 with_pycriu "$PYRUNC" --root "$ROOT" checkpoint inspect nothing
	expect 'nothing is no directory of checkpoint images: it has no inventory.img'
	run_command -1 with_pycriu "$PYRUNC" --root "$ROOT" checkpoint inspect gone
	expect 'gone: no such file or directory'
}

@test "checkpoint inspect: an image that is cut off" {
	dumped
	truncate -s -1 images/files.img
	run_command -1 with_pycriu "$PYRUNC" --root "$ROOT" checkpoint inspect images
	expect 'image files.img ends in the middle of an entry'
}

@test "checkpoint inspect: without pycriu the package to install is named" {
	[[ ! -d /usr/lib/python3/dist-packages/pycriu ]] || skip "pycriu is installed"
	mkdir images
	run_pyrunc -1 checkpoint inspect images
	expect 'needs the Python package pycriu' 'install python3-pycriu'
}

@test "checkpoint inspect: alone it is a container's name" {
	require_criu
	run_pyrunc -1 checkpoint inspect
	expect 'container does not exist'
	run_pyrunc -1 checkpoint "$CT" inspect
	expect '"checkpoint" requires exactly 1 argument'
}

@test "checkpoint --stats" {
	dumped --stats
	expect_match 'total +[0-9.]+ ms'
	expect_match 'freezing +[0-9.]+ ms'
	expect_match 'frozen +[0-9.]+ ms'
	expect_match 'pages scanned +[1-9][0-9]*'
	expect_match 'pages skipped +0'
	expect_match 'pages written +[1-9][0-9]*'
}

@test "checkpoint --stats --format json" {
	dumped --stats --format json
	jq -e --arg id "$CT" '.id == $id and .duration > .criu.frozen_time and .criu.frozen_time > 0
		and .criu.pages_scanned >= .criu.pages_written and .criu.pages_written > 0' <<<"$output"
}

@test "checkpoint --format: another one, before anything is done" {
	require_criu
	start_sleeper
	run_pyrunc -1 checkpoint --image-path images --stats --format yaml "$CT"
	expect 'invalid format option'
	[[ ! -e images ]]
	expect_state "$CT" running
}

@test "checkpoint: without --stats, in a pipe, nothing is printed" {
	dumped
	expect_only ''
}

@test "checkpoint: progress on a terminal, and then one line" {
	dumped
	run_command -0 env TERM=xterm python3 "$LIB/interminal.py" 24 100 "$PYRUNC" --root "$ROOT" checkpoint \
		--image-path "$PWD/images" --leave-running "$CT" </dev/null
	expect $'\r\e[Kcheckpoint: stopping processes, ' $'\r\e[Kcheckpoint: writing memory, '
	expect_match $'\r\e\\[Kcheckpoint: [0-9.]+ (KiB|MiB) \\([0-9]+ pages\\) in [0-9.]+ s\r$'
}

@test "checkpoint: no progress on a terminal that cannot draw it" {
	dumped
	run_command -0 env TERM=dumb python3 "$LIB/interminal.py" 24 100 "$PYRUNC" --root "$ROOT" checkpoint \
		--image-path "$PWD/images" --leave-running "$CT" </dev/null
	expect_only ''
}

@test "checkpoint: an error clears the progress away" {
	dumped
	script 'exec sleep 1000'
	run_command -1 env TERM=xterm python3 "$LIB/interminal.py" 24 100 "$PYRUNC" --root "$ROOT" checkpoint \
		--image-path "$PWD/images" --leave-running --network-lock nonsense "$CT" </dev/null
	expect 'invalid network-lock value'
	refute $'\e[K'
}

# --- restore

restored() { # restored [ARGS]: from the images of a container that is gone
	pyrunc delete -f "$CT"
	"$PYRUNC" --root "$ROOT" restore -d --image-path "$PWD/images" "$@" "$CT" </dev/null
}

@test "restore --stats" {
	dumped
	run_command -0 restored --stats
	expect_match 'total +[0-9.]+ ms'
	expect_match 'forking +[0-9.]+ ms'
	expect_match 'restoring +[0-9.]+ ms'
	expect_match 'pages restored +[1-9][0-9]*'
	expect_state "$CT" running
}

@test "restore --stats --format json" {
	dumped
	run_command -0 restored --stats --format json
	jq -e --arg id "$CT" '.id == $id and .duration > .criu.restore_time and .criu.pages_restored > 0' <<<"$output"
	inspect --format json images
	jq -e '.timings.restore.restore_time > 0' <<<"$output"
	rm images/stats-restore
	run_command -0 restored --stats --work-path "$PWD/work"
	expect_match 'pages restored +[1-9][0-9]*'
}

@test "restore: progress on a terminal, and then one line" {
	dumped
	pyrunc delete -f "$CT"
	run_command -0 env TERM=xterm python3 "$LIB/interminal.py" 24 100 sh -c '"$@" </dev/null' sh \
		"$PYRUNC" --root "$ROOT" restore -d --image-path "$PWD/images" "$CT" </dev/null
	expect $'\r\e[Krestore: reading images, ' $'\r\e[Krestore: restoring memory, '
	expect_match $'\r\e\\[Krestored: ([0-9.]+ (KiB|MiB) \\([0-9]+ pages\\) in )?[0-9.]+ s\r$'
	expect_state "$CT" running
}

@test "restore: progress of one in the foreground gives way to what the container prints" {
	require_criu
	writable
	script 'until [ -e /go ]; do sleep 0.1; done; exit 5'
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	run_pyrunc -0 checkpoint --image-path "$PWD/images" "$CT"
	touch rootfs/go
	run_command -5 env TERM=xterm python3 "$LIB/interminal.py" 24 100 sh -c '"$@" </dev/null' sh \
		"$PYRUNC" --root "$ROOT" restore --image-path "$PWD/images" "$CT" </dev/null
	expect $'\r\e[Krestore: reading images, '
	refute "restored: "
}

@test "restore: the loopback interface is up" {
	dumped
	restored
	run_pyrunc -0 exec "$CT" ip -o link show lo
	expect 'UP'
}
