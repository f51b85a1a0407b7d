#!/usr/bin/env bats
# External mounts by themselves: what is mounted from the host is found at checkpoint, and mounted again at restore.

load helpers

setup() {
	setup_bundle
	HOST="$BATS_TEST_TMPDIR/host"
	require_criu
	writable
	IMAGES="$BATS_TEST_TMPDIR/images"
	mkdir "$HOST"
	# a mount of its own, whose propagation is the test's
	mount -t tmpfs host "$HOST"
	mount --make-private "$HOST"
	mkdir "$HOST/data"
	echo "of the host" >"$HOST/data/file"
	chmod 755 "$HOST" "$HOST/data"
}

teardown() {
	cd /
	pyrunc delete -f "$CT" 2>/dev/null || true
	! mountpoint -q "$HOST" || umount -R "$HOST" 2>/dev/null || umount -Rl "$HOST"
	teardown_bundle
}

started() {
	sleeper
	pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
	wait_for_program
}

dumped() { # dumped [CHECKPOINT-ARGS]
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$@" "$CT"
}

restored() { # restored [RESTORE-ARGS]
	status=0
	output="$(pyrunc restore -d --image-path "$IMAGES" "$@" "$CT" </dev/null 2>&1 >/dev/null)" || status=$?
	printf 'restore: status %d, output: %s\n' "$status" "$output"
	[[ $status -eq 0 ]]
}

refused() { # refused [RESTORE-ARGS]: and nothing is left of it
	if restored "$@"; then
		return 1
	fi
	nothing_left "$CT"
}

inside() { # inside COMMAND...: its output, trimmed
	run_pyrunc -0 exec "$CT" "$@"
}

add_in_container() { # add_in_container SOURCE TARGET: a bind mount that the config does not know
	local pid
	pid=$(init_pid "$CT")
	python3 - "$pid" "$1" "$2" <<-'END'
		import ctypes, os, sys
		pid, source, target = sys.argv[1:]
		libc = ctypes.CDLL(None, use_errno=True)
		def check(result):
		    if result < 0:
		        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
		    return result
		tree = check(libc.syscall(428, -100, source.encode(), 1 | 0x8000))
		check(libc.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0x20000))
		check(libc.syscall(429, tree, b"", -100, target.encode(), 4))
	END
}

propagation() { # propagation PATH: "shared", "slave", "shared slave" or "private" in the container
	local line
	line=$(awk -v point="$1" '$5 == point' "/proc/$(init_pid "$CT")/mountinfo" | tail -n 1)
	[[ -n $line ]]
	case "$line" in
	*shared:*master:*) echo "shared slave" ;;
	*shared:*) echo shared ;;
	*master:*) echo slave ;;
	*) echo private ;;
	esac
}

@test "ext mounts: directories and files of the config" {
	add_mount /data bind "$HOST/data" rbind ro
	add_mount /one/file bind "$HOST/data/file" bind
	started
	dumped
	restored
	inside cat /data/file /one/file
	expect_only "of the host
of the host"
	run_pyrunc exec "$CT" touch /data/new
	expect "Read-only file system"
}

@test "ext mounts: one that an entry of the config only remounts" {
	edit --arg host "$HOST/data" '.mounts += [{destination: "/data", type: "bind", source: $host, options: ["bind", "rw"]},
		{destination: "/data", type: "bind", source: "/nowhere", options: ["bind", "remount", "ro"]}]'
	started
	dumped
	restored
	inside cat /data/file
	expect_only "of the host"
	run_pyrunc exec "$CT" touch /data/file
	expect "Read-only file system"
}

@test "ext mounts: through symlinks of the image" {
	mkdir -p rootfs/real rootfs/run
	ln -s ../real rootfs/run/link
	add_mount /run/link/data bind "$HOST/data" bind
	started
	dumped
	restored
	inside cat /real/data/file
	expect_only "of the host"
}

@test "ext mounts: what was mounted on the host below a source" {
	mkdir "$HOST/data/below"
	mount -t tmpfs below "$HOST/data/below"
	echo "of the mount below" >"$HOST/data/below/file"
	add_mount /data bind "$HOST/data" rbind
	started
	dumped
	restored
	inside cat /data/below/file
	expect_only "of the mount below"
}

