#!/usr/bin/env bats
# mounts: types, options, targets, order, propagation, cgroup mounts.

load helpers

show() { # show PATH: the container prints that mount's line of mountinfo
	script "awk -v at='$1' '\$5 == at' /proc/self/mountinfo"
}

@test "mounts: bind of a directory, both ways" {
	mkdir source
	echo from host >source/in
	add_mount /mnt bind "$BUNDLE/source" bind
	script 'cat /mnt/in; echo from container >/mnt/out'
	run_pyrunc -0 run "$CT"
	expect_only 'from host'
	[[ $(cat source/out) == 'from container' ]]
}

@test "mounts: bind, read-only" {
	mkdir source
	add_mount /mnt bind "$BUNDLE/source" bind ro
	script 'touch /mnt/new'
	run_pyrunc -1 run "$CT"
	expect 'Read-only file system'
	[[ -z $(ls source) ]]
}

@test "mounts: bind of a file over a file" {
	echo content >file
	add_mount /etc/group bind "$BUNDLE/file" bind
	script 'cat /etc/group'
	run_pyrunc -0 run "$CT"
	expect_only content
}

@test "mounts: the type is ignored when there is a bind option" {
	mkdir source
	touch source/seen
	add_mount /mnt nosuchfs "$BUNDLE/source" bind
	script 'ls /mnt'
	run_pyrunc -0 run "$CT"
	expect_only seen
}

@test "mounts: a relative source is relative to the bundle" {
	mkdir source
	touch source/seen
	add_mount /mnt bind source rbind
	script 'ls /mnt'
	cd /
	run_pyrunc -0 run -b "$BUNDLE" "$CT"
	expect_only seen
}

@test "mounts: missing mountpoints are made: directories 0755, files empty" {
	mkdir source
	echo content >file
	add_mount /new/deep/dir bind "$BUNDLE/source" bind
	add_mount /new/file bind "$BUNDLE/file" bind
	script 'cat /new/file'
	run_pyrunc -0 run "$CT"
	expect_only content
	[[ $(stat -c %a:%F rootfs/new) == 755:directory ]]
	[[ $(stat -c %a:%F rootfs/new/deep/dir) == 755:directory ]]
	[[ $(stat -c %F rootfs/new/file) == 'regular empty file' ]]
}

# newer than runc 1.1
@test "mounts: a file made as mountpoint has mode 0644" {
	echo content >file
	add_mount /new/file bind "$BUNDLE/file" bind
	script true
	run_pyrunc -0 run "$CT"
	[[ $(stat -c %a rootfs/new/file) == 644 ]]
}

@test "mounts: option words become flags" {
	add_mount /mnt tmpfs tmpfs nosuid nodev noexec noatime size=64k mode=700
	show /mnt
	run_pyrunc -0 run "$CT"
	expect ' rw,nosuid,nodev,noexec,noatime ' size=64k mode=700
	edit '.mounts[-1].options = ["nosuid", "suid", "ro", "rw", "strictatime"]'
	run_pyrunc -0 run "$CT"
	expect ' - tmpfs tmpfs rw'
	refute nosuid relatime
}

@test "mounts: the flags of a bind" {
	mkdir source
	add_mount /mnt bind "$BUNDLE/source" bind ro nosuid nodev noexec nodiratime
	show /mnt
	run_pyrunc -0 run "$CT"
	expect_match ' ro,nosuid,nodev,noexec,(no|rel)[a-z,]*nodiratime|nodiratime'
}

@test "mounts: a bind without options keeps its source's flags" {
	mkdir source
	show /mnt
	add_mount /mnt bind "$BUNDLE/source" bind
	run_command -0 unshare -m sh -c 'mount -t tmpfs -o nosuid,nodev,noexec none source && exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect ' rw,nosuid,nodev,noexec,relatime '
}

@test "mounts: a bind's options replace its source's flags" {
	mkdir source
	show /mnt
	add_mount /mnt bind "$BUNDLE/source" bind ro
	run_command -0 unshare -m sh -c 'mount -t tmpfs -o nosuid,nodev,noexec none source && exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect ' ro,relatime '
}

# newer than runc 1.1
@test "mounts: a bind's option rw clears its source's ro" {
	mkdir source
	show /mnt
	add_mount /mnt bind "$BUNDLE/source" bind rw
	run_command -0 unshare -m sh -c 'mount -t tmpfs -o ro none source && exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect ' rw,relatime '
}

# newer than runc 1.1
@test "mounts: a bind with file system data is refused" {
	mkdir source
	add_mount /mnt bind "$BUNDLE/source" bind mode=755
	run_pyrunc -1 run "$CT"
	expect 'bind mounts cannot have any filesystem-specific options applied'
	nothing_left "$CT"
}

