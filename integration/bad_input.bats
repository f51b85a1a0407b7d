#!/usr/bin/env bats
# wrong flags, wrong types in config.json, missing and broken files: status 1, a message, and nothing left.

load helpers

# refused TEXT...: create fails, says so in one line, and leaves nothing.
refused() {
	run_pyrunc -1 create "$CT"
	expect "$@"
	refute Traceback panic:
	nothing_left "$CT"
}

@test "bad input: an id with characters that are not allowed" {
	local id
	for id in 'a/b' 'a b' '..' '.' '../x' 'a:b' 'ü' $'a\nb' '*'; do
		run_pyrunc -1 create "$id"
		expect 'invalid container ID format'
		run_pyrunc -1 state "$id"
	done
	[[ ! -e $ROOT || -z $(ls "$ROOT") ]]
}

@test "bad input: an empty id" {
	run_pyrunc -1 create ''
	expect 'container id cannot be empty'
}

@test "bad input: no id, two ids" {
	local verb
	for verb in create run start state delete; do
		run_pyrunc -1 "$verb"
		expect "\"$verb\" requires exactly 1 argument(s)" 'Incorrect Usage.'
		run_pyrunc -1 "$verb" one two
		expect "\"$verb\" requires exactly 1 argument(s)"
	done
}

@test "bad input: unknown flags" {
	local verb
	for verb in create run start exec kill delete list state spec; do
		run_pyrunc -1 "$verb" --no-such-flag x
		expect 'Incorrect Usage' 'flag provided but not defined'
	done
	run_pyrunc -1 --no-such-flag list
}

@test "bad input: flags without value, with a value of the wrong type" {
	run_pyrunc -1 create --bundle
	run_pyrunc -1 create --preserve-fds x "$CT"
	expect preserve-fds
	run_pyrunc -1 create --preserve-fds 1.5 "$CT"
	run_pyrunc -1 create --no-pivot=maybe "$CT"
	run_pyrunc -1 run --detach=2 "$CT"
	run_pyrunc -1 --rootless=perhaps create "$CT"
	nothing_left "$CT"
}

@test "bad input: boolean flags take Go's spellings" {
	script 'echo hello'
	local value
	for value in 0 f F false FALSE False; do
		run_pyrunc -0 run "--detach=$value" "$CT"
		expect_only hello
	done
	for value in 1 t T true TRUE True; do
		run_pyrunc -0 run "--no-new-keyring=$value" "$CT"
		expect_only hello
	done
}

@test "bad input: an unknown command" {
	run_pyrunc -3 nosuchcommand
	expect "No help topic for 'nosuchcommand'"
}

@test "bad input: a bundle that does not exist, that is a file" {
	run_pyrunc -1 create --bundle /no/such "$CT"
	expect '/no/such: no such file or directory'
	run_pyrunc -1 create --bundle config.json "$CT"
	expect 'not a directory'
	nothing_left "$CT"
}

@test "bad input: config.json missing, a directory, empty, no JSON, another type" {
	mv config.json keep
	refused 'JSON specification file config.json not found'
	mkdir config.json
	refused config.json
	rmdir config.json
	touch config.json
	refused ''
	local text
	for text in '{' '{"a"' '[' '{"process": }' "{'single': 1}" '{"a": 01}' 'nul' '"' $'{"a": "\n"}'; do
		printf '%s' "$text" >config.json
		refused ''
	done
	for text in '[]' '"text"' '7' 'true'; do
		printf '%s' "$text" >config.json
		refused ''
	done
}

@test "bad input: what a container needs is missing" {
	cp config.json keep
	edit 'del(.process)'
	refused 'process property must not be empty'
	local pair
	for pair in '.root=root must be specified' '.process.args=args must not be empty' '.process.cwd=Cwd property must not be empty'; do
		cp keep config.json
		edit "del(${pair%%=*})"
		refused "${pair#*=}"
	done
}

@test "bad input: null instead of what a container needs" {
	cp config.json keep
	local field
	for field in .process .root .process.args .root.path; do
		cp keep config.json
		edit "$field = null"
		refused ''
	done
}

@test "bad input: keys are matched without case, unknown ones are ignored, the first document counts" {
	edit '.unknown = {deep: [1, 2]} | .process.unknownToo = 7'
	script 'echo hello'
	sed -i 's/"process":/"ProCess":/; s/"args":/"ARGS":/' config.json
	echo '{"second": "document"}' >>config.json
	run_pyrunc -0 run "$CT"
	expect_only hello
}

