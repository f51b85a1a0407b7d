#!/usr/bin/env bats
# process.cwd.

load helpers

@test "cwd: a missing directory is made" {
	writable
	edit '.process.cwd = "/made/for/it"'
	script pwd
	run_pyrunc -0 run "$CT"
	expect_only /made/for/it
	[[ $(stat -c %a rootfs/made/for/it) == 755 ]]
}

@test "cwd: inside a mount" {
	add_mount /mnt tmpfs tmpfs
	edit '.process.cwd = "/mnt/sub"'
	script pwd
	run_pyrunc -0 run "$CT"
	expect_only /mnt/sub
	[[ ! -e rootfs/mnt/sub ]]
}

@test "cwd: a symlink is followed inside" {
	mkdir rootfs/real
	ln -s /real rootfs/link
	edit '.process.cwd = "/link"'
	script '/bin/pwd -P'
	run_pyrunc -0 run "$CT"
	expect_only /real
}

@test "cwd: must be given and absolute" {
	edit '.process.cwd = ""'
	run_pyrunc -1 run "$CT"
	expect 'Cwd property must not be empty'
	edit 'del(.process.cwd)'
	run_pyrunc -1 run "$CT"
	expect 'Cwd property must not be empty'
	edit '.process.cwd = "relative"'
	run_pyrunc -1 run "$CT"
	expect 'Cwd must be an absolute path'
	nothing_left "$CT"
}

@test "cwd: a directory that only the user may enter" {
	mkdir -m 0700 rootfs/home/own
	chown 1000:1000 rootfs/home/own
	edit '.process.cwd = "/home/own" | .process.user = {uid: 1000, gid: 1000} | .process.capabilities = {}'
	script pwd
	run_pyrunc -0 run "$CT"
	expect_only /home/own
}

@test "cwd: a directory that the user may not enter" {
	mkdir -m 0700 rootfs/home/own
	edit '.process.cwd = "/home/own" | .process.user = {uid: 1000, gid: 1000}
		| .process.capabilities = {bounding: ["CAP_DAC_OVERRIDE"], permitted: ["CAP_DAC_OVERRIDE"], effective: ["CAP_DAC_OVERRIDE"]}'
	script 'echo inside'
	run_pyrunc -0 run "$CT"
	expect_only inside
}

@test "cwd: of exec is not made" {
	writable
	start_sleeper
	run_pyrunc -255 exec --cwd /not/there "$CT" pwd
	expect 'chdir to cwd ("/not/there") set in config.json failed: no such file or directory'
	[[ ! -e rootfs/not ]]
}

@test "cwd: descriptors of the runtime lead nowhere" {
	local n
	for n in 3 4 5 6 7 8 9 10 11; do
		edit --arg cwd "/proc/self/fd/$n" '.process.cwd = $cwd'
		script 'cat ../../../../../../../../../../../..'"$BUNDLE"'/config.json'
		run_pyrunc run "$CT"
		[[ $status -ne 0 ]]
		refute ociVersion
	done
}

@test "cwd: of exec, descriptors of the runtime lead nowhere" {
	start_sleeper
	local n
	for n in 3 4 5 6 7 8 9 10 11; do
		run_pyrunc exec --cwd "/proc/self/fd/$n" "$CT" cat "../../../../../../../../../../..$BUNDLE/config.json"
		[[ $status -ne 0 ]]
		refute ociVersion
	done
}

@test "cwd: a file" {
	edit '.process.cwd = "/etc/passwd"'
	run_pyrunc -1 run "$CT"
	expect 'not a directory'
	nothing_left "$CT"
}
