#!/usr/bin/env bats
# hooks: all six kinds, their order, place, input, environment, timeout and failures.

load helpers

KINDS='prestart createRuntime createContainer startContainer poststart poststop'

setup() {
	setup_bundle
	LOG="$BUNDLE/rootfs/log"
	writable
	# One program for all: it notes its name and keeps its input. Outside and inside it is the same file.
	cat >rootfs/hook <<'END'
#!/bin/sh
log="$(dirname "$(readlink -f "$0")")/log"
echo "$1" >>"$log"
cat >"$log.$1"
END
	chmod +x rootfs/hook
	script 'echo process >>/log'
}

# hook KIND JSON: adds one.
hook() {
	edit --arg kind "$1" --argjson hook "$2" '.hooks[$kind] += [$hook]'
}

all_hooks() {
	local kind path
	for kind in $KINDS; do
		path="$BUNDLE/rootfs/hook"
		[[ $kind != startContainer ]] || path=/hook
		hook "$kind" "{\"path\": \"$path\", \"args\": [\"hook\", \"$kind\"]}"
	done
}

# sh_hook KIND TEXT: a hook that runs this with sh.
sh_hook() {
	local text
	text="$(jq -n --arg text "$2" '{path: "/bin/sh", args: ["sh", "-c", $text]}')"
	hook "$1" "$text"
}

# newer than runc 1.1 (poststart before the process)
@test "hooks: the order" {
	all_hooks
	run_detached -0 create "$CT"
	[[ $(cat "$LOG") == $'prestart\ncreateRuntime\ncreateContainer' ]]
	run_pyrunc -0 start "$CT"
	wait_for_state "$CT" stopped
	[[ $(head -4 "$LOG" | tail -1) == startContainer ]]
	[[ $(sort "$LOG" | tr '\n' ' ') == 'createContainer createRuntime poststart prestart process startContainer ' ]]
	run_pyrunc -0 delete "$CT"
	[[ $(tail -1 "$LOG") == poststop ]]
}

# newer than runc 1.1 (poststart before the process)
@test "hooks: each gets the state on stdin" {
	edit '.annotations = {"key": "value"}'
	all_hooks
	sleeper
	run_detached -0 create "$CT"
	local pid kind
	pid="$(init_pid "$CT")"
	run_pyrunc -0 start "$CT"
	wait_for test -s "$LOG.poststart"
	run_pyrunc -0 delete -f "$CT"
	for kind in $KINDS; do
		echo "$kind: $(cat "$LOG.$kind")"
		jq -e --arg id "$CT" --arg bundle "$BUNDLE" \
			'.id == $id and .bundle == $bundle and .annotations.key == "value" and (.ociVersion | type) == "string"' "$LOG.$kind"
	done
	jq -e --argjson pid "$pid" '.status == "creating" and .pid == $pid' "$LOG.prestart"
	jq -e --argjson pid "$pid" '.status == "creating" and .pid == $pid' "$LOG.createRuntime"
	jq -e '.status == "creating"' "$LOG.createContainer"
	jq -e '.status == "created"' "$LOG.startContainer"
	jq -e --argjson pid "$pid" '.status == "running" and .pid == $pid' "$LOG.poststart"
	jq -e '.status == "stopped" and (.pid // 0) == 0' "$LOG.poststop"
}

@test "hooks: run in the namespaces that are theirs" {
	local kind
	for kind in $KINDS; do
		sh_hook "$kind" "for at in $BUNDLE/rootfs /; do [ ! -e \$at/hook ] || { readlink /proc/self/ns/mnt >\$at/ns.$kind; pwd >\$at/cwd.$kind; break; }; done"
	done
	edit '.process.cwd = "/tmp"'
	script 'readlink /proc/self/ns/mnt >/ns.process; sleep 100'
	run_detached -0 create "$CT"
	run_pyrunc -0 start "$CT"
	wait_for test -s rootfs/ns.process
	run_pyrunc -0 delete -f "$CT"
	local host inside
	host="$(readlink /proc/self/ns/mnt)"
	inside="$(cat rootfs/ns.process)"
	for kind in prestart createRuntime poststart poststop; do
		[[ $(cat "rootfs/ns.$kind") == "$host" ]]
		[[ $(cat "rootfs/cwd.$kind") == "$BUNDLE" ]]
	done
	[[ $(cat rootfs/ns.createContainer) == "$inside" && $(cat rootfs/cwd.createContainer) == "$BUNDLE/rootfs" ]]
	[[ $(cat rootfs/ns.startContainer) == "$inside" && $(cat rootfs/cwd.startContainer) == /tmp ]]
}