@test "ext mounts: a symlink in the source leads nowhere" {
	mkdir "$HOST/data/below" "$HOST/secret"
	echo secret >"$HOST/secret/file"
	mount -t tmpfs below "$HOST/data/below"
	add_mount /data bind "$HOST/data" rbind
	started
	dumped
	umount "$HOST/data/below"
	rmdir "$HOST/data/below"
	ln -s ../secret "$HOST/data/below"
	refused
	expect "/data/below" "symbolic links"
}

@test "ext mounts: added after the start" {
	mkdir rootfs/added
	started
	add_in_container "$HOST/data" /added
	inside cat /added/file
	dumped
	restored
	inside cat /added/file
	expect_only "of the host"
}

@test "ext mounts: another host is told what to give" {
	mkdir rootfs/added
	started
	add_in_container "$HOST/data" /added
	dumped
	rm "$ROOT/.checkpoint-key"
	refused
	expect "'/added': config.json has no bind mount for it, use --ext-mount /added=$HOST/data"
	mkdir "$HOST/elsewhere"
	echo "elsewhere" >"$HOST/elsewhere/file"
	restored --ext-mount "/added=$HOST/elsewhere"
	inside cat /added/file
	expect_only "elsewhere"
}

@test "ext mounts: a forged note is not believed" {
	mkdir rootfs/added "$HOST/secret"
	started
	add_in_container "$HOST/data" /added
	dumped
	sed -i 's|/host/data|/host/secret|' "$IMAGES/mounts.json"
	refused
	expect "use --ext-mount /added="
}

@test "ext mounts: nothing is noted where the config tells all" {
	add_mount /data bind "$HOST/data" bind
	edit '.linux.namespaces |= map(select(.type != "cgroup")) + [{type: "cgroup"}]'
	started
	dumped
	[[ ! -e $IMAGES/mounts.json && ! -e $ROOT/.checkpoint-key ]]
}

@test "ext mounts: a tmpfs of the host is not copied into the images" {
	head -c 3000000 /dev/urandom >"$HOST/big"
	add_mount /big bind "$HOST" bind
	started
	dumped
	[[ $(du -sm "$IMAGES" | cut -f1) -lt 3 ]]
	rm "$HOST/big"
	restored
	inside ls /big
	refute big
}

@test "ext mounts: --ext-mount names other keys and sources" {
	add_mount /data bind "$HOST/data" bind
	started
	dumped --ext-mount /data=store
	refused
	expect "'/data': config.json has no bind mount for it, use --ext-mount store="
	mkdir "$HOST/store"
	echo "of the store" >"$HOST/store/file"
	restored --ext-mount "store=$HOST/store"
	inside cat /data/file
	expect_only "of the store"
}

@test "ext mounts: file systems of the config that CRIU does not know" {
	local kind
	for kind in ramfs hugetlbfs bpf; do
		grep -qw "$kind" /proc/filesystems && add_mount "/$kind" "$kind" none
	done
	started
	inside sh -c 'mount | grep -cE "type (ramfs|hugetlbfs|bpf) "'
	local before=$output
	dumped
	restored
	inside sh -c 'mount | grep -cE "type (ramfs|hugetlbfs|bpf) "'
	expect_only "$before"
}

@test "ext mounts: what would be lost with the container is refused, and it runs on" {
	add_mount /ram ramfs none
	started
	inside touch /ram/file
	run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
	expect "'/ram': what is in a ramfs is not kept" "--ext-mount"
	expect_state "$CT" running
	dumped --ext-mount /ram=store
	restored --ext-mount "store=$HOST/data"
	inside cat /ram/file
	expect_only "of the host"
}

@test "ext mounts: an overlay of the config" {
	mkdir "$HOST"/{lower,upper,work}
	touch "$HOST/lower/of-the-image"
	mount -t overlay -o "lowerdir=$HOST/lower,upperdir=$HOST/upper,workdir=$HOST/work" none "$HOST/data" || skip "no overlay"
	umount "$HOST/data"
	add_mount /over overlay none "lowerdir=$HOST/lower" "upperdir=$HOST/upper" "workdir=$HOST/work"
	started
	inside touch /over/of-the-container
	dumped
	restored
	inside ls /over
	expect_only $'of-the-container\nof-the-image'
}

