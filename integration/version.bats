#!/usr/bin/env bats
# version: what engines split at "version " and ": ".

load helpers

@test "version: the lines" {
	local way
	for way in -v --version; do
		run "$PYRUNC" $way
		[[ $status -eq 0 ]]
		[[ ${lines[0]} =~ ^[a-z]*runc\ version\ [0-9]+\.[0-9]+\.[0-9]+ ]]
		[[ ${lines[1]} == 'commit: '?* ]]
		[[ ${lines[2]} == 'spec: 1.'* ]]
		[[ $(grep -c ': ' <<<"$output") -eq $((${#lines[@]} - 1)) ]]
	done
}

@test "version: with flags before it" {
	run "$PYRUNC" --root "$ROOT" --log-format json --version
	[[ $status -eq 0 ]]
	[[ ! -e $ROOT ]]
}
