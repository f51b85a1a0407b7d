#!/usr/bin/env bats
# linux.seccomp: actions, arguments, ENOSYS for what the profile cannot know, notify.

load helpers

setup() {
	setup_bundle
	probe_in_rootfs
	edit '.process.noNewPrivileges = true'
}

# profile JSON: sets linux.seccomp.
profile() {
	edit --argjson profile "$1" '.linux.seccomp = $profile'
}

# probe ARGS: the container's process.
probe() {
	edit '.process.args = ["probe"] + $ARGS.positional' --args "$@"
}

GETPGRP=111
MKDIR=83
PERSONALITY=135

@test "seccomp: ERRNO, with and without a number" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}, {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 1 '
	probe syscall $MKDIR 0
	run_pyrunc -1 run "$CT"
	expect 'errno 95 '
	script 'grep Seccomp: /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect_only $'Seccomp:\t2'
}

@test "seccomp: without noNewPrivileges, as another user" {
	edit '.process.noNewPrivileges = false | .process.user = {uid: 1000, gid: 1000}'
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 7 '
	script 'grep -E "NoNewPrivs|Uid" /proc/self/status'
	run_pyrunc -0 run "$CT"
	expect $'NoNewPrivs:\t0' $'Uid:\t1000'
}

@test "seccomp: exec is filtered too" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}'
	start_sleeper
	run_pyrunc -1 exec "$CT" probe syscall $GETPGRP
	expect 'errno 7 '
}

@test "seccomp: KILL, KILL_PROCESS, TRAP end with SIGSYS" {
	local action
	for action in SCMP_ACT_KILL SCMP_ACT_KILL_THREAD SCMP_ACT_KILL_PROCESS SCMP_ACT_TRAP; do
		profile "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"getpgrp\"], \"action\": \"$action\"}]}"
		probe syscall $GETPGRP
		run_pyrunc -159 run "$CT"
	done
}

@test "seccomp: LOG lets the call pass" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_LOG"}]}'
	probe syscall $GETPGRP
	run_pyrunc -0 run "$CT"
	expect_match '^ok [01]$'
}

@test "seccomp: one argument, by each operator" {
	local line
	# operator, value, mask; an argument that matches, one that does not
	for line in 'SCMP_CMP_EQ 5 0 5 6' 'SCMP_CMP_NE 5 0 6 5' 'SCMP_CMP_LT 5 0 4 5' 'SCMP_CMP_LE 5 0 5 6' \
		'SCMP_CMP_GT 5 0 6 5' 'SCMP_CMP_GE 5 0 5 4' 'SCMP_CMP_MASKED_EQ 15 3 7 4'; do
		read -r op value second match other <<<"$line"
		if [[ $op == SCMP_CMP_MASKED_EQ ]]; then # (argument & value) == second
			match=3 other=4 value=7 second=3
		fi
		profile "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"getpgrp\"], \"action\": \"SCMP_ACT_ERRNO\",
			\"errnoRet\": 77, \"args\": [{\"index\": 1, \"value\": $value, \"valueTwo\": $second, \"op\": \"$op\"}]}]}"
		script "probe syscall $GETPGRP 0 $match; probe syscall $GETPGRP 0 $other"
		run_pyrunc -0 run "$CT"
		expect_match $'^errno 77 .*\nok [0-9]+$'
	done
}

@test "seccomp: conditions on two arguments must both hold, on one argument either" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [
		{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}]}'
	script "probe syscall $GETPGRP 1 2; probe syscall $GETPGRP 1 3; probe syscall $GETPGRP 0 2"
	run_pyrunc -0 run "$CT"
	expect_match $'^errno 77 .*\nok .*\nok '
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [
		{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}'
	script "probe syscall $GETPGRP 1; probe syscall $GETPGRP 2; probe syscall $GETPGRP 3"
	run_pyrunc -0 run "$CT"
	expect_match $'^errno 77 .*\nerrno 77 .*\nok '
}