@test "ext mounts: an overlay that the container has made does not become one of the host's directories" {
	local how
	edit '.process.capabilities |= map_values(. + ["CAP_SYS_ADMIN"])'
	for how in 'mount -t overlay -o lowerdir=/etc:/tmp none /mnt; touch /made' \
		'unshare -m sh -c "mount -t overlay -o lowerdir=/etc:/tmp none /mnt; touch /made; while :; do sleep 0.1; done" &'; do
		script "$how
			while :; do sleep 0.1; done"
		pyrunc run -d "$CT" </dev/null >/dev/null 2>&1
		wait_for test -e rootfs/made
		run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
		expect "cannot checkpoint mounts: '/mnt'" "overlay"
		expect_state "$CT" running
		run_pyrunc -0 delete -f "$CT"
		rm rootfs/made
	done
}

@test "ext mounts: what nobody but the container has is refused, and it runs on" {
	edit '.process.capabilities |= map_values(. + ["CAP_SYS_ADMIN"])'
	started
	run_pyrunc -0 exec --cap CAP_SYS_ADMIN "$CT" sh -ec 'mount -t tmpfs none /mnt; mkdir /mnt/a; mount --bind /mnt/a /root; umount /mnt'
	run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
	expect "'/root': nobody but the container has this tmpfs"
	expect_state "$CT" running
}

@test "ext mounts: a key of the images does not get the host's proc" {
	started
	dumped --ext-mount /proc=/proc
	refused
	expect "'/proc': config.json has no bind mount for it"
}

@test "ext mounts: wrong arguments" {
	started
	run_pyrunc -1 checkpoint --image-path "$IMAGES" --ext-mount nonsense "$CT"
	expect "invalid --ext-mount argument 'nonsense'"
	run_pyrunc -1 checkpoint --image-path "$IMAGES" --ext-mount /nowhere=key "$CT"
	expect "nothing is mounted in the container at '/nowhere'"
	expect_state "$CT" running
	dumped
	refused --ext-mount key
	expect "invalid --ext-mount argument 'key'"
	refused --ext-mount key=/tmp
	expect "the checkpoint has no external mount named 'key'"
}

@test "ext mounts: all sources that are gone, or of another kind, are named at once" {
	mkdir "$HOST/other"
	touch "$HOST/third"
	add_mount /data bind "$HOST/data" bind
	add_mount /other bind "$HOST/other" bind
	add_mount /third bind "$HOST/third" bind
	started
	dumped
	rm -r "$HOST/data"
	rmdir "$HOST/other"
	touch "$HOST/other"
	rm "$HOST/third"
	mkdir "$HOST/third"
	refused
	expect "$HOST/data: no such file or directory (for '/data')"
	expect "$HOST/other is a file, the container has a directory at '/other'"
	expect "$HOST/third is a directory, the container has a file at '/third'"
	[[ ! -e $IMAGES/restore.log ]]
}

@test "ext mounts: mountpoints are made in a fresh rootfs, also in the source of another mount" {
	mkdir "$HOST/inner"
	echo inner >"$HOST/inner/file"
	add_mount /data bind "$HOST/data" bind
	add_mount /data/deep/inner bind "$HOST/inner" bind
	add_mount /fresh/file bind "$HOST/data/file" bind
	started
	dumped
	rm -r rootfs/data rootfs/fresh "$HOST/data/deep"
	restored
	inside cat /data/deep/inner/file /fresh/file
	expect_only "inner
of the host"
	[[ -d $HOST/data/deep/inner && -f rootfs/fresh/file ]]
}

@test "ext mounts: a slave of the host still is one" {
	mount --make-shared "$HOST"
	add_mount /vol bind "$HOST/data" rbind rslave
	mkdir "$HOST/data/new"
	started
	[[ $(propagation /vol) == slave ]]
	dumped
	restored
	[[ $output != *private* ]]
	[[ $(propagation /vol) == slave ]]
	mount -t tmpfs new "$HOST/data/new"
	touch "$HOST/data/new/came"
	inside ls /vol/new
	expect_only came
	umount "$HOST/data/new"
	inside ls /vol/new
	expect_only ""
}