@test "mounts: rbind takes submounts along, bind does not" {
	mkdir source
	add_mount /one bind "$BUNDLE/source" rbind
	add_mount /two bind "$BUNDLE/source" bind
	script 'ls /one/sub; ls /two/sub'
	run_command -0 unshare -m sh -c 'mkdir source/sub && mount -t tmpfs none source/sub && touch source/sub/inner &&
		exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect_only inner
}

@test "mounts: ro is for the top, rro for all below" {
	mkdir source
	add_mount /one bind "$BUNDLE/source" rbind ro
	add_mount /two bind "$BUNDLE/source" rbind rro
	script 'touch /one/x; touch /one/sub/x && echo written; touch /two/x; touch /two/sub/y'
	run_command unshare -m sh -c 'mkdir source/sub && mount -t tmpfs none source/sub &&
		exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect '/one/x: Read-only' written '/two/x: Read-only' '/two/sub/y: Read-only'
}

@test "mounts: rnoexec, rnodev, rnosuid, rnoatime" {
	mkdir source
	add_mount /mnt bind "$BUNDLE/source" rbind rnoexec rnodev rnosuid rnoatime
	script 'grep " /mnt" /proc/self/mountinfo'
	run_command unshare -m sh -c 'mkdir source/sub && mount -t tmpfs none source/sub &&
		exec "$PYRUNC" --root "$ROOT" run "$CT"'
	[[ $(grep -c ' rw,nosuid,nodev,noexec,noatime ' <<<"$output") -eq 2 ]]
}

@test "mounts: nosymfollow" {
	mkdir source
	ln -s /etc/passwd source/link
	add_mount /mnt bind "$BUNDLE/source" bind nosymfollow
	script 'cat /mnt/link'
	run_pyrunc -1 run "$CT"
	expect 'Too many levels of symbolic links'
}

@test "mounts: tmpfs takes the mode of the directory it covers" {
	mkdir -m 0750 rootfs/covered
	add_mount /covered tmpfs tmpfs
	script 'stat -c %a /covered'
	run_pyrunc -0 run "$CT"
	expect_only 750
}

# newer than runc 1.1
@test "mounts: an explicit mode of a tmpfs wins" {
	mkdir -m 0750 rootfs/covered
	add_mount /covered tmpfs tmpfs
	script 'stat -c %a /covered'
	edit '.mounts[-1].options = ["mode=0711"]'
	run_pyrunc -0 run "$CT"
	expect_only 711
}

@test "mounts: tmpfs on a mountpoint that was made has the kernel's 1777" {
	add_mount /made tmpfs tmpfs
	script 'stat -c %a /made'
	run_pyrunc -0 run "$CT"
	expect_only 1777
}

@test "mounts: tmpfs, read-only" {
	add_mount /mnt tmpfs tmpfs ro
	script 'touch /mnt/x'
	run_pyrunc -1 run "$CT"
	expect 'Read-only file system'
}

@test "mounts: tmpcopyup" {
	mkdir -p rootfs/data/sub
	echo content >rootfs/data/file
	ln -s file rootfs/data/link
	chmod 0644 rootfs/data/file
	chown 1000:50 rootfs/data/file
	add_mount /data tmpfs tmpfs tmpcopyup
	script 'stat -f -c %T /data; stat -c %a:%u:%g /data/file; cat /data/link; ls -d /data/sub; touch /data/new'
	run_pyrunc -0 run "$CT"
	expect_only $'tmpfs\n644:1000:50\ncontent\n/data/sub'
	[[ ! -e rootfs/data/new ]]
}

@test "mounts: tmpcopyup leaves nothing in the host's /tmp" {
	mkdir rootfs/data
	add_mount /data tmpfs tmpfs tmpcopyup ro
	script 'touch /data/x'
	# a layer on it takes what comes, and others do not see that one; the test's own directory may be there too
	run_command -1 unshare -m sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work &&
		mount -t overlay -o lowerdir=/tmp,upperdir=/mnt/upper,workdir=/mnt/work none /tmp && cd "$BUNDLE" || exit 9
		"$PYRUNC" --root "$ROOT" run "$CT"; status=$?
		echo "left:" $(ls -A /mnt/upper); exit $status'
	expect 'Read-only file system'
	expect_match $'\nleft:( bats-run-[^ ]*)?$'
}

@test "mounts: data that the file system does not know" {
	add_mount /mnt tmpfs tmpfs nosuchoption
	run_pyrunc -1 run "$CT"
	expect 'mount tmpfs, data: mode=0755,nosuchoption: invalid argument'
	nothing_left "$CT"
}

