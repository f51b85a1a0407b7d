# Shared by every .bats file: the command under test, a bundle for each test, and a
# teardown that fails a test which leaves a container, a mount or a cgroup behind.
#
#   PYRUNC         the command under test (default: pyrunc)
#   PYRUNC_DRIVER  who makes cgroups: cgroupfs (default) or systemd
#   PYRUNC_TEST_PATIENCE  seconds that something may take before a test fails for it (default: 60)
#
# Each test has its own directory, state root, container id ($CT) and cgroup ($CGROUP). Who is not root runs containers of
# his own, in what is delegated to him.
# shellcheck shell=bash

set -uo pipefail
bats_require_minimum_version 1.5.0

PYRUNC="${PYRUNC:-pyrunc}"
PYRUNC="$(command -v "$PYRUNC")" || { echo "no such command: PYRUNC=${PYRUNC}" >&2; return 1; }
LIB="${BATS_TEST_DIRNAME}/lib"
CGROUPS=/sys/fs/cgroup
DRIVER="${PYRUNC_DRIVER:-cgroupfs}"
FLAGS=()
[[ $DRIVER != systemd ]] || FLAGS=(--systemd-cgroup)
PATIENCE="${PYRUNC_TEST_PATIENCE:-60}"
export PYRUNC LIB CGROUPS

# CRIU: $PYRUNC_CRIU, what tools/criu has fetched, or the machine's.
_criu="${PYRUNC_CRIU:-${BATS_TEST_DIRNAME}/../build/criu/bin/criu}"
[[ -x $_criu ]] && PATH="$(cd "$(dirname "$_criu")" && pwd):$PATH"

require_criu() {
	command -v criu >/dev/null || skip "no CRIU; tools/criu fetches one"
}

# jq -e of nothing fails. (It does not in jq 1.6.)
jq() {
	[[ $1 == -e || $1 == -se ]] || { command jq "$@"; return; }
	local said status=0
	said="$(command jq "$@")" || status=$?
	printf '%s\n' "$said"
	[[ $status -eq 0 && -n $said ]]
}

# --- the command ---------------------------------------------------------------------

pyrunc() {
	"$PYRUNC" --root "$ROOT" "${FLAGS[@]}" "$@"
}

