#!/usr/bin/env bats
# spec: the configuration to begin with.

load helpers

@test "spec: refuses to overwrite" {
	run_pyrunc -1 spec
	expect 'File config.json exists. Remove it first'
}

@test "spec: the generated configuration runs" {
	rm config.json
	run_pyrunc -0 spec
	[[ -z $output ]]
	edit --arg cgroup "/$CGROUP" \
		'.process.terminal = false | .process.args = ["echo", "it runs"] | .linux.cgroupsPath = $cgroup'
	run_pyrunc -0 run "$CT"
	expect 'it runs'
}

@test "spec --bundle" {
	mkdir elsewhere
	run_pyrunc -0 spec --bundle elsewhere
	[[ -f elsewhere/config.json ]]
	run_pyrunc -0 spec -b "$BATS_TEST_TMPDIR/bundle/elsewhere/../rootfs/tmp"
	[[ -f rootfs/tmp/config.json ]]
	run_pyrunc -1 spec --bundle no/such
	expect 'no such file or directory'
}

@test "spec: layout of the file" {
	rm config.json
	run_pyrunc -0 spec
	[[ $(head -c 4 config.json) == $'{\n\t"' ]]
	[[ $(tail -c 1 config.json) == '}' ]]
	[[ $(stat -c %a config.json) == 644 ]]
}

@test "spec: content" {
	rm config.json
	run_pyrunc -0 spec
	output="$(jq -c '[.ociVersion, .process.terminal, .process.args, .process.cwd, .root.path, .root.readonly, .hostname,
		.process.noNewPrivileges, (.linux.namespaces | map(.type) | contains(["pid", "network", "ipc", "uts", "mount"]))]' \
		config.json)"
	expect_match '^\["1\.[0-9.]+[^"]*",true,\["sh"\],"/","rootfs",true,"runc",true,true\]$'
}

@test "spec --rootless: a user namespace with our own ids, no network namespace" {
	rm config.json
	run_pyrunc -0 spec --rootless
	output="$(jq -c '[.linux.uidMappings, (.linux.namespaces | map(.type) | index("user") != null, index("network") == null)]' \
		config.json)"
	expect_only "[[{\"containerID\":0,\"hostID\":$(id -u),\"size\":1}],true,true]"
}

@test "spec: the global --rootless is another flag" {
	rm config.json
	run_pyrunc -0 --rootless=false spec
	[[ $(jq '.linux.uidMappings' config.json) == null ]]
}
