#!/usr/bin/env bats
# What callers of runc are used to, seen where the two differed.

load helpers

in_userns() {
	edit '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 200000, size: 65536}]
		| .linux.gidMappings = .linux.uidMappings'
	chown -R 200000:200000 rootfs
}

@test "compat: what asks a program to end, ends a container that was created only" {
	local signal
	sleeper
	for signal in TERM INT QUIT HUP; do
		run_detached -0 create "$CT"
		run_pyrunc -0 kill "$CT" "$signal"
		wait_for_state "$CT" stopped
		run_pyrunc -0 delete "$CT"
	done
}

@test "compat: a signal that is only news does not end it" {
	sleeper
	run_detached -0 create "$CT"
	run_pyrunc -0 kill "$CT" USR1
	sleep 0.2
	expect_state "$CT" created
}

@test "compat: a frozen cgroup that only the freezer has is refused at once" {
	local dir="$CGROUPS/freezer/$CGROUP"
	[[ -d $CGROUPS/freezer ]] || skip 'no v1 freezer'
	mkdir "$dir"
	echo FROZEN >"$dir/freezer.state"
	run_command -1 timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" create "$CT"
	expect "container's cgroup unexpectedly frozen"
	rmdir "$dir"
}

@test "compat: masked directories are one file system" {
	mkdir rootfs/one rootfs/two rootfs/three
	edit '.linux.maskedPaths += ["/one", "/no/such", "/two", "/etc/passwd", "/three"]'
	script 'stat -c %d /one /two /three | uniq | wc -l; ls -A /one; ls -A /two; ls -A /three; for d in one two three; do
		grep -c " /$d tmpfs ro" /proc/mounts; done'
	run_pyrunc run "$CT"
	expect_only $'1\n1\n1\n1'
}

@test "compat: a destination may be the host's path of a place in the rootfs" {
	mkdir source rootfs/place
	echo content >source/file
	add_mount "$PWD/rootfs/place" bind "$PWD/source" bind
	script 'cat /place/file'
	run_pyrunc -0 run "$CT"
	expect_only content
}

@test "compat: a source that is a mount of the container, id-mapped, in a user namespace" {
	mkdir -p rootfs/first rootfs/second source
	echo content >source/file
	chown 200007:200008 source/file
	in_userns
	add_mount /first bind "$PWD/source" bind
	add_mount /second bind "$PWD/rootfs/first" bind idmap
	chown 7:8 source/file
	script 'stat -c %u:%g /second/file; cat /second/file'
	run_pyrunc -0 run "$CT"
	expect_only $'7:8\ncontent'
}

# locked -N OPTIONS WORD...: run with a bind mount that has the words, of a tmpfs with the options.
locked() {
	local status=$1 options=$2
	shift 2
	add_mount /mnt bind "$PWD/source" bind "$@"
	run_command "$status" unshare -m sh -c 'mount -t tmpfs tmpfs source && mount --bind -o "remount,$0" source &&
		exec "$PYRUNC" --root "$ROOT" run "$CT"' "$options"
	edit 'del(.mounts[-1])'
}

@test "compat: a locked flag that shall be cleared is named, and the kernel's answer" {
	mkdir source
	in_userns
	locked -1 ro rw
	expect 'error mounting' 'cannot clear locked flags MS_RDONLY:' 'operation not permitted'
	locked -1 ro,nodev,noexec rw nosuid dev
	expect 'cannot clear locked flags MS_RDONLY|MS_NODEV:'
	locked -1 nodev,noatime atime
	expect 'cannot clear locked flags MS_NOATIME:'
	locked -1 nodev,strictatime nostrictatime
	expect 'cannot clear locked flags MS_STRICTATIME:'
}

@test "compat: locked flags stay, with the atime flag that the source has and no other" {
	mkdir source
	in_userns
	script 'sed -n "s,.* /mnt tmpfs \([^ ]*\).*,\1,p" /proc/mounts | sed s/,inode64//'
	locked -0 nodev,relatime relatime
	expect_only rw,nodev,relatime
	locked -0 noexec,noatime,nodiratime nosuid noatime nodiratime
	expect_only rw,nosuid,noexec,noatime,nodiratime
	locked -0 nodev,strictatime ro strictatime
	expect_only ro,nodev
	locked -1 nodev,noatime relatime
	expect 'cannot change locked atime flags MS_NOATIME:'
}

