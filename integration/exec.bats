#!/usr/bin/env bats
# exec: every flag, both forms, exit codes.
# bats file_tags=cgroups

load helpers

# process FILTER: process.json, an object for exec -p made from config.json's process.
process() {
	jq "$@" <(jq '.process' config.json) >process.json
}

@test "exec: output, arguments and status 0" {
	start_sleeper
	run_pyrunc -0 exec "$CT" echo one -two 'three four'
	expect_only 'one -two three four'
}

@test "exec: the status of the process" {
	start_sleeper
	run_pyrunc -42 exec "$CT" sh -c 'exit 42'
}

@test "exec: 128+N when killed by signal N" {
	start_sleeper
	run_pyrunc -143 exec "$CT" sh -c 'kill -TERM $$; sleep 5'
	run_pyrunc -137 exec "$CT" sh -c 'kill -KILL $$; sleep 5'
}

@test "exec: stdin, stdout and stderr" {
	start_sleeper
	output="$(printf 'a\nb\n' | pyrunc exec "$CT" cat 3>&-)"
	expect_only $'a\nb'
	pyrunc exec "$CT" sh -c 'echo one; echo two >&2' </dev/null >"$OUT.1" 2>"$OUT.2" 3>&-
	[[ $(cat "$OUT.1") == one && $(cat "$OUT.2") == two ]]
}

@test "exec: a command that does not exist is 255" {
	start_sleeper
	run_pyrunc -255 exec "$CT" nope
	expect 'exec failed: ' 'exec: "nope": executable file not found in $PATH'
	run_pyrunc -255 exec "$CT" /no/such
	expect 'exec failed: ' 'no such file or directory'
	expect_state "$CT" running
}

@test "exec: a file that is not executable is 255" {
	echo data >rootfs/data
	start_sleeper
	run_pyrunc -255 exec "$CT" /data
	expect 'exec failed: ' 'permission denied'
}

# newer than runc 1.1
@test "exec: an error of execve itself is one plain line and 255" {
	printf '#!/no/such/interpreter\n' >rootfs/run.sh
	chmod +x rootfs/run.sh
	start_sleeper
	run_pyrunc -255 exec "$CT" /run.sh
	expect_only 'exec /run.sh: no such file or directory'
}

@test "exec: an unknown container is 255" {
	run_pyrunc -255 exec no-such true
	expect 'exec failed: ' 'container does not exist'
}

@test "exec: a stopped container is 255" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -255 exec "$CT" true
	expect 'exec failed: ' 'cannot exec in a stopped container'
}

@test "exec: no command" {
	start_sleeper
	run_pyrunc exec "$CT"
	[[ $status -ne 0 ]]
	expect 'args cannot be empty'
}

@test "exec: no argument at all" {
	run_pyrunc -1 exec
	expect '"exec" requires a minimum of 1 argument'
}

@test "exec: namespaces, root and hostname are the container's" {
	start_sleeper
	local pid ns
	pid="$(init_pid "$CT")"
	for ns in pid mnt ipc net uts; do
		run_pyrunc -0 exec "$CT" readlink "/proc/self/ns/$ns"
		expect_only "$(readlink "/proc/$pid/ns/$ns")"
	done
	run_pyrunc -0 exec "$CT" hostname
	expect_only "$(jq -r .hostname config.json)"
}

@test "exec: the cgroup is the container's" {
	start_sleeper
	if is_v2; then # where the container's cgroup namespace shows its cgroup as the root
		run_detached -0 exec -d --pid-file pid "$CT" sleep 1000
		[[ $(cat "/proc/$(cat pid)/cgroup") == *"0::$BELOW" ]]
		return
	fi
	run_pyrunc -0 exec "$CT" cat /proc/self/cgroup
	expect ":devices:$BELOW" ":pids:$BELOW" ":memory:$BELOW"
	! is_hybrid || expect "0::$BELOW"
}

@test "exec: the process ends with the container" {
	start_sleeper
	run_detached -0 exec -d --pid-file pid "$CT" sleep 1000
	run_pyrunc -0 kill "$CT" KILL
	wait_for_state "$CT" stopped
	wait_for test ! -d "/proc/$(cat pid)"
}

@test "exec -d: returns at once; --pid-file without newline" {
	start_sleeper
	run_detached -0 exec --detach --pid-file "$BATS_TEST_TMPDIR/pid" "$CT" sleep 1000
	local pid
	pid="$(cat "$BATS_TEST_TMPDIR/pid")"
	[[ $(cat "$BATS_TEST_TMPDIR/pid"; echo .) == "$pid." ]]
	wait_for executes "$pid" 'sleep 1000 '
	[[ $pid != "$(init_pid "$CT")" ]]
}

