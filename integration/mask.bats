#!/usr/bin/env bats
# maskedPaths and readonlyPaths.

load helpers

@test "mask: a file reads as empty, a directory is empty and read-only" {
	mkdir rootfs/secret
	echo secret >rootfs/secret/file
	echo secret >rootfs/secretfile
	writable
	edit '.linux.maskedPaths += ["/secret", "/secretfile"]'
	script 'cat /secretfile; ls /secret; touch /secret/x'
	run_pyrunc -1 run "$CT"
	refute secretfile: $'\nfile'
	expect 'Read-only file system'
	expect_match '^touch: '
}

@test "mask: a masked file is /dev/null" {
	echo secret >rootfs/secretfile
	edit '.linux.maskedPaths += ["/secretfile"]'
	script 'stat -c %t:%T:%F /secretfile; echo x >/secretfile'
	run_pyrunc -0 run "$CT"
	expect_only '1:3:character special file'
	[[ $(cat rootfs/secretfile) == secret ]]
}

@test "mask: spec's paths" {
	script 'for p in "$@"; do if [ -d "$p" ]; then ls -A "$p" | wc -l; elif [ -e "$p" ]; then wc -c <"$p"; fi; done
		for p in "$@"; do [ ! -e "$p" ] || echo 0; done | wc -l >&2'
	edit '.process.args += ["sh"] + .linux.maskedPaths'
	run --separate-stderr pyrunc run "$CT" </dev/null 3>&-
	[[ $status -eq 0 ]]
	[[ $(sort -u <<<"$output") == 0 && ${#lines[@]} -eq $stderr ]]
}

@test "mask: missing paths and duplicates are skipped" {
	mkdir rootfs/secret
	touch rootfs/secret/file
	edit '.linux.maskedPaths += ["/no/such", "/secret", "/secret"] | .linux.readonlyPaths += ["/no/such"]'
	script 'ls /secret; echo end'
	run_pyrunc -0 run "$CT"
	expect_only end
}

@test "mask: a path below a masked directory" {
	mkdir -p rootfs/secret/sub
	edit '.linux.maskedPaths += ["/secret", "/secret/sub"]'
	script 'ls /secret; echo end'
	run_pyrunc -0 run "$CT"
	expect_only end
}

@test "mask: several directories, each empty and each read-only" {
	mkdir rootfs/one rootfs/two rootfs/three
	touch rootfs/one/x rootfs/two/x rootfs/three/x
	writable
	edit '.linux.maskedPaths += ["/one", "/two", "/three"]'
	script 'ls /one /two /three; for d in one two three; do touch /$d/y || echo refused; done'
	run_pyrunc -0 run "$CT"
	[[ $(grep -c '^refused' <<<"$output") -eq 3 ]]
	refute $'\nx'
}

@test "mask: a symlink is followed inside the root only" {
	mkdir rootfs/target
	touch rootfs/target/x "$BATS_TEST_TMPDIR/outside"
	ln -s /target rootfs/link
	ln -s "../../../../../../../..$BATS_TEST_TMPDIR/outside" rootfs/escape
	edit '.linux.maskedPaths += ["/link", "/escape"]'
	script 'ls /target; echo end'
	run_pyrunc -0 run "$CT"
	expect_only end
	[[ -f $BATS_TEST_TMPDIR/outside ]]
}

# newer than runc 1.1
@test "mask: a /dev/null that is not the null device is refused" {
	edit 'del(.mounts[] | select(.destination | startswith("/dev")))'
	writable
	ln -s /etc/passwd rootfs/dev/null
	echo secret >rootfs/secretfile
	edit '.linux.maskedPaths += ["/secretfile"]'
	script 'cat /secretfile'
	run_pyrunc -1 run "$CT"
	refute secret root:
	nothing_left "$CT"
}

@test "readonly: writes are refused, the rest stays writable" {
	mkdir -p rootfs/ro rootfs/rw
	echo content >rootfs/rofile
	writable
	edit '.linux.readonlyPaths += ["/ro", "/rofile"]'
	script 'touch /ro/x; echo y >/rofile; cat /rofile; touch /rw/x && echo written'
	run_pyrunc -0 run "$CT"
	[[ $(grep -c 'Read-only file system' <<<"$output") -eq 2 ]]
	expect content written
}

@test "readonly: the flags of the mount below stay" {
	add_mount /mnt tmpfs tmpfs nosuid nodev noexec
	edit '.linux.readonlyPaths += ["/mnt"]'
	script 'grep " /mnt " /proc/self/mountinfo | tail -1'
	run_pyrunc -0 run "$CT"
	expect ' ro,nosuid,nodev,noexec,relatime '
}

@test "readonly: /proc/sys, after sysctls were written" {
	edit '.linux.sysctl = {"net.ipv4.ip_forward": "1"}'
	script 'cat /proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward'
	run_pyrunc -1 run "$CT"
	expect_match '^1'
	expect 'Read-only file system'
}

@test "mask: refused without a mount namespace" {
	edit '.linux.namespaces |= map(select(.type != "mount")) | .mounts = []'
	run_pyrunc -1 run "$CT"
	expect 'unable to restrict sys entries without a private MNT namespace'
	nothing_left "$CT"
}

@test "mask: an empty list masks nothing" {
	edit '.linux.maskedPaths = [] | .linux.readonlyPaths = []'
	script 'grep -cE " (/proc/|/sys/firmware)" /proc/self/mountinfo'
	run_pyrunc -1 run "$CT"
	expect_only 0
}