# Everything a shell, the probe and the last steps of init need.
ALLOWED='["access","arch_prctl","brk","capget","capset","chdir","clone","clone3","close","close_range","dup","dup2","dup3",
	"epoll_create1","epoll_ctl","epoll_pwait","execve","execveat","exit","exit_group","faccessat","faccessat2","fchdir","fchown","fcntl",
	"fstat","fstatfs","futex","getcwd","getdents","getdents64","getegid","geteuid","getgid","getpid","getpgrp","getrandom",
	"getsockopt","getrlimit","gettid","getuid","ioctl","kill","lseek","lstat","madvise","mmap","mprotect","munmap","nanosleep","newfstatat","open",
	"openat","openat2","pipe","pipe2","poll","ppoll","prctl","pread64","prlimit64","read","readlink","readlinkat","recvfrom","recvmsg","rt_sigaction",
	"rt_sigprocmask","rt_sigreturn","sched_getaffinity","sched_yield","seccomp","sendmsg","sendto","set_robust_list","set_tid_address","setgid","setgroups",
	"setpgid","setresgid","setresuid","setsid","setuid","sigaltstack","stat","statfs","statx","rseq","sysinfo","tgkill","time",
	"umask","uname","unlink","vfork","wait4","write","writev"]'

allow_list() { # allow_list EXTRA: a profile that allows the list and refuses the rest
	profile "$(jq -n --argjson allowed "$ALLOWED" --argjson extra "$1" \
		'{defaultAction: "SCMP_ACT_ERRNO", architectures: ["SCMP_ARCH_X86_64"],
		syscalls: [{names: $allowed, action: "SCMP_ACT_ALLOW"}]} * $extra')"
}

@test "seccomp: a list of allowed calls" {
	allow_list '{}'
	script "probe syscall $GETPGRP; probe syscall $MKDIR 0; echo still alive"
	run_pyrunc -0 run "$CT"
	expect_match $'^ok [0-9]+\nerrno 1 .*\nstill alive$'
}

@test "seccomp: defaultErrnoRet" {
	allow_list '{"defaultErrnoRet": 38}'
	probe syscall $MKDIR 0
	run_pyrunc -1 run "$CT"
	expect 'errno 38 '
}

@test "seccomp: numbers above all that the profile names are ENOSYS, those below the default" {
	allow_list '{}'
	script "probe syscall 999; probe syscall $MKDIR 0"
	run_pyrunc -1 run "$CT"
	expect_match $'^errno 38 .*\nerrno 1 '
}

@test "seccomp: no ENOSYS when all is allowed" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]}'
	probe syscall $MKDIR 0
	run_pyrunc -1 run "$CT"
	expect 'errno 14 '
}

@test "seccomp: names that nobody knows are skipped" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["no_such_call", "getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 7 '
}

@test "seccomp: rules that repeat the default action are no error" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ALLOW"}]}'
	probe syscall $GETPGRP
	run_pyrunc -0 run "$CT"
}

@test "seccomp: an empty profile filters nothing" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW"}'
	probe syscall $GETPGRP
	run_pyrunc -0 run "$CT"
}

@test "seccomp: the 32-bit and x32 architectures" {
	allow_list '{"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}'
	script "probe syscall $GETPGRP; probe syscall \$((0x40000000 + $MKDIR)) 0"
	run_pyrunc -1 run "$CT"
	expect_match $'^ok [0-9]+\nerrno (1|38) '
}

# newer than runc 1.1
@test "seccomp: flags" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
		"syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 1 '
}

@test "seccomp: what is unknown is refused" {
	profile '{"defaultAction": "SCMP_ACT_NOSUCH"}'
	run_pyrunc -1 run "$CT"
	expect SCMP_ACT_NOSUCH
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_NOSUCH"}]}'
	run_pyrunc -1 run "$CT"
	expect SCMP_ACT_NOSUCH
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOSUCH"], "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]}'
	run_pyrunc -1 run "$CT"
	expect SCMP_ARCH_NOSUCH
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NOSUCH"}]}]}'
	run_pyrunc -1 run "$CT"
	expect SCMP_CMP_NOSUCH
	nothing_left "$CT"
}

# newer than runc 1.1
@test "seccomp: an unknown flag" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOSUCH"], "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]}'
	run_pyrunc -1 run "$CT"
	expect 'seccomp flag SECCOMP_FILTER_FLAG_NOSUCH is not known to runc'
}

