#!/usr/bin/env bats
# process.user: ids, groups, umask, and HOME.

load helpers

@test "user: uid and gid" {
	edit '.process.user = {uid: 1000, gid: 50}'
	script 'grep -E "^(Uid|Gid)" /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect_only $'Uid:\t1000\t1000\t1000\t1000\nGid:\t50\t50\t50\t50'
}

@test "user: additionalGids" {
	edit '.process.user = {uid: 1000, gid: 1000, additionalGids: [50, 99]}'
	script 'id -G; grep Groups /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect '1000 50 99' $'Groups:\t50 99'
}

@test "user: the caller's supplementary groups are dropped" {
	script 'grep Groups /proc/self/status'
	run_command -0 setpriv --groups 7,8,9 "$PYRUNC" --root "$ROOT" run "$CT"
	expect_match $'^Groups:[ \t]*$'
}

@test "user: an id without entry in passwd" {
	edit '.process.user = {uid: 4242, gid: 4343}'
	script 'id -u; id -g; echo "$HOME"'
	run_pyrunc -0 run "$CT"
	expect_only $'4242\n4343\n/'
}

@test "user: umask" {
	edit '.process.user.umask = 63'
	script umask
	run_pyrunc -0 run "$CT"
	expect_only 0077
	edit '.process.user.umask = 0'
	run_pyrunc -0 run "$CT"
	expect_only 0000
}

# newer than runc 1.1
@test "user: umask for exec" {
	edit '.process.user.umask = 63'
	start_sleeper
	run_pyrunc -0 exec "$CT" sh -c umask
	expect_only 0077
}

@test "user: HOME comes from the container's passwd" {
	edit '.process.user = {uid: 1000, gid: 1000}'
	script 'echo $HOME'
	run_pyrunc -0 run "$CT"
	expect_only /home/user
	edit '.process.env += ["HOME=/own"]'
	run_pyrunc -0 run "$CT"
	expect_only /own
}

# newer than runc 1.1
@test "user: an empty HOME is replaced" {
	edit '.process.user = {uid: 1000, gid: 1000} | .process.env += ["HOME="]'
	script 'echo $HOME'
	run_pyrunc -0 run "$CT"
	expect_only /home/user
}

@test "user: HOME without a passwd file" {
	rm rootfs/etc/passwd
	script 'echo $HOME'
	run_pyrunc -0 run "$CT"
	expect_only /
}

@test "user: a broken passwd file" {
	printf 'broken\n\n:::\nx:x:notanumber:0::/bad:/bin/sh\n#comment\nuser:x:1000:1000::/right:/bin/sh\n' >rootfs/etc/passwd
	edit '.process.user = {uid: 1000, gid: 1000}'
	script 'echo $HOME'
	run_pyrunc -0 run "$CT"
	expect_only /right
}

@test "user: a passwd file that is a symlink out of the container" {
	printf 'user:x:1000:1000::/stolen:/bin/sh\n' >"$BATS_TEST_TMPDIR/passwd"
	ln -sf "../../../../../../../../..$BATS_TEST_TMPDIR/passwd" rootfs/etc/passwd
	edit '.process.user = {uid: 1000, gid: 1000}'
	script 'echo $HOME'
	run_pyrunc -0 run "$CT"
	expect_only /
}

@test "user: exec's HOME is that of its user" {
	start_sleeper
	run_pyrunc -0 exec -u 1000 "$CT" sh -c 'echo $HOME'
	expect_only /home/user
	run_pyrunc -0 exec -u 4242 "$CT" sh -c 'echo $HOME'
	expect_only /
}