@test "hooks: createRuntime sees the cgroup and the namespaces, before pivot_root" {
	edit '.linux.resources.pids = {limit: 77}'
	sh_hook createRuntime "cat $CGROUPS/pids/$CGROUP/pids.max >$LOG; pid=\$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')
		readlink /proc/\$pid/ns/net >>$LOG; readlink /proc/self/ns/net >>$LOG"
	script true
	run_pyrunc -0 run "$CT"
	[[ $(head -1 "$LOG") == 77 && $(sed -n 2p "$LOG") != "$(sed -n 3p "$LOG")" && $(sed -n 2p "$LOG") == net:* ]]
}

@test "hooks: what prestart mounts in the root is in the container" {
	sh_hook createContainer "mkdir -p $BUNDLE/rootfs/mnt/sub && mount -t tmpfs none $BUNDLE/rootfs/mnt/sub && touch $BUNDLE/rootfs/mnt/sub/seen"
	script 'ls /mnt/sub'
	run_pyrunc -0 run "$CT"
	expect_only seen
	[[ -z $(ls rootfs/mnt/sub) ]]
}

@test "hooks: startContainer runs as the process's user, with its environment" {
	chmod 1777 rootfs/tmp
	edit '.process.user = {uid: 1000, gid: 1000} | .process.env += ["A=b"]'
	edit '.hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "id -u >/tmp/id; env >/tmp/env; cat /tmp/env"]}]'
	script true
	run_pyrunc -0 run "$CT"
	[[ $(cat rootfs/tmp/id) == 1000 ]]
	grep -qx A=b rootfs/tmp/env
}

@test "hooks: env is what the hook says" {
	local kind
	for kind in prestart createRuntime createContainer startContainer poststart poststop; do
		edit --arg kind "$kind" --arg log "$LOG" \
			'.hooks[$kind] = [{path: "/bin/sh", args: ["sh", "-c", "log=\($log); [ ! -e /hook ] || log=/log; env >$log.\($kind)"], env: ["ONLY=\($kind)"]}]'
	done
	script true
	run_command -0 env OUTSIDE=1 "$PYRUNC" --root "$ROOT" run "$CT"
	for kind in $KINDS; do
		grep -qx "ONLY=$kind" "$LOG.$kind"
		! grep -q OUTSIDE "$LOG.$kind" || false
	done
}

@test "hooks: without env, those on the host have the runtime's" {
	local kind
	for kind in prestart createRuntime poststart poststop; do
		sh_hook "$kind" "env >$LOG.$kind"
	done
	script true
	run_command -0 env OUTSIDE=1 "$PYRUNC" --root "$ROOT" run "$CT"
	for kind in prestart createRuntime poststart poststop; do
		grep -qx OUTSIDE=1 "$LOG.$kind"
	done
}

@test "hooks: args are the whole argv; none means the path" {
	cat >rootfs/argv <<'END'
#!/bin/sh
tr '\0' ' ' </proc/$$/cmdline >>"$(dirname "$(readlink -f "$0")")/log"
END
	chmod +x rootfs/argv
	hook createRuntime "{\"path\": \"$(command -v busybox)\", \"args\": [\"touch\", \"$BUNDLE/touched\"]}"
	hook createRuntime "{\"path\": \"$BUNDLE/rootfs/argv\"}"
	script true
	run_pyrunc -0 run "$CT"
	[[ -e touched && $(cat "$LOG") == "/bin/sh $BUNDLE/rootfs/argv " ]]
}

