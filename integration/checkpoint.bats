#!/usr/bin/env bats
# checkpoint: the command line, what it refuses, what it leaves and what it does not.

load helpers

setup() {
	require_criu
	setup_bundle
	writable
	IMAGES="$BATS_TEST_TMPDIR/images"
	script 'while :; do sleep 1; done'
}

running() { # with the null device as its stdio
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for_program
}

@test "checkpoint: the container ends, its images stay" {
	running
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	[[ -z $output ]]
	[[ -s $IMAGES/inventory.img && -s $IMAGES/pages-1.img ]]
	[[ $(cat "$IMAGES/descriptors.json") == '["/dev/null","/dev/null","/dev/null"]' ]]
	[[ $(stat -c %a "$IMAGES") == 700 ]]
	nothing_left "$CT"
	no_cgroup_left
}

@test "checkpoint: flags as engines give them" {
	running
	# podman passes --leave-running twice; go-runc knows --flag=value and --flag value
	run_pyrunc -0 checkpoint --image-path="$IMAGES" --work-path "$BATS_TEST_TMPDIR" --leave-running --tcp-established \
		--file-locks --leave-running "$CT"
	expect_state "$CT" running
	[[ -s $BATS_TEST_TMPDIR/dump.log ]]
	rm -r "$IMAGES"
	run_pyrunc -0 checkpoint -image-path "$IMAGES" --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns \
		network --manage-cgroups-mode soft --leave-running "$CT"
	rm -r "$IMAGES"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" --link-remap --tcp-skip-in-flight --tcp-close --network-lock skip \
		--timeout 20 --ghost-limit 2M "$CT"
	nothing_left "$CT"
}

@test "checkpoint: help says that it is supported" {
	run_pyrunc -0 checkpoint --help
	[[ $output == *--image-path* && $output == *--pre-dump* ]]
}

@test "checkpoint: the log of CRI-O's directory keeps its file" {
	running
	mkdir "$IMAGES"
	touch "$IMAGES/dump.log"
	local inode
	inode=$(stat -c %i "$IMAGES/dump.log")
	run_pyrunc -0 checkpoint --image-path "$IMAGES" --work-path "$IMAGES" "$CT"
	[[ $(stat -c %i "$IMAGES/dump.log") == "$inode" && -s $IMAGES/dump.log ]]
}

@test "checkpoint: into a directory that is not empty, nothing is written or built on elsewhere" {
	running
	mkdir "$IMAGES" "$BATS_TEST_TMPDIR/elsewhere"
	echo precious | tee "$BATS_TEST_TMPDIR/a" >"$BATS_TEST_TMPDIR/b"
	ln -s ../a "$IMAGES/pages-1.img"
	ln "$BATS_TEST_TMPDIR/b" "$IMAGES/core-1.img"
	ln -s ../a "$IMAGES/dump.log"
	mkfifo "$IMAGES/stats-dump"
	ln -s ../elsewhere "$IMAGES/parent"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	[[ $(cat "$BATS_TEST_TMPDIR"/[ab]) == $'precious\nprecious' ]]
	[[ -f $IMAGES/pages-1.img && -s $IMAGES/dump.log && -s $IMAGES/stats-dump && ! -L $IMAGES/parent ]]
}

@test "checkpoint: what it does not take" {
	running
	local line
	while read -r words message; do
		# shellcheck disable=SC2086  # words
		run_pyrunc -1 checkpoint --leave-running --image-path "$IMAGES" ${words//,/ } "$CT"
		[[ $output == *"$message"* ]]
		expect_state "$CT" running
	done <<-'END'
		--page-server,host Use --page-server ADDRESS:PORT to specify page server
		--page-server,host:0 Invalid port number
		--empty-ns,mount is not supported
		--manage-cgroups-mode,all invalid manage-cgroups-mode value
		--network-lock,ebpf invalid network-lock value
		--parent-path,/tmp --parent-path must be relative
		--parent-path,../gone invalid --parent-path
		--lazy-pages,--status-fd,99 invalid --status-fd argument 99
		--timeout,-1 invalid --timeout value -1
		--ghost-limit,big invalid size
	END
	run_pyrunc -1 checkpoint --image-path "$IMAGES" nobody
	[[ $output == *"container does not exist"* ]]
}

@test "checkpoint: created and stopped containers" {
	run_pyrunc -0 create "$CT" </dev/null
	run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
	[[ $output == *"Container cannot be checkpointed in created state"* ]]
	run_pyrunc -0 start "$CT"
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
	[[ $output == *"Container cannot be checkpointed in stopped state"* ]]
	[[ ! -e $IMAGES ]]
}

@test "checkpoint: a failure says why in one line, quotes the log, and changes nothing" {
	script 'exec 3<>/one; ln /one /two; rm /one; touch /tmp/ready; while :; do sleep 1; done'
	running
	wait_for test -e rootfs/tmp/ready
	run_pyrunc -1 --log "$BATS_TEST_TMPDIR/log" --log-format json checkpoint --image-path "$IMAGES" "$CT"
	[[ ${#lines[@]} -eq 1 && ${lines[0]} == *"the container has deleted files open: use --link-remap"*"(log file: $IMAGES/dump.log)"* ]]
	jq -se 'map(select(.level == "warning")) | length > 2 and (.[0].msg | startswith("--- Quoting"))' "$BATS_TEST_TMPDIR/log"
	expect_state "$CT" running
	run_pyrunc -0 exec "$CT" true
}

@test "checkpoint: --debug tells the options" {
	running
	run_pyrunc -0 --debug checkpoint --image-path "$IMAGES" "$CT"
	[[ $output == *"CRIU option leave_running with value False"* && $output == *"notify: post-dump"* ]]
}

@test "checkpoint: the images' path is relative to the caller's directory" {
	running
	cd "$BATS_TEST_TMPDIR"
	run_pyrunc -0 checkpoint "$CT"
	[[ -s $BATS_TEST_TMPDIR/checkpoint/inventory.img ]]
}

@test "checkpoint: poststop hooks run" {
	edit '.hooks.poststop = [{path: "/bin/sh", args: ["sh", "-c", "cat >'"$BATS_TEST_TMPDIR"'/hook"]}]'
	running
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	[[ $(jq -r .status "$BATS_TEST_TMPDIR/hook") == stopped ]]
}