@test "compat: a shared propagation without pivot_root leaves the root of the host alone" {
	edit '.linux.rootfsPropagation = "rshared"'
	script 'sed -n "s, / / .*\(shared\):.*,\1,p" /proc/self/mountinfo'
	run_command -0 unshare -m sh -ec 'mount --make-rshared /
		before=$(grep -c " / / " /proc/self/mountinfo)
		"$PYRUNC" --root "$ROOT" run --no-pivot "$CT" >/dev/null
		after=$(grep -c " / / " /proc/self/mountinfo)
		[ "$before" = "$after" ] && echo unharmed'
	expect_only unharmed
}

@test "compat: a slave propagation is one" {
	edit '.linux.rootfsPropagation = "slave"'
	script 'grep -c " / / .* master:\| / [^ ]* master:\| [^ ]*/rootfs / .* master:" /proc/self/mountinfo'
	run_command -0 unshare -m sh -c 'mount --make-rshared / && exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect_only 1
}

@test "compat: what stands in the place of a device node is told" {
	edit '.linux.devices += [{path: "/data/null", type: "c", major: 1, minor: 3}]'
	script true
	mkdir rootfs/data
	touch rootfs/data/null
	run_pyrunc -1 run "$CT"
	expect '/data/null has incorrect ftype'
	rm rootfs/data/null
	mknod rootfs/data/null c 1 5
	run_pyrunc -1 run "$CT"
	expect "/data/null has incorrect major:minor: 1:5 doesn't match expected 1:3"
	rm rootfs/data/null
	mknod rootfs/data/null c 1 3
	run_pyrunc -0 run "$CT"
}

@test "compat: exec into a sub-cgroup that is missing names the process" {
	start_sleeper
	run_pyrunc -255 exec --cgroup nowhere "$CT" true
	expect 'error adding pid ' 'no such file or directory'
}

EXESEAL=('runc exeseal: using /proc/self/exe clone' 'runc exeseal: using overlayfs for sealed /proc/self/exe')

@test "compat: the debug messages of run that test suites look for" {
	script true
	run_pyrunc -0 --debug run "$CT"
	expect 'nsexec container setup' 'child process in init()' 'init: closing the pipe to signal completion' "${EXESEAL[@]}"
}

@test "compat: the debug messages of exec that test suites look for" {
	start_sleeper
	run_pyrunc -0 --debug exec "$CT" true
	expect 'nsexec container setup' 'child process in init()' 'setns_init: about to exec' "${EXESEAL[@]}"
	run_command -0 "$PYRUNC" --root "$ROOT" --debug exec -p <(echo '{"args": ["/bin/true"], "cwd": "/", "execCPUAffinity": {"initial": "0"}}') "$CT"
	expect_match 'nsexec.*: affinity: 0x1'
}

@test "compat: a startContainer hook that is killed says by what" {
	edit '.hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "kill -SYS $$"]}]'
	script true
	run_pyrunc -255 run "$CT"
	expect 'error running startContainer hook #0: signal: bad system call'
}

@test "compat: a scheduling policy that wants all CPUs, in a container that has fewer" {
	edit '.linux.resources.cpu.cpus = "0" | .process.scheduler = {policy: "SCHED_DEADLINE", runtime: 42000, deadline: 1000000, period: 1000000}'
	run_pyrunc -1 run "$CT"
	expect "process scheduler can't be used together with AllowedCPUs"
}

@test "compat: a real-time policy in a cgroup without real-time budget says what is missing" {
	[[ $(cat "$CGROUPS/cpu/cpu.rt_runtime_us" 2>/dev/null || echo 0) -gt 0 ]] || skip "the kernel groups no real-time tasks"
	local words='cpu.rt_runtime_us of the container'"'"'s cgroup is 0; set linux.resources.cpu.realtimeRuntime'
	edit '.process.scheduler = {policy: "SCHED_FIFO", priority: 1}'
	run_pyrunc -1 run "$CT"
	expect "$words"
	edit 'del(.process.scheduler)'
	start_sleeper
	run_command -255 pyrunc exec -p <(echo '{"args": ["/bin/true"], "cwd": "/", "scheduler": {"policy": "SCHED_RR", "priority": 1}}') "$CT"
	expect SCHED_RR "$words"
}
