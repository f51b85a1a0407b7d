#!/usr/bin/env bats
# linux.sysctl.

load helpers

@test "sysctl: net, ipc and mqueue, in both spellings" {
	edit '.linux.sysctl = {"net.ipv4.ip_forward": "1", "net/ipv4/ping_group_range": "0 100",
		"kernel.shmmax": "12345", "kernel.msgmax": "4096", "fs.mqueue.msg_max": "9"}'
	script 'cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ping_group_range kernel/shmmax kernel/msgmax fs/mqueue/msg_max'
	run_pyrunc -0 run "$CT"
	expect_only $'1\n0\t100\n12345\n4096\n9'
}

@test "sysctl: the host's values stay" {
	local before
	before="$(cat /proc/sys/kernel/shmmax)"
	edit '.linux.sysctl = {"kernel.shmmax": "12345"}'
	script true
	run_pyrunc -0 run "$CT"
	[[ $(cat /proc/sys/kernel/shmmax) == "$before" ]]
}

@test "sysctl: works without any /proc in the container" {
	edit '.linux.sysctl = {"kernel.domainname": "example.org"} | .linux.maskedPaths = [] | .linux.readonlyPaths = []'
	script 'cat /proc/sys/kernel/domainname'
	run_pyrunc -0 run "$CT"
	expect_only example.org
}

@test "sysctl: names that are not a namespace's" {
	local name
	for name in vm.swappiness kernel.panic fs.file-max; do
		edit --arg name "$name" '.linux.sysctl = {($name): "1"}'
		run_pyrunc -1 run "$CT"
		expect "sysctl \"$name\" is not in a separate kernel namespace"
	done
}

@test "sysctl: the namespace must be the container's own" {
	edit '.linux.namespaces |= map(select(.type != "network")) | .linux.sysctl = {"net.ipv4.ip_forward": "1"}'
	run_pyrunc -1 run "$CT"
	expect 'sysctl "net.ipv4.ip_forward" not allowed in host network namespace'
	edit '.linux.namespaces |= map(select(.type != "ipc")) | .linux.sysctl = {"kernel.shmmax": "1"}'
	run_pyrunc -1 run "$CT"
	expect 'sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace'
	nothing_left "$CT"
}

@test "sysctl: a network namespace joined by path that is the host's own" {
	edit --arg path "/proc/$$/ns/net" '.linux.namespaces |= map(if .type == "network" then .path = $path else . end)
		| .linux.sysctl = {"net.ipv4.ip_forward": "1"}'
	run_pyrunc -1 run "$CT"
	expect 'not allowed in host network namespace'
}

@test "sysctl: kernel.hostname is the field's" {
	edit '.linux.sysctl = {"kernel.hostname": "x"}'
	run_pyrunc -1 run "$CT"
	expect 'conflicts with the OCI "hostname" field'
}

@test "sysctl: a value that the kernel refuses" {
	edit '.linux.sysctl = {"net.ipv4.ip_forward": "text"}'
	run_pyrunc -1 run "$CT"
	expect 'invalid argument'
	nothing_left "$CT"
}

# newer than runc 1.1
@test "sysctl: user limits need a user namespace" {
	edit '.linux.sysctl = {"user.max_user_namespaces": "1"}'
	run_pyrunc -1 run "$CT"
	expect 'setting ucounts without a user namespace not allowed: user.max_user_namespaces'
}
