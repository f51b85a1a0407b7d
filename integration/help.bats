#!/usr/bin/env bats
# help: its layout for every command, and what has no help topic.

load helpers

@test "help: the overview, however it is asked for" {
	local way
	for way in "" -h --help help h; do
		# shellcheck disable=SC2086
		run "$PYRUNC" $way
		[[ $status -eq 0 ]]
		[[ ${lines[0]} == NAME: ]]
		[[ ${lines[1]} == *"runc - "* ]]
	done
}

@test "help: every command" {
	local verb way
	for verb in create delete events exec features kill list pause ps resume run spec start state top update; do
		for way in "$verb -h" "$verb --help" "$verb help" "help $verb"; do
			# shellcheck disable=SC2086
			run "$PYRUNC" $way
			[[ $status -eq 0 ]]
			[[ ${lines[0]} == NAME: ]]
			[[ ${lines[1]} =~ runc\ $verb\ -\  ]]
		done
	done
}

@test "help: goes to stdout, nothing to stderr" {
	[[ -z $("$PYRUNC" run --help 2>&1 >/dev/null) ]]
}

@test "help: no topic" {
	local way
	for way in "foo" "foo -h" "foo --help" "help foo"; do
		# shellcheck disable=SC2086
		run "$PYRUNC" $way
		[[ $status -eq 3 ]]
		expect "No help topic for 'foo'"
	done
}

@test "help: works without PATH and HOME, from anywhere" {
	cd /
	run env -i "$PYRUNC" --help
	[[ $status -eq 0 ]]
	expect 'USAGE:'
}

@test "help: wrong number of arguments" {
	run --separate-stderr "$PYRUNC" state
	[[ $status -eq 1 ]]
	[[ ${lines[0]} == 'Incorrect Usage.' ]]
	[[ $stderr == *'state\" requires exactly 1 argument(s)'* ]]
	run --separate-stderr "$PYRUNC" kill
	[[ $stderr == *'kill\" requires a minimum of 1 argument(s)'* ]]
}

@test "help: an unknown flag" {
	run --separate-stderr "$PYRUNC" state --nope id
	[[ $status -eq 1 ]]
	[[ $stderr == 'Incorrect Usage: flag provided but not defined: -nope'* ]]
	[[ ${lines[0]} == NAME: ]]
}

@test "help: a flag without its value" {
	run "$PYRUNC" create --bundle
	[[ $status -eq 1 ]]
	expect 'flag needs an argument: --bundle' 'requires an argument'
}