@test "mounts: in the order of the config, later over earlier" {
	mkdir one two
	touch one/one two/two
	add_mount /mnt bind "$BUNDLE/one" bind
	add_mount /mnt bind "$BUNDLE/two" bind
	script 'ls /mnt'
	run_pyrunc -0 run "$CT"
	expect_only two
}

@test "mounts: a mount over the parent of an earlier one hides it" {
	add_mount /mnt/sub tmpfs tmpfs
	add_mount /mnt tmpfs tmpfs
	script 'ls /mnt'
	run_pyrunc -0 run "$CT"
	expect_only ''
}

@test "mounts: an earlier mount can be the source of a later one" {
	mkdir source
	echo content >source/file
	add_mount /a tmpfs tmpfs
	add_mount /a/b bind "$BUNDLE/source" bind
	add_mount /c bind "$BUNDLE/rootfs/a" rbind
	script 'cat /c/b/file'
	run_pyrunc -0 run "$CT"
	expect_only content
}

@test "mounts: a relative destination is taken from the root, and told" {
	add_mount mnt tmpfs tmpfs
	script 'stat -f -c %T /mnt'
	run_pyrunc -0 run "$CT"
	expect tmpfs 'level=warning' 'destination: mnt is not absolute, and taken to be below /'
}

@test "mounts: symlinks in a destination are resolved in the container" {
	mkdir -p source "$BATS_TEST_TMPDIR/outside" rootfs/inner
	touch source/seen
	ln -s /inner rootfs/absolute
	ln -s "../../../../../../../../..$BATS_TEST_TMPDIR/outside" rootfs/escape
	add_mount /absolute/a bind "$BUNDLE/source" bind
	add_mount /escape/b bind "$BUNDLE/source" bind
	script "ls /inner/a $BATS_TEST_TMPDIR/outside/b"
	run_pyrunc -0 run "$CT"
	[[ $(grep -c seen <<<"$output") -eq 2 ]]
	[[ -z $(ls "$BATS_TEST_TMPDIR/outside") ]]
	[[ -d rootfs/inner/a ]]
}

@test "mounts: a dangling symlink is followed inside and its target made" {
	mkdir source
	touch source/seen
	ln -s /not/there rootfs/dangling
	add_mount /dangling bind "$BUNDLE/source" bind
	script 'ls /not/there'
	run_pyrunc -0 run "$CT"
	expect_only seen
	[[ ! -e /not/there ]]
}