# run_command [-N] COMMAND...: run, with neither input nor bats' own descriptor, and keep $status,
# $output and $lines; with -N the status must be N. The output goes through a file: a pipe would
# keep us waiting for a container that stays.
run_command() {
	local want='' file="$BATS_TEST_TMPDIR/output"
	if [[ $1 =~ ^-[0-9]+$ ]]; then
		want=${1#-}
		shift
	fi
	_run_into "$file" "$@"
	rm "$file"
	_report "$want" "$@"
}

run_pyrunc() { # run_pyrunc [-N] ARGS
	if [[ $1 =~ ^-[0-9]+$ ]]; then
		run_command "$1" pyrunc "${@:2}"
	else
		run_command pyrunc "$@"
	fi
}

# run_detached [-N] ARGS: for create and run -d; what the container prints later is in $OUT too.
run_detached() {
	local want=
	if [[ $1 =~ ^-[0-9]+$ ]]; then
		want=${1#-}
		shift
	fi
	_run_into "$OUT" pyrunc "$@"
	_report "$want" pyrunc "$@"
}

_run_into() { # _run_into FILE COMMAND...
	local file=$1
	shift
	status=0
	"$@" </dev/null >"$file" 2>&1 3>&- || status=$?
	output="$(cat "$file")"
	# shellcheck disable=SC2034  # the tests read it
	IFS=$'\n' read -r -d '' -a lines <<<"$output" || true
}

_report() {
	local want=$1
	shift
	printf '$ %s\n(status %d) %s\n' "$*" "$status" "$output"
	[[ -z $want || $status -eq $want ]] || {
		echo "expected status $want"
		return 1
	}
}

# --- assertions ----------------------------------------------------------------------

expect() { # the output holds each of these texts, quotes written plainly or as a log record escapes them
	local text plain=${output//\\\"/\"}
	for text in "$@"; do
		[[ $output == *"$text"* || $plain == *"$text"* ]] || {
			printf 'not in the output: %s\n--- output:\n%s\n' "$text" "$output"
			return 1
		}
	done
}

refute() { # the output holds none of these texts
	local text
	for text in "$@"; do
		[[ $output != *"$text"* ]] || {
			printf 'should not be in the output: %s\n--- output:\n%s\n' "$text" "$output"
			return 1
		}
	done
}

expect_only() { # the output is exactly this
	[[ $output == "$1" ]] || {
		printf 'expected: %s\n---    got: %s\n' "$1" "$output"
		return 1
	}
}

expect_match() { # the output matches this extended regular expression
	[[ $output =~ $1 ]] || {
		printf 'no match for: %s\n--- output:\n%s\n' "$1" "$output"
		return 1
	}
}

expect_state() { # expect_state ID STATUS
	local got
	got="$(pyrunc state "$1" | jq -r .status)"
	[[ $got == "$2" ]] || {
		echo "state of $1: expected $2, got $got"
		return 1
	}
}

wait_for_state() { # wait_for_state ID STATUS
	wait_for expect_state "$1" "$2" || expect_state "$1" "$2"
}

wait_for() { # wait_for COMMAND...: until it succeeds
	local begin=$SECONDS
	until "$@" >/dev/null 2>&1; do
		((SECONDS - begin < PATIENCE)) || {
			echo "never came true: $*"
			return 1
		}
		sleep 0.05
	done
}

executes() { # executes PID TEXT: its command line begins with that
	[[ $(tr '\0' ' ' <"/proc/$1/cmdline") == "$2"* ]]
}

# wait_for_program: in the container $CT, config.json's has taken the place of the runtime. Who starts it need not wait for that.
wait_for_program() {
	wait_for executes "$(init_pid "$CT")" "$(jq -r '.process.args[0]' config.json) "
}

nothing_left() { # nothing_left ID: no state, no cgroup
	[[ ! -e $ROOT/$1 ]] || {
		echo "state directory left: $ROOT/$1"
		return 1
	}
	no_cgroup_left
}

no_cgroup_left() {
	local left
	# Other cgroups may go while find walks; that is no failure.
	left="$(find "$CGROUPS" \( -name "$CGROUP" -o -name "pyrunctest-$CGROUP.scope" \) -type d 2>/dev/null || true)"
	[[ -z $left ]] || {
		echo "cgroups left: $left"
		return 1
	}
}

no_unit_left() {
	local left user=()
	[[ $EUID -eq 0 ]] || user=(--user)
	left="$(systemctl "${user[@]}" list-units --all --plain --no-legend "pyrunctest-$CGROUP.*")"
	[[ -z $left ]] || {
		echo "units left: $left"
		return 1
	}
}

init_pid() { # init_pid ID
	pyrunc state "$1" | jq .pid
}

# --- cgroups -------------------------------------------------------------------------

is_v2() { # cgroup v2 and nothing else
	[[ -e $CGROUPS/cgroup.controllers ]]
}

is_hybrid() { # v1 with cgroup2 beside it
	[[ -e $CGROUPS/unified/cgroup.controllers ]]
}

only_v1() {
	! is_v2 || skip "cgroup v1 only"
}

only_v2() {
	is_v2 || skip "cgroup v2 only"
}

only_root() {
	[[ $EUID -eq 0 ]] || skip "for root only"
}

only_cgroupfs() {
	[[ $DRIVER == cgroupfs ]] || skip "for the cgroupfs driver only"
}

# needs_controller NAME: of v1, or one that cgroup v2 has
needs_controller() {
	if is_v2; then
		grep -qw "$1" "$CGROUPS/cgroup.controllers" || skip "cgroup v2 does not have the $1 controller here"
	else
		[[ -d $CGROUPS/$1 ]] || skip "the $1 controller is not mounted"
	fi
}

# place_cgroup NAME: in config.json; $BELOW is what it is below the top of its hierarchy.
place_cgroup() {
	local path user=
	[[ $EUID -eq 0 ]] || user="/user.slice/user-$EUID.slice/user@$EUID.service/user.slice"
	if [[ $DRIVER == systemd ]]; then
		path=":pyrunctest:$1"
		BELOW="${user:-/system.slice}/pyrunctest-$1.scope"
	else
		BELOW="${user:+$(dirname "$(sed -n 's/^0:://p' /proc/self/cgroup)")}/$1"
		path="$BELOW"
	fi
	edit --arg path "$path" '.linux.cgroupsPath = $path'
}

cgroup() { # cgroup CONTROLLER: the container's directory; the controller counts on v1 only
	if is_v2; then
		echo "$CGROUPS$BELOW"
	else
		echo "$CGROUPS/$1$BELOW"
	fi
}

file() { # file CONTROLLER NAME: what is in a file of the container's cgroup
	cat "$(cgroup "$1")/$2"
}

limit() { # limit JSON: merged into linux.resources
	edit --argjson value "$1" '.linux.resources = (.linux.resources // {}) * $value'
}

kernel_has() { # kernel_has CONTROLLER V1-FILE V1-VALUE V2-FILE V2-VALUE; a file called - is not looked at
	local name=$2 want=$3 got
	! is_v2 || { name=$4 want=$5; }
	[[ $name != - ]] || return 0
	got="$(file "$1" "$name")"
	[[ $got == "$want" ]] || {
		echo "$name: expected $want, got $got"
		return 1
	}
}

freeze() { # by hand, as somebody else may; returns when all stand
	local dir
	dir="$(cgroup freezer)"
	if is_v2; then
		echo 1 >"$dir/cgroup.freeze"
		wait_for grep -q 'frozen 1' "$dir/cgroup.events"
	else
		echo FROZEN >"$dir/freezer.state"
		wait_for grep -q FROZEN "$dir/freezer.state"
	fi
}

thaw() {
	if is_v2; then
		echo 0 >"$(cgroup freezer)/cgroup.freeze"
	else
		echo THAWED >"$(cgroup freezer)/freezer.state"
	fi
}

# --- the bundle ----------------------------------------------------------------------

# setup_bundle [SPEC-ARGS]: $BUNDLE with a busybox root file system and a config.json from
# `spec`, edited to need no terminal and to have its own cgroup; becomes the working directory.
setup_bundle() {
	ROOT="$BATS_TEST_TMPDIR/state"
	BUNDLE="$BATS_TEST_TMPDIR/bundle"
	OUT="$BATS_TEST_TMPDIR/out"
	CT="ct-$BATS_TEST_NUMBER"
	CGROUP="bats-$$-$BATS_TEST_NUMBER"
	export ROOT BUNDLE OUT CT CGROUP
	# A container in a user namespace reaches its root as another user of the host.
	chmod 0755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$(dirname "$BATS_FILE_TMPDIR")" \
		"$(dirname "$BATS_TEST_TMPDIR")"
	mkdir "$BUNDLE"
	_rootfs "$BUNDLE/rootfs"
	cd "$BUNDLE" || return
	if [[ $EUID -eq 0 ]]; then
		"$PYRUNC" spec "$@"
		edit '.process.terminal = false'
	else
		"$PYRUNC" spec --rootless "$@"
		_own_ids
	fi
	place_cgroup "$CGROUP"
}

# _own_ids: all ids that the user has, for tests with users
_own_ids() {
	local first
	first="$(sed -n "s/^$(id -un):\([0-9]*\):.*/\1/p" /etc/subuid)"
	edit --argjson uid "$EUID" --argjson gid "$(id -g)" --argjson first "$first" '
		def ids($own): [{containerID: 0, hostID: $own, size: 1}, {containerID: 1, hostID: $first, size: 65535}];
		.process.terminal = false | .linux.uidMappings = ids($uid) | .linux.gidMappings = ids($gid)'
}

_rootfs() {
	local base="$BATS_RUN_TMPDIR/rootfs"
	if [[ ! -d $base ]]; then
		mkdir -p "$base.new"/{bin,dev,etc,proc,root,sys,tmp,mnt,home/user}
		cp "$(command -v busybox)" "$base.new/bin/busybox"
		# one process for all: where processes are dear (an emulated machine), four hundred take minutes
		busybox --list | python3 -c 'import os, sys
for name in set(sys.stdin.read().split()) - {"busybox"}:
	os.symlink("busybox", os.path.join(sys.argv[1], name))' "$base.new/bin"
		chmod 1777 "$base.new/tmp"
		printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'user:x:1000:1000:user:/home/user:/bin/sh' \
			>"$base.new/etc/passwd"
		printf '%s\n' 'root:x:0:' 'tty:x:5:' 'user:x:1000:' 'staff:x:50:user' >"$base.new/etc/group"
		mv "$base.new" "$base"
	fi
	cp -a "$base" "$1"
}

# edit [JQ-ARGS] FILTER: rewrite config.json.
edit() {
	jq "$@" <config.json >config.json.new && mv config.json.new config.json
}

# script TEXT: the container runs this with sh.
script() {
	edit --arg text "$1" '.process.args = ["sh", "-c", $text]'
}

# writable: with a root file system that can be written.
writable() {
	edit '.root.readonly = false'
}

# add_mount DESTINATION TYPE SOURCE [OPTION...]
add_mount() {
	edit '$ARGS.positional as $a
		| .mounts += [{destination: $a[0], type: $a[1], source: $a[2], options: $a[3:]}]' --args "$@"
}

# sleeper: a container that stays until it is killed.
sleeper() {
	# again, as CRIU ends what a sleep and a wait are doing
	script 'trap "exit 0" TERM; while :; do sleep 1000 & wait; done'
}

# start_sleeper [ID]: a running container.
start_sleeper() {
	sleeper
	run_detached -0 run -d "${1:-$CT}"
	expect_state "${1:-$CT}" running
}

# share_pids: without a pid namespace of its own; who has not made the one he is in cannot mount its proc.
share_pids() {
	edit '.linux.namespaces |= map(select(.type != "pid"))'
	[[ $EUID -eq 0 ]] || edit '.mounts |= map(if .type == "proc" then . + {type: "none", source: "/proc", options: ["rbind"]} else . end)'
}

# probe_in_rootfs: /bin/probe, a static program that shows what a shell cannot (lib/probe.c).
probe_in_rootfs() {
	local built="$BATS_RUN_TMPDIR/probe"
	[[ -x $built ]] || gcc -static -O1 -o "$built" "$LIB/probe.c"
	cp "$built" rootfs/bin/probe
}

# --- the end -------------------------------------------------------------------------

# delete_all ROOT: every container of that state root.
delete_all() {
	local id
	[[ -d $1 ]] || return 0
	for id in $("$PYRUNC" --root "$1" list -q); do
		"$PYRUNC" --root "$1" delete -f "$id"
	done
}

# remove_cgroups: the end of what a failed test left.
remove_cgroups() {
	local dir pid
	while read -r dir; do
		while read -r pid; do
			kill -KILL "$pid" || true
		done <"$dir/cgroup.procs"
		wait_for rmdir "$dir" || true
	done < <(find "$CGROUPS" -depth -path "*$CGROUP*" -type d)
}

teardown_bundle() {
	local dir left pid
	cd / || return
	for pid in $(jobs -p); do # the programs of lib/ that nobody called
		kill "$pid" 2>/dev/null || true
	done
	for dir in "$BATS_TEST_TMPDIR"/state*; do
		delete_all "$dir"
	done
	no_cgroup_left || {
		remove_cgroups
		return 1
	}
	[[ $DRIVER != systemd ]] || no_unit_left || return 1
	left="$(grep -F "$BATS_TEST_TMPDIR" /proc/self/mountinfo)" || return 0
	printf 'mounts left:\n%s\n' "$left"
	cut -d' ' -f5 <<<"$left" | xargs -r -n 1 umount -l
	return 1
}

setup() {
	setup_bundle
}

teardown() {
	teardown_bundle
}
