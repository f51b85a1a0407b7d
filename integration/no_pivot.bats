#!/usr/bin/env bats
# --no-pivot: MS_MOVE and chroot instead of pivot_root, as on a ramdisk.

load helpers

@test "no-pivot: run" {
	script 'ls /; awk "{print \$5}" /proc/self/mountinfo'
	run_pyrunc -0 run --no-pivot "$CT"
	expect bin etc proc
	refute "$BUNDLE"
}

@test "no-pivot: create, start, exec" {
	sleeper
	run_detached -0 create --no-pivot "$CT"
	run_pyrunc -0 start "$CT"
	run_pyrunc -0 exec "$CT" ls /bin/busybox
	expect_only /bin/busybox
}

@test "no-pivot: leaving the root by chroot and .. leads nowhere" {
	edit '(.process.capabilities.bounding, .process.capabilities.effective, .process.capabilities.permitted) += ["CAP_SYS_CHROOT"]'
	writable
	script "mkdir -p /tmp/x; cd /; exec chroot /tmp/../ sh -c 'ls ../../../../../..$BUNDLE'"
	run_pyrunc run --no-pivot "$CT"
	refute config.json
}

@test "no-pivot: a full procfs cannot be mounted by a user namespace inside" {
	edit '.process.capabilities = ({bounding: ["CAP_SETUID"]} | .permitted = .bounding | .effective = .bounding)
		| .linux.seccomp = null'
	script 'unshare -Urpf mount -t proc proc /mnt; ls /mnt'
	run_pyrunc run --no-pivot "$CT"
	refute sysrq-trigger
}

@test "no-pivot: a private root propagation is refused" {
	edit '.linux.rootfsPropagation = "private"'
	run_pyrunc -1 run --no-pivot "$CT"
	expect 'rootfsPropagation of [r]private is not safe without pivot_root'
	nothing_left "$CT"
}

@test "no-pivot: a procfs of the host that is covered by another mount" {
	script 'echo started'
	run_command -0 unshare -m sh -c 'mkdir -p one/proc && mount -t proc proc one/proc && mount -t tmpfs none one &&
		exec "$PYRUNC" --root "$ROOT" run --no-pivot "$CT"'
	expect_only started
}

# newer than runc 1.1
@test "no-pivot: the same, with a directory where the procfs was" {
	script 'echo started'
	run_command -0 unshare -m sh -c 'mkdir -p one/proc && mount -t proc proc one/proc && mount -t tmpfs none one && mkdir one/proc &&
		exec "$PYRUNC" --root "$ROOT" run --no-pivot "$CT"'
	expect_only started
}