@test "exec -d: failing to start is 255" {
	start_sleeper
	run_detached -255 exec -d "$CT" nope
	expect 'executable file not found in $PATH'
}

@test "exec --cwd" {
	start_sleeper
	run_pyrunc -0 exec --cwd /home/user "$CT" pwd
	expect_only /home/user
	run_pyrunc -255 exec --cwd /no/such "$CT" pwd
	expect '/no/such' 'no such file or directory'
	[[ ! -e rootfs/no ]]
}

@test "exec --env: added to the container's, the last one wins" {
	edit '.process.env += ["A=config", "B=config"]'
	start_sleeper
	run_pyrunc -0 exec --env A=1 --env C=2,3 --env A=last "$CT" env
	expect A=last B=config C=2,3 PATH=
	refute A=1 A=config
}

@test "exec --user" {
	start_sleeper
	run_pyrunc -0 exec --user 1000:50 "$CT" id
	expect 'uid=1000(user) gid=50(staff)'
	run_pyrunc -0 exec -u 1000 "$CT" sh -c 'id -u; id -g; echo $HOME'
	expect_only $'1000\n0\n/home/user'
}

@test "exec --user: bad values" {
	start_sleeper
	run_pyrunc -255 exec --user name "$CT" true
	run_pyrunc -255 exec --user 0:name "$CT" true
	run_pyrunc -255 exec --user '' "$CT" true || true
	expect_state "$CT" running
}

@test "exec --additional-gids" {
	only_root
	start_sleeper
	run_pyrunc -0 exec --user 1000:1000 -g 50 -g 99 "$CT" id -G
	expect_only '1000 50 99'
}

@test "exec --additional-gids: negative" {
	start_sleeper
	run_pyrunc -255 exec --additional-gids -1 "$CT" true
	expect 'additional-gids must be a positive number'
}

@test "exec --cap: bounding, effective, permitted, and ambient only with an inheritable set" {
	edit '.process.capabilities = {bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"]}'
	start_sleeper
	run_pyrunc -0 exec "$CT" grep Cap /proc/self/status
	expect $'CapInh:\t0000000000000000' $'CapPrm:\t0000000000000020' $'CapEff:\t0000000000000020' \
		$'CapBnd:\t0000000000000020' $'CapAmb:\t0000000000000000'
	run_pyrunc -0 exec -c CAP_CHOWN -c CAP_NET_RAW "$CT" grep Cap /proc/self/status
	expect $'CapInh:\t0000000000000000' $'CapPrm:\t0000000000002021' $'CapEff:\t0000000000002021' \
		$'CapBnd:\t0000000000002021' $'CapAmb:\t0000000000000000'
}

@test "exec --no-new-privs" {
	edit '.process.noNewPrivileges = false'
	start_sleeper
	run_pyrunc -0 exec "$CT" grep NoNewPrivs /proc/self/status
	expect_only $'NoNewPrivs:\t0'
	run_pyrunc -0 exec --no-new-privs "$CT" grep NoNewPrivs /proc/self/status
	expect_only $'NoNewPrivs:\t1'
}

@test "exec --preserve-fds" {
	probe_in_rootfs
	start_sleeper
	run pyrunc exec --preserve-fds 2 "$CT" probe fds </dev/null 3</etc/hostname 4</etc/passwd 5</etc/group
	[[ $status -eq 0 ]]
	expect '3 /etc/hostname' '4 /etc/passwd'
	refute '5 '
	run pyrunc exec "$CT" probe fds </dev/null 3</etc/hostname
	refute '3 '
}

@test "exec --preserve-fds: a descriptor that is not open" {
	start_sleeper
	run_pyrunc exec --preserve-fds 40 "$CT" true
	[[ $status -ne 0 ]]
	expect 'unable to stat preserved-fd ' ' (of 40)'
}

@test "exec --process: the object alone counts" {
	edit '.process.env += ["A=config"]'
	start_sleeper
	process '.args = ["sh", "-c", "pwd; id -u; env"] | .cwd = "/tmp" | .user = {uid: 1000, gid: 1000} | .env = ["PATH=/bin", "B=1"]'
	run_pyrunc -0 exec --process process.json --cwd /root --env C=1 "$CT"
	expect $'/tmp\n1000\n' B=1 HOME=/home/user
	refute A=config C=1
	run_pyrunc -0 exec -p process.json "$CT"
	expect $'/tmp\n1000\n'
}

