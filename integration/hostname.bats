#!/usr/bin/env bats
# hostname and domainname.

load helpers

@test "hostname: is set, the host's stays" {
	local before
	before="$(hostname)"
	edit '.hostname = "inside"'
	script hostname
	run_pyrunc -0 run "$CT"
	expect_only inside
	[[ $(hostname) == "$before" ]]
}

@test "hostname: none keeps the host's" {
	edit 'del(.hostname)'
	script hostname
	run_pyrunc -0 run "$CT"
	expect_only "$(hostname)"
}

@test "hostname: needs a uts namespace" {
	edit '.linux.namespaces |= map(select(.type != "uts"))'
	run_pyrunc -1 run "$CT"
	expect 'unable to set hostname without a private UTS namespace'
	nothing_left "$CT"
}

# newer than runc 1.1
@test "domainname: is set" {
	edit '.domainname = "example.org"'
	script 'cat /proc/sys/kernel/domainname'
	run_pyrunc -0 run "$CT"
	expect_only example.org
}

# newer than runc 1.1
@test "domainname: needs a uts namespace" {
	edit '.linux.namespaces |= map(select(.type != "uts")) | .domainname = "example.org" | del(.hostname)'
	run_pyrunc -1 run "$CT"
	expect 'unable to set domainname without a private UTS namespace'
}