@test "mounts: a symlink loop is an error" {
	ln -s loop rootfs/loop
	add_mount /loop/x tmpfs tmpfs
	run_pyrunc -1 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "mounts: the root itself is no mountpoint" {
	add_mount / tmpfs tmpfs
	run_pyrunc -1 run "$CT"
	expect 'is on the top of rootfs'
	nothing_left "$CT"
}

@test "mounts: a directory over a file, a file over a directory" {
	mkdir source
	touch file
	add_mount /etc/passwd bind "$BUNDLE/source" bind
	run_pyrunc -1 run "$CT"
	expect 'not a directory'
	edit 'del(.mounts[-1])'
	add_mount /mnt bind "$BUNDLE/file" bind
	run_pyrunc -1 run "$CT"
	expect 'not a directory'
	nothing_left "$CT"
}

@test "mounts: inside /proc is refused" {
	mkdir source
	add_mount /proc/sys/kernel bind "$BUNDLE/source" bind
	run_pyrunc -1 run "$CT"
	expect 'cannot be mounted because it is inside /proc'
	nothing_left "$CT"
}

@test "mounts: the files of /proc that may be covered" {
	echo covered >file
	local name
	for name in cpuinfo diskstats meminfo stat swaps uptime loadavg; do
		add_mount "/proc/$name" bind "$BUNDLE/file" bind
	done
	script 'cat /proc/cpuinfo /proc/diskstats /proc/meminfo /proc/stat /proc/swaps /proc/uptime /proc/loadavg'
	run_pyrunc -0 run "$CT"
	[[ $(grep -c covered <<<"$output") -eq 7 ]]
}

@test "mounts: /proc must be a procfs" {
	mkdir source
	edit 'del(.mounts[] | select(.destination == "/proc"))'
	add_mount /proc bind "$BUNDLE/source" bind
	run_pyrunc -1 run "$CT"
	expect 'cannot be mounted because it is not of type proc'
	edit '.mounts[-1] |= (.type = "bind" | .source = "/proc" | .options = ["rbind"])
		| .linux.namespaces |= map(select(.type != "pid")) | .linux.maskedPaths = [] | .linux.readonlyPaths = []'
	script 'stat -f -c %T /proc'
	run_pyrunc -0 run "$CT"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "mounts: a tmpfs on /proc is refused" {
	edit 'del(.mounts[] | select(.destination == "/proc"))'
	add_mount /proc tmpfs tmpfs
	run_pyrunc -1 run "$CT"
	expect 'cannot be mounted because it is not of type proc'
	nothing_left "$CT"
}

@test "mounts: proc and sysfs go on ordinary directories only" {
	rmdir rootfs/proc rootfs/sys
	mkdir rootfs/elsewhere rootfs/sys
	ln -s elsewhere rootfs/proc
	run_pyrunc -1 run "$CT"
	expect 'must be mounted on ordinary directory'
	rm rootfs/proc
	rmdir rootfs/sys
	mkdir rootfs/proc
	ln -s elsewhere rootfs/sys
	run_pyrunc -1 run "$CT"
	expect 'must be mounted on ordinary directory'
	nothing_left "$CT"
}

@test "mounts: what spec lists is there" {
	script 'awk "{print \$5}" /proc/self/mountinfo | sort | tr "\n" " "; stat -f -c %T /proc /sys /dev /dev/shm /dev/pts'
	run_pyrunc -0 run "$CT"
	expect '/dev ' '/dev/mqueue ' '/dev/pts ' '/dev/shm ' '/proc ' '/sys ' '/sys/fs/cgroup '
	show /sys
	run_pyrunc -0 run "$CT"
	expect ' ro,nosuid,nodev,noexec,relatime ' ' - sysfs sysfs '
}

@test "mounts: devpts is a new instance with its options" {
	script 'awk "\$5 == \"/dev/pts\"" /proc/self/mountinfo; ls /dev/pts'
	run_pyrunc -0 run "$CT"
	expect 'gid=5,mode=620,ptmxmode=666'
	[[ ${lines[*]: -1} == ptmx ]]
}

@test "mounts: nothing of the host is left in the mount table" {
	script 'cat /proc/self/mountinfo'
	run_pyrunc -0 run "$CT"
	[[ ${lines[0]} == *" / / "* || ${lines[0]} == *" $BUNDLE/rootfs / "* || ${lines[0]} == *"/rootfs / "* ]]
	[[ $(awk '$5 == "/"' <<<"$output" | wc -l) -eq 1 ]]
	refute ' /sys/fs/cgroup/unified/bats'
}

@test "mounts: the host sees none of them" {
	start_sleeper
	! grep -F "$BUNDLE" /proc/self/mountinfo || false
}

@test "mounts: propagation options" {
	mkdir source
	add_mount /private bind "$BUNDLE/source" bind private
	add_mount /shared bind "$BUNDLE/source" bind shared
	add_mount /slave bind "$BUNDLE/source" bind slave
	add_mount /unbindable bind "$BUNDLE/source" bind unbindable
	script 'for at in private shared slave unbindable; do
		echo "$at: $(awk -v at=/$at "\$5 == at {print \$7}" /proc/self/mountinfo)"; done'
	run_command -0 unshare -m sh -c 'mount -t tmpfs none source && mount --make-shared source &&
		exec "$PYRUNC" --root "$ROOT" run "$CT"'
	expect 'private: -' 'shared: shared:' 'slave: master:' 'unbindable: unbindable'
}

@test "mounts: with a slave bind, what the host mounts later arrives" {
	mkdir source
	add_mount /mnt bind "$BUNDLE/source" rbind rslave
	script 'touch /mnt/started; until [ -e /mnt/sub/late ]; do sleep 0.05; done; echo arrived'
	PATIENCE="$PATIENCE" run_command -0 unshare -m sh -c 'mkdir source/sub; mount -t tmpfs none source && mount --make-shared source && mkdir source/sub
		timeout "$PATIENCE" "$PYRUNC" --root "$ROOT" run "$CT" & until [ -e source/started ] || ! kill -0 $!; do sleep 0.05; done
		mount -t tmpfs none source/sub; touch source/sub/late; wait $!'
	expect arrived
}

@test "mounts: what the container mounts does not reach the host" {
	mkdir source
	edit '(.process.capabilities.bounding, .process.capabilities.effective, .process.capabilities.permitted) += ["CAP_SYS_ADMIN"]'
	add_mount /mnt bind "$BUNDLE/source" rbind rslave
	script 'mount -t tmpfs none /mnt && touch /mnt/x && echo mounted'
	run_pyrunc -0 run "$CT"
	expect_only mounted
	[[ -z $(ls source) ]]
}

# newer than runc 1.1
@test "mounts: rootfsPropagation" {
	script 'awk "\$5 == \"/\" {print \$7}" /proc/self/mountinfo'
	local mode
	for mode in private:- rprivate:- shared:shared: rshared:shared: unbindable:unbindable; do
		edit --arg mode "${mode%%:*}" '.linux.rootfsPropagation = $mode'
		run_pyrunc -0 run "$CT"
		expect "${mode#*:}"
	done
}

@test "mounts: an unknown rootfsPropagation" {
	edit '.linux.rootfsPropagation = "sideways"'
	run_pyrunc -1 run "$CT"
	expect 'rootfsPropagation=sideways is not supported'
}

@test "mounts: cgroup v1 without a cgroup namespace is the container's own part" {
	script 'ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; mkdir /sys/fs/cgroup/pids/new'
	run_pyrunc run "$CT"
	expect devices memory pids cpuset 'Read-only file system'
	expect_match $'\n1(\n|$)'
	[[ ! -d $CGROUPS/pids/$CGROUP/new ]]
}

@test "mounts: cgroup v1 in a cgroup namespace" {
	edit '.linux.namespaces += [{type: "cgroup"}]'
	script 'cat /proc/self/cgroup; ls /sys/fs/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs'
	run_pyrunc -0 run "$CT"
	expect ':pids:/' ':devices:/'
	refute "$CGROUP"
	expect_match $'\n1(\n|$)'
}

@test "mounts: cgroup, writable" {
	edit '(.mounts[] | select(.type == "cgroup") | .options) = ["rw", "nosuid"]'
	script 'mkdir /sys/fs/cgroup/pids/inner && echo $$ >/sys/fs/cgroup/pids/inner/cgroup.procs && cat /proc/self/cgroup'
	run_pyrunc -0 run "$CT"
	expect ":pids:/$CGROUP/inner"
	nothing_left "$CT"
}

@test "mounts: /dev read-only still has its nodes" {
	edit '(.mounts[] | select(.destination == "/dev") | .options) += ["ro"]'
	script 'echo x >/dev/null && ls /dev/zero && touch /dev/new'
	run_pyrunc -1 run "$CT"
	expect /dev/zero 'Read-only file system'
}

@test "mounts: a field with a NUL byte" {
	edit '.mounts += [{destination: "/mnt\u0000x", type: "tmpfs", source: "tmpfs"}]'
	run_pyrunc -1 run "$CT"
	expect 'mount field contains null byte'
}

# newer than runc 1.1
@test "mounts: an id-mapped bind" {
	mkdir source
	touch source/file
	chown 1000:1000 source/file
	edit --arg source "$BUNDLE/source" '.mounts += [{destination: "/mnt", type: "bind", source: $source, options: ["bind", "idmap"],
		uidMappings: [{containerID: 1000, hostID: 2000, size: 1}], gidMappings: [{containerID: 1000, hostID: 3000, size: 1}]}]'
	script 'stat -c %u:%g /mnt/file'
	run_pyrunc -0 run "$CT"
	expect_only 2000:3000
}