# newer than runc 1.1
@test "seccomp: the personality is set before the filter" {
	edit '.linux.personality = {domain: "LINUX32"}'
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]}'
	script "uname -m; probe syscall $PERSONALITY 0"
	run_pyrunc -1 run "$CT"
	expect_match $'^i686\nerrno 1 '
}

@test "seccomp: the same profile again, and another one with the same id" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	run_pyrunc -1 run "$CT"
	expect 'errno 7 '
	edit '.linux.seccomp.syscalls[0].errnoRet = 8'
	run_pyrunc -1 run "$CT"
	expect 'errno 8 '
}

@test "seccomp: a program that others can write is not taken from the cache" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	local file
	while read -r file; do
		truncate -s 8 "$file"
	done < <(find "$ROOT" -type f)
	run_pyrunc -1 run "$CT"
	expect 'errno 7 '
}

# --- notify --------------------------------------------------------------------------

agent() { # agent ANSWER: listens on ./agent.sock, keeps what came in ./agent.json
	python3 "$LIB/seccompagent.py" "$BUNDLE/agent.sock" "$BUNDLE/agent.json" "$1" 3>&- &
	wait_for test -S agent.sock
}

notify() { # notify NAMES
	profile "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": \"$BUNDLE/agent.sock\", \"listenerMetadata\": \"some data\",
		\"syscalls\": [{\"names\": $1, \"action\": \"SCMP_ACT_NOTIFY\"}]}"
}

@test "seccomp notify: the agent answers" {
	notify '["getpgrp"]'
	agent 99
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 99 '
	wait
	jq -e --arg id "$CT" '.fds == ["seccompFd"] and .metadata == "some data" and (.pid | type) == "number"
		and .state.id == $id and .state.status == "creating"' agent.json
}

@test "seccomp notify: the agent returns a value, without noNewPrivileges" {
	edit '.process.noNewPrivileges = false'
	notify '["getpgrp"]'
	agent value:4711
	probe syscall $GETPGRP
	run_pyrunc -0 run "$CT"
	expect 'ok 4711'
}

@test "seccomp notify: the agent lets calls pass that init needs itself" {
	notify '["openat", "close", "execve", "getpgrp"]'
	agent continue
	probe syscall $GETPGRP
	run_pyrunc -0 run "$CT"
	expect_match '^ok [01]$'
}

@test "seccomp notify: exec" {
	notify '["getpgrp"]'
	agent continue
	start_sleeper
	wait_for test -s agent.json
	rm agent.sock agent.json
	agent 98
	run_pyrunc -1 exec "$CT" probe syscall $GETPGRP
	expect 'errno 98 '
	jq -e '.state.status == "running" and .pid != .state.pid' agent.json
}

@test "seccomp notify: refusals" {
	notify '["write"]'
	run_pyrunc -1 run "$CT"
	expect 'SCMP_ACT_NOTIFY cannot be used for the write syscall'
	notify '["getpgrp"]'
	edit 'del(.linux.seccomp.listenerPath)'
	run_pyrunc -1 run "$CT"
	expect 'listenerPath is not set'
	profile '{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}'
	run_pyrunc -1 run "$CT"
	expect 'SCMP_ACT_NOTIFY cannot be used as default action'
	nothing_left "$CT"
}

# newer than runc 1.1
@test "seccomp notify: a missing listenerPath, in the contract's words" {
	notify '["getpgrp"]'
	edit 'del(.linux.seccomp.listenerPath)'
	run_pyrunc -1 run "$CT"
	expect 'seccomp listenerPath is not set'
}

@test "seccomp notify: no agent" {
	notify '["getpgrp"]'
	run_pyrunc -1 run "$CT"
	expect 'failed to connect with seccomp agent specified in the seccomp profile'
	nothing_left "$CT"
}

@test "seccomp notify: the listener is not needed when no rule notifies" {
	profile '{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such", "listenerMetadata": "x", "syscalls": [{"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO"}]}'
	probe syscall $GETPGRP
	run_pyrunc -1 run "$CT"
	expect 'errno 1 '
}