@test "exec --process: its status, and its failures" {
	start_sleeper
	process '.args = ["sh", "-c", "exit 9"]'
	run_pyrunc -9 exec -p process.json "$CT"
	process '.args = ["nope"]'
	run_pyrunc -255 exec -p process.json "$CT"
	expect 'executable file not found'
	run_pyrunc -255 exec -p none.json "$CT"
	expect 'no such file or directory'
	echo 'not json' >process.json
	run_pyrunc -255 exec -p process.json "$CT"
	echo '{}' >process.json
	run_pyrunc -255 exec -p process.json "$CT"
	expect_state "$CT" running
}

@test "exec --process: rlimits and no new privileges of the object, absent means none" {
	edit '.process.noNewPrivileges = true | .process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}]'
	start_sleeper
	process '.args = ["sh", "-c", "ulimit -n; grep NoNew /proc/self/status"] | del(.rlimits, .noNewPrivileges)'
	run_pyrunc -0 exec -p process.json "$CT"
	expect $'NoNewPrivs:\t0'
	[[ ${lines[0]} -gt 200 ]]
	process '.args = ["sh", "-c", "ulimit -n"] | .rlimits = [{type: "RLIMIT_NOFILE", soft: 50, hard: 60}]'
	run_pyrunc -0 exec -p process.json "$CT"
	expect_only 50
}

@test "exec: capabilities absent from the object come from the container" {
	edit '.process.capabilities = {bounding: ["CAP_KILL"], effective: ["CAP_KILL"], permitted: ["CAP_KILL"]}'
	start_sleeper
	process '.args = ["grep", "CapEff", "/proc/self/status"] | del(.capabilities)'
	run_pyrunc -0 exec -p process.json "$CT"
	expect_only $'CapEff:\t0000000000000020'
	process '.args = ["grep", "CapEff", "/proc/self/status"] | .capabilities = {bounding: ["CAP_CHOWN"], effective: ["CAP_CHOWN"], permitted: ["CAP_CHOWN"]}'
	run_pyrunc -0 exec -p process.json "$CT"
	expect_only $'CapEff:\t0000000000000001'
}

@test "exec: rlimits of config.json hold without --process" {
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}]'
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -c 'ulimit -Sn; ulimit -Hn'
	expect_only $'100\n200'
}

@test "exec: config.json is read again, the saved one is not enough" {
	start_sleeper
	edit '.process.env += ["LATER=1"]'
	run_pyrunc -0 exec "$CT" env
	expect LATER=1
	rm config.json
	run_pyrunc -255 exec "$CT" env
}

@test "exec --cgroup: a sub-cgroup" {
	only_v2
	start_sleeper
	mkdir "$(cgroup any)/sub"
	run_detached -0 exec -d --pid-file pid --cgroup sub "$CT" sleep 1000
	[[ $(cat "/proc/$(cat pid)/cgroup") == *"0::$BELOW/sub" ]]
}