@test "ext mounts: a mount that has come by propagation comes back" {
	mount --make-shared "$HOST"
	add_mount /vol bind "$HOST/data" rbind rslave
	mkdir "$HOST/data/new"
	started
	mount -t tmpfs new "$HOST/data/new"
	touch "$HOST/data/new/came"
	inside ls /vol/new
	dumped
	restored
	inside ls /vol/new
	expect_only came
	umount "$HOST/data/new"
	inside ls /vol/new
	expect_only ""
}

@test "ext mounts: a slave where the host's mount is private here: a warning, and no events" {
	mount --make-shared "$HOST"
	add_mount /vol bind "$HOST/data" rbind rslave
	mkdir "$HOST/data/new"
	started
	dumped
	mount --make-private "$HOST"
	restored
	expect "'/vol' was a slave of a mount of the other host, and $HOST/data is private here"
	expect "mount --make-shared" "--ignore-host-propagation"
	inside cat /vol/file
	mount -t tmpfs new "$HOST/data/new"
	[[ $(grep -c ' /vol' "/proc/$(init_pid "$CT")/mountinfo") == 1 ]]
	umount "$HOST/data/new"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	restored
	inside cat /vol/file
}

@test "ext mounts: --ignore-host-propagation" {
	mount --make-shared "$HOST"
	add_mount /vol bind "$HOST/data" rbind rslave
	mkdir "$HOST/data/new"
	started
	dumped
	restored --ignore-host-propagation
	[[ -z $output ]]
	mount -t tmpfs new "$HOST/data/new"
	[[ $(grep -c ' /vol' "/proc/$(init_pid "$CT")/mountinfo") == 1 ]]
	umount "$HOST/data/new"
}

# Two binds of one mount of the host, of which neither has the other's source.
two_slaves() { # two_slaves DIRECTORY
	mkdir -p "$1"/{a,b}/new
	mount --make-shared "$HOST"
	add_mount /a bind "$1/a" rbind rslave
	add_mount /b bind "$1/b" rbind rslave
}

expect_events() { # expect_events DIRECTORY: in both, and from the host only
	local name
	for name in a b; do
		[[ $(propagation /$name) == slave ]]
		mount -t tmpfs new "$1/$name/new"
		grep -q " /$name/new " "/proc/$(init_pid "$CT")/mountinfo"
		umount "$1/$name/new"
		! grep " /$name/new " "/proc/$(init_pid "$CT")/mountinfo" || return 1
	done
}

@test "ext mounts: slaves with several sources, which the container's root may not reach" {
	two_slaves "$HOST/closed"
	chmod 700 "$HOST/closed"
	chown -R 100000:100000 rootfs
	edit '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] | .linux.gidMappings = .linux.uidMappings'
	started
	dumped
	restored
	[[ $output != *'will not show'* ]]
	expect_events "$HOST/closed"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	restored --ignore-host-propagation
	[[ $(propagation /a)$(propagation /b) != *slave* ]]
	inside ls /a
	expect_only new
}

@test "ext mounts: slaves whose sources are two file systems here" {
	two_slaves "$HOST"
	started
	dumped
	mount -t tmpfs other "$HOST/b"
	mkdir "$HOST/b/new"
	restored
	[[ -z $output ]]
	expect_events "$HOST"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	mount --make-private "$HOST/b"
	restored
	expect "'/b' was a slave of a mount of the other host, and $HOST/b is private here"
	[[ $output != *"'/a'"* ]]
	[[ $(propagation /a) == slave ]]
	pyrunc delete -f "$CT"
	umount "$HOST/b"
}

@test "ext mounts: shared with the container's own" {
	mount --make-shared "$HOST"
	add_mount /vol bind "$HOST/data" rbind rshared
	mkdir "$HOST/data/new"
	started
	local before
	before=$(propagation /vol)
	dumped
	restored
	[[ $(propagation /vol) == "$before" ]]
}

