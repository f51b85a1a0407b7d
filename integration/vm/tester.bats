#!/usr/bin/env bats
# As a user with a session and delegated controllers, cgroupfs driver: the user's own containers, with limits that hold.
# Run in the guest by `as-tester`, whose unit's cgroup is the user's.

setup() {
	ROOT=$BATS_TEST_TMPDIR/state CT=ct-$BATS_TEST_NUMBER
	mkdir -p "$BATS_TEST_TMPDIR/bundle/rootfs"/{bin,dev,proc,sys,tmp}
	cd "$BATS_TEST_TMPDIR/bundle" || return
	cp "$(command -v busybox)" rootfs/bin/busybox
	for name in sh sleep cat id head; do ln -s busybox "rootfs/bin/$name"; done
	"$PYRUNC" spec --rootless
	edit '.process.terminal = false | .process.args = ["sleep", "1000"]'
}

teardown() {
	"$PYRUNC" --root "$ROOT" delete --force "$CT" >/dev/null 2>&1 || true
}

edit() {
	jq "$@" config.json >config.new && mv config.new config.json
}

pyrunc() {
	"$PYRUNC" --root "$ROOT" "$@" 3>&- </dev/null
}

state() {
	pyrunc state "$CT" | jq -r ".$1"
}

@test "tester: a container of his own, from create to delete" {
	pyrunc create "$CT" >/dev/null 2>&1
	[ "$(state status)" = created ]
	pyrunc start "$CT"
	[ "$(state status)" = running ]
	[ "$(pyrunc exec "$CT" id -u)" = 0 ]
	[ "$(id -u)" = 1000 ]
	pyrunc kill "$CT" KILL
	for _ in {1..100}; do
		[ "$(state status)" != stopped ] || break
		sleep 0.1
	done
	pyrunc delete "$CT"
	[ ! -e "$ROOT/$CT" ]
}

@test "tester: ids are mapped, nothing of root's is his" {
	edit '.process.args = ["sh", "-c", "cat /proc/self/uid_map; echo x >/proc/sys/kernel/hostname; cat /proc/1/environ | head -c 0; id -u"]'
	run pyrunc run "$CT"
	[[ $output == *"1000"* ]]
	[[ $output == *"Read-only file system"* || $output == *"ermission denied"* ]]
}

@test "tester: a limit that he may not set is an error with the name of the field" {
	edit '.linux.cgroupsPath = "/not-his" | .linux.resources.memory.limit = 33554432'
	run pyrunc --rootless=false run "$CT"
	[ "$status" -ne 0 ]
	[[ $output == *cgroup* || $output == *memory* ]]
	[ ! -e "$ROOT/$CT" ]
}

@test "tester: pause and resume by the systemd driver, in a scope of his own" {
	edit '.linux.cgroupsPath = "user.slice:pyrunctest:'"$CT"'" | .linux.resources.memory.limit = 33554432'
	pyrunc --systemd-cgroup run -d "$CT" >/dev/null 2>&1
	unit=pyrunctest-$CT.scope
	[ "$(systemctl --user show -P MemoryMax "$unit")" = 33554432 ]
	pyrunc pause "$CT"
	[ "$(state status)" = paused ]
	pyrunc resume "$CT"
	[ "$(state status)" = running ]
	pyrunc update --memory 64M "$CT"
	[ "$(systemctl --user show -P MemoryMax "$unit")" = 67108864 ]
	pyrunc delete --force "$CT"
	[ "$(systemctl --user show -P LoadState "$unit")" = not-found ]
}