@test "hooks: several of one kind run in order" {
	local n
	for n in 1 2 3; do
		sh_hook createRuntime "echo $n >>$LOG"
	done
	script true
	run_pyrunc -0 run "$CT"
	[[ $(cat "$LOG") == $'1\n2\n3' ]]
}

@test "hooks: a failure fails create, runs the later ones not, and leaves nothing" {
	local kind
	for kind in prestart createRuntime createContainer; do
		edit 'del(.hooks)'
		sh_hook "$kind" 'echo to stdout; echo to stderr >&2; exit 3'
		sh_hook "$kind" "touch $LOG.second"
		run_pyrunc -1 create "$CT"
		expect 'hook #0:' 'exit status 3' 'to stdout' 'to stderr'
		[[ ! -e $LOG.second ]]
		nothing_left "$CT"
	done
}

# newer than runc 1.1
@test "hooks: the words of a failure" {
	local kind
	for kind in prestart createRuntime createContainer; do
		edit 'del(.hooks)'
		sh_hook "$kind" true
		sh_hook "$kind" 'echo to stdout; echo to stderr >&2; exit 3'
		run_pyrunc -1 create "$CT"
		expect "error running $kind hook #1: exit status 3, stdout: to stdout" 'stderr: to stderr'
	done
}

@test "hooks: a failing startContainer hook fails run; the process never starts" {
	edit '.hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "exit 4"]}]'
	run_pyrunc run "$CT"
	[[ $status -ne 0 && ! -e $LOG ]]
	nothing_left "$CT"
}

@test "hooks: a failing startContainer hook fails start too" {
	edit '.hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "exit 4"]}]'
	run_detached -0 create "$CT"
	run_pyrunc start "$CT"
	wait_for_state "$CT" stopped
	[[ ! -e $LOG ]]
}

# newer than runc 1.1
@test "hooks: a failing poststart hook kills the container and fails start, but keeps it" {
	sh_hook poststart 'exit 5'
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -1 start "$CT"
	expect 'error running poststart hook #0: exit status 5'
	wait_for_state "$CT" stopped
	run_pyrunc -0 delete "$CT"
}

# newer than runc 1.1
@test "hooks: a failing poststop hook is an error after everything is gone" {
	sh_hook poststop 'exit 6'
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -1 delete -f "$CT"
	expect 'error running poststop hook #0: exit status 6'
	nothing_left "$CT"
}

@test "hooks: poststop runs when create fails" {
	sh_hook createRuntime 'exit 1'
	sh_hook poststop "echo poststop >>$LOG"
	run_pyrunc -1 create "$CT"
	[[ $(cat "$LOG") == poststop ]]
}

@test "hooks: a timeout kills the hook and fails create" {
	hook createRuntime '{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}'
	local begin=$SECONDS
	run_pyrunc -1 create "$CT"
	expect 'hook ran past specified timeout of 1'
	((SECONDS - begin < 500)) # half of its sleep: it was not waited for
	nothing_left "$CT"
}

@test "hooks: a program that is missing" {
	local kind
	for kind in prestart createRuntime createContainer; do
		edit 'del(.hooks)'
		hook "$kind" '{"path": "/no/such/hook"}'
		run_pyrunc -1 create "$CT"
		expect 'no such file or directory'
	done
	nothing_left "$CT"
}

@test "hooks: their output is not shown when they succeed" {
	sh_hook createRuntime 'echo noise; echo noise >&2'
	script 'echo only'
	run_pyrunc -0 run "$CT"
	expect_only only
}

@test "hooks: a hook that does not read its input" {
	sh_hook createRuntime 'exec 0<&-; exit 0'
	edit '.annotations = {big: ("x" * 200000)}'
	script 'echo done'
	run_pyrunc -0 run "$CT"
	expect_only "done"
}

@test "hooks: startContainer runs under the seccomp filter" {
	edit '.hooks.startContainer = [{path: "/bin/mkdir", args: ["mkdir", "/made"]}]
		| .process.noNewPrivileges = true
		| .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO"}]}'
	run_pyrunc run "$CT"
	[[ $status -ne 0 && ! -e rootfs/made ]]
}