@test "ext mounts: shared with the host, in both directions" {
	mount --make-shared "$HOST"
	edit '.linux.rootfsPropagation = "rshared" | .process.capabilities |= map_values(. + ["CAP_SYS_ADMIN"])'
	add_mount /vol bind "$HOST/data" rbind rshared
	mkdir "$HOST/data/new" "$HOST/data/back"
	started
	dumped
	restored
	[[ -z $output ]]
	mount -t tmpfs new "$HOST/data/new"
	grep -q ' /vol/new ' "/proc/$(init_pid "$CT")/mountinfo"
	umount "$HOST/data/new"
	! grep ' /vol/new ' "/proc/$(init_pid "$CT")/mountinfo" || return 1
	inside mount -t tmpfs back /vol/back
	grep -q " $HOST/data/back " /proc/self/mountinfo
	umount "$HOST/data/back"
	inside ls /vol/back
	expect_only ""
}

@test "ext mounts: shared where the host's mount is private here: a warning" {
	mount --make-shared "$HOST"
	edit '.linux.rootfsPropagation = "rshared"'
	add_mount /vol bind "$HOST/data" rbind rshared
	started
	dumped
	mount --make-private "$HOST"
	restored
	expect "'/vol' was shared with the other host, and $HOST/data is private here"
	run_pyrunc -0 checkpoint --image-path "$IMAGES" "$CT"
	restored --ignore-host-propagation
	[[ -z $output ]]
}

@test "ext mounts: a rootfs that is a slave" {
	mount --bind "$BUNDLE" "$BUNDLE"
	mount --make-shared "$BUNDLE"
	mkdir -p rootfs/below
	started
	[[ $(propagation /) == slave ]]
	dumped
	restored
	[[ $(propagation /) == slave ]]
	mount -t tmpfs new "$BUNDLE/rootfs/below"
	grep -q ' /below ' "/proc/$(init_pid "$CT")/mountinfo"
	umount "$BUNDLE/rootfs/below"
	pyrunc delete -f "$CT"
	umount -l "$BUNDLE"
}

@test "ext mounts: cgroups with and without a namespace" {
	# The hierarchies of v1, or the files of v2: there others make and remove directories beside ours.
	local list='cd /sys/fs/cgroup; if [ -e cgroup.procs ]; then find . -maxdepth 1 -type f; else find . -maxdepth 1; fi | sort'
	for namespace in '[]' '[{type: "cgroup"}]'; do
		edit ".linux.namespaces |= map(select(.type != \"cgroup\")) + $namespace"
		started
		inside sh -c "$list"
		local before=$output
		dumped
		restored
		inside sh -c "$list"
		[[ $output == "$before" ]]
		inside sh -c 'cd /sys/fs/cgroup; cat memory/cgroup.procs cgroup.procs "./$(sed -n s/^0:://p /proc/1/cgroup)/cgroup.procs" 2>/dev/null; :'
		grep -qx 1 <<<"$output"
		run_pyrunc -0 delete -f "$CT"
	done
}

@test "ext mounts: names with blanks, and other bytes" {
	mkdir "$HOST/a b" "$HOST/ü"
	echo blank >"$HOST/a b/file"
	echo umlaut >"$HOST/ü/file"
	add_mount "/a b" bind "$HOST/a b" bind
	add_mount "/ü" bind "$HOST/ü" bind
	started
	dumped
	restored
	inside sh -c 'cat "/a b/file" /ü/file'
	expect_only "blank
umlaut"
}

@test "ext mounts: a hostile name refuses the dump, and the container runs on" {
	mkdir -p 'rootfs/evil]:x'
	started
	add_in_container "$HOST/data" '/evil]:x'
	run_pyrunc -1 checkpoint --image-path "$IMAGES" "$CT"
	expect "cannot checkpoint mounts" "CRIU cannot take such a name"
	expect_state "$CT" running
}

@test "ext mounts: in a user namespace, below directories that only root may search" {
	chmod 700 "$HOST"
	chown -R 100000:100000 rootfs "$HOST/data"
	edit '.linux.namespaces += [{type: "user"}]
		| .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] | .linux.gidMappings = .linux.uidMappings'
	add_mount /data bind "$HOST/data" rbind ro nosuid nodev noexec
	started
	dumped
	restored
	inside cat /data/file
	expect_only "of the host"
	[[ $(awk '$5 == "/data" {print $6}' "/proc/$(init_pid "$CT")/mountinfo") == ro,nosuid,nodev,noexec* ]]
}