@test "exec --cgroup: a sub-cgroup of every controller, or of some" {
	only_v1
	start_sleeper
	local controller
	for controller in "$CGROUPS"/*/"$CGROUP"; do
		mkdir "$controller/sub"
	done
	cp "$CGROUPS/cpuset/$CGROUP/cpuset.cpus" "$CGROUPS/cpuset/$CGROUP/sub/cpuset.cpus"
	cp "$CGROUPS/cpuset/$CGROUP/cpuset.mems" "$CGROUPS/cpuset/$CGROUP/sub/cpuset.mems"
	run_pyrunc -0 exec --cgroup sub "$CT" cat /proc/self/cgroup
	expect ":pids:/$CGROUP/sub" ":memory:/$CGROUP/sub"
	run_pyrunc -0 exec --cgroup pids,memory:sub "$CT" cat /proc/self/cgroup
	expect ":pids:/$CGROUP/sub" ":memory:/$CGROUP/sub" ":devices:/$CGROUP"
	refute ":devices:/$CGROUP/sub"
}

@test "exec --cgroup: refusals" {
	start_sleeper
	# a user's errors in cgroups are ignored
	run_pyrunc "-$((EUID == 0 ? 255 : 0))" exec --cgroup nowhere "$CT" true
	run_pyrunc -255 exec --cgroup ../out "$CT" true
	run_pyrunc -255 exec --cgroup nocontroller:sub "$CT" true
	expect 'unknown controller nocontroller in SubCgroupPaths'
	run_pyrunc -255 exec --cgroup pids:a:b "$CT" true
	expect 'invalid --cgroup argument'
}

# newer than runc 1.1
@test "exec --cgroup: a path out of the container's cgroup" {
	start_sleeper
	run_pyrunc -255 exec --cgroup ../out "$CT" true
	expect 'bad sub cgroup path'
	run_pyrunc -255 exec --cgroup pids:../out "$CT" true
	if is_v2; then
		expect 'unknown controller pids in SubCgroupPaths'
	else
		expect 'bad sub cgroup path'
	fi
}

@test "exec: a paused container is refused but for --ignore-paused" {
	start_sleeper
	freeze
	expect_state "$CT" paused
	run_pyrunc -255 exec "$CT" true
	expect 'cannot exec in a paused container (use --ignore-paused to override)'
	"$PYRUNC" --root "$ROOT" exec --ignore-paused "$CT" echo thawed </dev/null >"$OUT" 2>&1 3>&- &
	local pid=$!
	sleep 0.3
	thaw
	wait "$pid"
	grep -qx thawed "$OUT"
}

@test "exec: many at a time" {
	start_sleeper
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		"$PYRUNC" --root "$ROOT" exec "$CT" echo "number $i" </dev/null >"$OUT.$i" 2>&1 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i"
	done
	[[ $(cat "$OUT".[1-8] | sort | tail -1) == 'number 8' ]]
}

@test "exec: /proc/self/exe of a joining process cannot be used to reach the host's files" {
	start_sleeper
	local before
	before="$(sha256sum "$PYRUNC")"
	run_pyrunc exec "$CT" /proc/self/exe
	[[ $status -ne 0 ]]
	run_pyrunc exec "$CT" sh -c 'for p in /proc/[0-9]*; do echo >$p/exe; done'
	[[ $(sha256sum "$PYRUNC") == "$before" ]]
}

@test "exec: no descriptor of the runtime is left open" {
	probe_in_rootfs
	start_sleeper
	run_pyrunc -0 exec "$CT" probe fds
	[[ $(cut -d' ' -f1 <<<"$output" | sort -n | tr '\n' ' ') == '0 1 2 ' ]]
}

@test "exec: signals are forwarded" {
	start_sleeper
	"$PYRUNC" --root "$ROOT" exec "$CT" sh -c \
		'trap "exit 33" TERM; echo ready; while :; do sleep 0.05; done' </dev/null >"$OUT" 2>&1 3>&- &
	local pid=$! code=0
	wait_for grep -q ready "$OUT"
	kill -TERM "$pid"
	wait "$pid" || code=$?
	[[ $code -eq 33 ]]
}

@test "exec --exec-wait-fifo: the program waits for who reads" {
	start_sleeper
	mkfifo wait.fifo
	"$PYRUNC" --root "$ROOT" exec -d --pid-file pid --exec-wait-fifo wait.fifo "$CT" sh -c 'echo it runs; exec sleep 100' </dev/null >"$OUT" 2>&1 3>&-
	sleep 0.3
	[[ ! -s $OUT && $(readlink "/proc/$(cat pid)/exe") != *busybox ]]
	[[ $(timeout "$PATIENCE" cat wait.fifo) == 0 ]]
	wait_for grep -q 'it runs' "$OUT"
	wait_for executes "$(cat pid)" 'sleep 100 '
}

@test "exec --exec-wait-fifo: in the foreground, with no descriptor left open" {
	probe_in_rootfs
	start_sleeper
	mkfifo wait.fifo
	timeout "$PATIENCE" cat wait.fifo >"$OUT" 3>&- &
	run_pyrunc -0 exec --exec-wait-fifo wait.fifo "$CT" probe fds
	[[ $(cut -d' ' -f1 <<<"$output" | sort -n | tr '\n' ' ') == '0 1 2 ' ]]
	wait
	[[ $(cat "$OUT") == 0 ]]
}

@test "exec --exec-wait-fifo: something else than a fifo, and nothing" {
	start_sleeper
	touch file
	run_pyrunc -255 exec --exec-wait-fifo file "$CT" true
	expect 'file is not a fifo'
	run_pyrunc -255 exec --exec-wait-fifo nowhere "$CT" true
	expect 'failed to open exec wait fifo: ' 'nowhere: no such file or directory'
}
