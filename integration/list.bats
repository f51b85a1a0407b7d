#!/usr/bin/env bats
# list: table, json, quiet.

load helpers

@test "list: a table ordered by name" {
	sleeper
	run_detached -0 run -d b-running
	place_cgroup "$CGROUP/below"
	run_detached -0 create a-created
	run_pyrunc -0 list
	[[ ${lines[0]} =~ ^ID\ +PID\ +STATUS\ +BUNDLE\ +CREATED\ +OWNER$ ]]
	[[ ${lines[1]} =~ ^a-created\ +[0-9]+\ +created\ +"$BUNDLE"\ +2[0-9-]+T[0-9:.]+Z\ +root$ ]]
	[[ ${lines[2]} =~ ^b-running\ +[0-9]+\ +running\ +"$BUNDLE"\ +2[0-9-]+T[0-9:.]+Z\ +root$ ]]
	[[ ${#lines[@]} -eq 3 ]]
}

@test "list: cells are at least 12 wide and 3 blanks apart" {
	start_sleeper
	run_pyrunc -0 list
	[[ ${lines[0]} == 'ID          PID         STATUS      BUNDLE'* ]]
}

@test "list: an empty table has its header" {
	mkdir "$ROOT"
	run_pyrunc -0 list
	expect_only 'ID          PID         STATUS      BUNDLE      CREATED     OWNER'
}

@test "list --format json" {
	edit '.annotations = {"a": "b"}'
	start_sleeper
	run_pyrunc -0 list --format json
	[[ ${#lines[@]} -eq 1 ]]
	jq -e --arg id "$CT" --arg bundle "$BUNDLE" 'length == 1 and (.[0] |
		.id == $id and .status == "running" and .bundle == $bundle and .rootfs == "\($bundle)/rootfs"
		and .owner == "root" and .annotations == {"a": "b"} and (.pid | type) == "number")' <<<"$output"
	run_pyrunc -0 list -f json
	run_pyrunc -0 list -f=json
	jq -e 'length == 1' <<<"$output"
}

@test "list --format json: null when there is none" {
	mkdir "$ROOT"
	run_pyrunc -0 list --format json
	expect_only null
}

@test "list -q: ids alone" {
	mkdir "$ROOT"
	run_pyrunc -0 list -q
	expect_only ''
	start_sleeper
	run_pyrunc -0 list --quiet
	expect_only "$CT"
}

@test "list: stopped containers have pid 0" {
	script true
	run_detached -0 run -d "$CT"
	wait_for_state "$CT" stopped
	run_pyrunc -0 list --format json
	jq -e '.[0].pid == 0 and .[0].status == "stopped"' <<<"$output"
}

@test "list: an unknown format" {
	mkdir "$ROOT"
	run_pyrunc -1 list --format yaml
	expect 'invalid format option'
}

# newer than runc 1.1
@test "list: a state root that does not exist" {
	run_pyrunc -1 list
	expect 'no such file or directory'
}

@test "list: entries that are no containers" {
	start_sleeper
	mkdir "$ROOT/empty"
	touch "$ROOT/file"
	run --separate-stderr pyrunc list -q 3>&-
	[[ $status -eq 0 ]]
	expect_only "$CT"
	[[ -n $stderr && $stderr != *file* ]]
	rm -r "$ROOT/empty" "$ROOT/file"
}

@test "list: the owner of the state directory" {
	start_sleeper
	chown 12345 "$ROOT/$CT"
	[[ $(pyrunc list -f json | jq -r '.[0].owner') == '#12345' ]]
	chown 0 "$ROOT/$CT"
}

@test "list: an argument is refused" {
	mkdir "$ROOT"
	run_pyrunc -1 list extra
	expect '"list" requires exactly 0 argument'
}