# Each line: a jq path, and values of the wrong type for it.
WRONG='
.ociVersion 7 [] {}
.process 7 "x" []
.process.terminal 1 "true" []
.process.consoleSize 7 "x" []
.process.consoleSize.height -1 "x" 1.5
.process.user 7 "root" []
.process.user.uid -1 "0" 1.5 4294967296
.process.user.gid -1 "0" 4294967296
.process.user.umask -1 "0" 1.5
.process.user.additionalGids 7 "x" {} [-1] ["x"] [4294967296]
.process.args 7 "x" {} [7] [null,7]
.process.env 7 "x" {} [7]
.process.cwd 7 [] {}
.process.capabilities 7 "x" []
.process.capabilities.bounding 7 "x" {} [7]
.process.capabilities.ambient 7 "x" {} [7]
.process.rlimits 7 "x" {} [7]
.process.rlimits[0] {"type":7} {"type":"RLIMIT_NOFILE","soft":-1,"hard":1} {"type":"RLIMIT_NOFILE","soft":"1","hard":1}
.process.noNewPrivileges 1 "true"
.process.apparmorProfile 7 []
.process.oomScoreAdj "7" 1.5 []
.process.selinuxLabel 7 []
.root 7 "x" []
.root.path 7 [] {}
.root.readonly 1 "true"
.hostname 7 [] {}
.mounts 7 "x" {} [7]
.mounts[0].destination 7 []
.mounts[0].type 7 []
.mounts[0].source 7 []
.mounts[0].options 7 "x" {} [7]
.hooks 7 "x" []
.hooks.prestart 7 "x" {} [7]
.hooks.poststop 7 "x" {}
.hooks.createRuntime [{"path":7}] [{"path":"/x","args":"x"}] [{"path":"/x","env":7}] [{"path":"/x","timeout":"x"}]
.annotations 7 "x" [] {"a":7} {"a":{}}
.linux 7 "x" []
.linux.uidMappings 7 "x" {} [{"containerID":-1}] [{"size":"x"}]
.linux.sysctl 7 "x" [] {"net.x":7}
.linux.cgroupsPath 7 [] {}
.linux.namespaces 7 "x" {} [7] [{"type":7}] [{"type":"pid","path":7}]
.linux.devices 7 "x" {} [7] [{"path":7}] [{"path":"/dev/x","type":7}] [{"path":"/dev/x","type":"c","major":"1"}]
.linux.resources 7 "x" []
.linux.resources.devices 7 "x" {} [{"allow":"x"}] [{"allow":true,"major":"x"}]
.linux.resources.memory 7 "x" []
.linux.resources.memory.limit "7" 1.5 []
.linux.resources.memory.disableOOMKiller 7 "x"
.linux.resources.cpu.shares -1 "7" 1.5
.linux.resources.cpu.cpus 7 []
.linux.resources.pids 7 "x" []
.linux.resources.pids.limit "7" 1.5
.linux.resources.blockIO.weight -1 "7" 70000
.linux.resources.hugepageLimits 7 {} [{"pageSize":7}]
.linux.resources.unified 7 [] {"a":7}
.linux.rootfsPropagation 7 []
.linux.maskedPaths 7 "x" {} [7]
.linux.readonlyPaths 7 "x" {} [7]
.linux.mountLabel 7 []
.linux.seccomp 7 "x" []
.linux.seccomp.defaultAction 7 []
.linux.seccomp.syscalls 7 "x" {} [7] [{"names":"x"}] [{"names":["x"],"action":7}]
.linux.intelRdt 7 "x" []
'

@test "bad input: a wrong type in every field" {
	local path values value
	cp config.json keep
	edit '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 10, hard: 10}]'
	cp config.json keep
	while read -r path values; do
		[[ -n $path ]] || continue
		for value in $values; do
			jq --argjson value "$value" "$path = \$value" <keep >config.json
			run_pyrunc create "$CT"
			if [[ $status -ne 1 || $output == *Traceback* || -z $output || -e $ROOT/$CT ]]; then
				echo "$path = $value: status $status, output: $output"
				return 1
			fi
		done
	done <<<"$WRONG"
	no_cgroup_left
}

# newer than runc 1.1 (it knows these fields not)
@test "bad input: a wrong type in every newer field" {
	local path values value
	cp config.json keep
	while read -r path values; do
		[[ -n $path ]] || continue
		for value in $values; do
			jq --argjson value "$value" "$path = \$value" <keep >config.json
			run_pyrunc -1 create "$CT"
			refute Traceback
			nothing_left "$CT"
		done
	done <<-'END'
		.domainname 7 [] {}
		.process.scheduler 7 "x" []
		.process.scheduler.nice "7" 1.5
		.process.ioPriority 7 "x" []
		.process.ioPriority.priority "7" 1.5
		.process.execCPUAffinity 7 "x" []
		.process.execCPUAffinity.initial 7 []
		.mounts[0].uidMappings 7 "x" {}
		.linux.timeOffsets 7 "x" []
		.linux.timeOffsets.monotonic 7 "x" {"secs":"x"}
		.linux.personality 7 "x" []
		.linux.netDevices 7 "x" []
		.linux.memoryPolicy 7 "x" []
	END
}

@test "bad input: the message names the field" {
	edit '.process.user.uid = "zero"'
	refused uid
	edit '.process.user.uid = 0 | .linux.resources.pids = {limit: "many"}'
	refused limit
}

@test "bad input: huge, deep and strange documents" {
	local deep
	deep="$(printf '[%.0s' {1..20000})"
	echo "{\"a\": $deep" >config.json
	refused ''
	head -c 100000 /dev/urandom >config.json
	refused ''
	printf '\xff\xfe{}' >config.json
	refused ''
}

@test "bad input: --process of exec" {
	start_sleeper
	local text
	for text in '' '{' '[]' '7' '{"args": 7}' '{"args": [], "cwd": "/"}' '{"args": ["true"], "cwd": "relative"}' \
		'{"args": ["true"], "cwd": "/", "user": {"uid": "x"}}'; do
		echo "$text" >process.json
		run_pyrunc -255 exec --process process.json "$CT"
		refute Traceback
	done
	run_pyrunc -255 exec --process . "$CT"
	expect_state "$CT" running
}

@test "bad input: exec with flags of the wrong type" {
	start_sleeper
	local flags
	for flags in '--preserve-fds x' '--user 1:2:3x' '--user x' '--additional-gids x' '--cgroup nowhere'; do
		# shellcheck disable=SC2086  # a flag and its value
		run_pyrunc exec $flags "$CT" true
		[[ $status -ne 0 ]]
		refute Traceback
	done
	expect_state "$CT" running
}

@test "bad input: a file where the log or the pid file should go is missing" {
	run_pyrunc -1 --log /no/such/log state x
	expect '/no/such/log'
	run_pyrunc -1 --log-format xml list
	expect 'invalid log-format: xml'
}