# newer than runc 1.1
@test "mounts: id maps are for binds, and come in pairs" {
	edit '.mounts += [{destination: "/mnt", type: "tmpfs", source: "tmpfs",
		uidMappings: [{containerID: 0, hostID: 1, size: 1}], gidMappings: [{containerID: 0, hostID: 1, size: 1}]}]'
	run_pyrunc -1 run "$CT"
	expect 'id-mapped mounts are only supported for bind-mounts'
	edit 'del(.mounts[-1].gidMappings) | .mounts[-1] |= (.type = "bind" | .source = "/" | .options = ["bind"])'
	run_pyrunc -1 run "$CT"
}

@test "mounts: an empty option is none" {
	mkdir source
	add_mount /one bind "$BUNDLE/source" bind '' ro
	add_mount /two tmpfs tmpfs '' size=64k
	script 'grep -E " /(one|two) " /proc/mounts | cut -d" " -f2-4'
	run_pyrunc -0 run "$CT"
	expect_match '/one [a-z0-9]+ ro,'
	expect_match '/two tmpfs rw,.*size=64k'
}

@test "mounts: cgroup2 beside the hierarchies of v1 is a file system like others" {
	is_v2 && skip "a v2 host"
	add_mount /mnt cgroup2 none ro
	script 'grep " /mnt " /proc/mounts; ls /mnt/cgroup.procs'
	run_pyrunc -0 run "$CT"
	expect 'none /mnt cgroup2 ro,' /mnt/cgroup.procs
}
