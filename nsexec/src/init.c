/*
 * The container's init until the user's program takes over, and every process that joins a container.
 *
 * It knows nothing of containers: it executes batches of system calls that Python sends over a socket
 * (protocol.h), in namespaces that Python cannot, or must not, enter. It is static, needs no libc, allocates
 * nothing but one mapping a request, and runs from a sealed memfd, so that no container can reach a host
 * executable through /proc/PID/exe (CVE-2019-5736).
 *
 * The peer is trusted (it is our parent, over a socketpair); what is checked here are its mistakes: every offset,
 * index and size of a request is bounded before use.
 */
#include <asm/unistd.h>
#include <errno.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kernel.h"
#include "protocol.h"

#define MAX_AGAIN 1000

static int control = -1;      /* the socket; -1 once detached */
static int plain;             /* read requests with read(2) only */
static int broken;            /* the last request failed */
static const char *label;     /* what a detached step is called in its failure message */

/* OP_EACH under way: calls [first, end) run again and again, `left` counts this time. */
struct loop {
	uint32_t first, end, left, row, width;
	const uint64_t *words; /* of this row */
};

/* One request in memory: the payload, followed by the results of its calls. */
struct batch {
	struct request head;
	struct call *calls;
	char *data;
	int64_t *results;
	struct loop loop;
	size_t mapped;
	uint32_t nfds;
	int32_t fds[MAX_FDS];
};

/* gcc may emit calls to these even in freestanding code. */
#ifndef NSEXEC_HOSTED
void *memset(void *to, int byte, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}
#endif

__attribute__((noreturn)) static void die(int status)
{
	sys1(__NR_exit_group, status);
	sys1(__NR_exit, status);
	__builtin_trap(); /* a seccomp profile may refuse both: then a signal ends us, not a loop for ever */
}

static void print(const char *text)
{
	size_t n = 0;

	while (text && text[n])
		n++;
	sys3(__NR_write, 2, text, n);
}

static void print_number(long value)
{
	char digits[24];
	size_t at = sizeof digits - 1;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	print(digits + at);
}

/* As signal_text() in libcontainer/program.py has them; no pointers, which would need relocations. */
static const struct {
	uint8_t signal;
	char words[31];
} signals[] = {
	{SIGHUP, "hangup"},
	{SIGINT, "interrupt"},
	{SIGQUIT, "quit"},
	{SIGILL, "illegal instruction"},
	{SIGABRT, "aborted"},
	{SIGBUS, "bus error"},
	{SIGFPE, "floating point exception"},
	{SIGKILL, "killed"},
	{SIGSEGV, "segmentation fault"},
	{SIGPIPE, "broken pipe"},
	{SIGALRM, "alarm clock"},
	{SIGTERM, "terminated"},
	{SIGSYS, "bad system call"},
};

static void print_signal(int number)
{
	print(": signal: ");
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (signals[i].signal == number) {
			print(signals[i].words);
			return;
		}
	print("signal ");
	print_number(number);
}

/* Nobody listens any more: say on stderr what failed, as the program that would have run can not. */
__attribute__((noreturn)) static void fail_detached(long error)
{
	print(label);
	print(": error number ");
	print_number(error);
	print("\n");
	die(255);
}

/* The end of what a hook has printed into a memory file. */
static void print_file(const char *name, long fd)
{
	char last[QUOTED];
	long at = sys3(__NR_lseek, fd, -(long)sizeof last, SEEK_END), n = 0;

	if (at < 0)
		at = sys3(__NR_lseek, fd, 0, SEEK_SET);
	if (at >= 0)
		n = sys3(__NR_read, fd, last, sizeof last);
	print(name);
	if (at > 0)
		print("...");
	if (n > 0)
		sys3(__NR_write, 2, last, n);
}

/* As for a hook that fails while somebody listens, see container_hooks.py. */
__attribute__((noreturn)) static void fail_hook(const long arg[6], uint32_t timeout, long error)
{
	int status = (int)error - HOOK_STATUS;

	print(label);
	if (error == ETIMEDOUT) {
		print(": hook ran past specified timeout of ");
		print_number(timeout / 1000);
		print(".");
		print_number(timeout % 1000 / 100);
		print("s");
	} else if (error < HOOK_STATUS) {
		print(": fork/exec ");
		print((const char *)arg[0]);
		print(": ");
		if (error == ENOENT) {
			print("no such file or directory");
		} else if (error == EACCES) {
			print("permission denied");
		} else {
			print("error number ");
			print_number(error);
		}
	} else {
		if (WIFSIGNALED(status)) {
			print_signal(WTERMSIG(status));
		} else {
			print(": exit status ");
			print_number(WEXITSTATUS(status));
		}
		print_file(", stdout: ", arg[4]);
		print_file(", stderr: ", arg[5]);
	}
	print("\n");
	die(255);
}

static int write_all(const void *from, size_t n)
{
	while (n) {
		long done = sys3(__NR_write, control, from, n);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			return -1;
		from = (const char *)from + done;
		n -= (size_t)done;
	}
	return 0;
}

/* 0, or -1 at end of file or on an error. */
static int read_all(void *to, size_t n)
{
	while (n) {
		long done = sys3(__NR_read, control, to, n);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			return -1;
		to = (char *)to + done;
		n -= (size_t)done;
	}
	return 0;
}

union fd_message {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * MAX_FDS)];
};

/* Receive the head of a request and the descriptors that come with it. */
static int receive_head(struct batch *b)
{
	union fd_message ancillary;
	struct iovec io = {&b->head, sizeof b->head};
	struct msghdr message = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
	struct cmsghdr *c;
	long got;

	b->nfds = 0;
	if (plain)
		return read_all(&b->head, sizeof b->head);
	do
		got = sys3(__NR_recvmsg, control, &message, MSG_CMSG_CLOEXEC);
	while (got == -EINTR);
	if (got <= 0)
		return -1;
	c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && !(message.msg_flags & MSG_CTRUNC)) {
		b->nfds = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(b->fds, CMSG_DATA(c), b->nfds * sizeof(int));
	}
	return read_all((char *)&b->head + got, sizeof b->head - (size_t)got);
}

/* Is the request well formed? Relocates its pointers. */
static int check(struct batch *b)
{
	const struct request *r = &b->head;
	const uint32_t *relocs;

	if (r->calls_off % 8 || r->calls_off > r->size ||
	    (uint64_t)r->ncalls * sizeof(struct call) + (uint64_t)r->nrelocs * sizeof(uint32_t) > r->size - r->calls_off)
		return -1;
	b->calls = (struct call *)(void *)(b->data + r->calls_off);
	if (r->result_off > r->size || r->result_len > r->size - r->result_off)
		return -1;
	relocs = (const uint32_t *)(const void *)&b->calls[r->ncalls];
	for (uint32_t i = 0; i < r->nrelocs; i++) {
		uint64_t *slot;

		if (r->size < sizeof *slot || relocs[i] > r->size - sizeof *slot || relocs[i] % sizeof *slot)
			return -1;
		slot = (uint64_t *)(void *)(b->data + relocs[i]);
		if (*slot > r->size)
			return -1;
		*slot = (uint64_t)(b->data + *slot);
	}
	return 0;
}

static int receive(struct batch *b)
{
	long memory;

	if (receive_head(b) < 0 || b->head.size > MAX_PAYLOAD || b->head.ncalls > MAX_PAYLOAD / sizeof(struct call))
		return -1;
	b->mapped = ((b->head.size + 7u) & ~7u) + b->head.ncalls * sizeof(int64_t) + sizeof(int64_t);
	memory = sys6(__NR_mmap, 0, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory < 0)
		return -1;
	b->data = (char *)memory;
	b->results = (int64_t *)(void *)(b->data + ((b->head.size + 7u) & ~7u));
	if (read_all(b->data, b->head.size) < 0)
		return -1;
	return check(b);
}

/* The descriptors that the reply carries: how many, and in `fds` which. */
static uint32_t descriptors(const struct batch *b, int fds[MAX_FDS])
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->head.ncalls && n < MAX_FDS; i++)
		if (b->calls[i].back && b->results[i] >= 0)
			fds[n++] = (int)b->results[i];
	return n;
}

/* Send the head, with descriptors if there are any: without, a plain write, as a seccomp filter may allow no more. */
static int reply_head(const struct batch *b, const struct reply *head)
{
	union fd_message ancillary = {.room = {0}};
	struct iovec io = {(void *)(uintptr_t)head, sizeof *head};
	struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &ancillary};
	struct cmsghdr *c = &ancillary.align;
	int fds[MAX_FDS];
	uint32_t n = head->failed < 0 ? descriptors(b, fds) : 0;

	if (!n)
		return write_all(head, sizeof *head);
	message.msg_controllen = CMSG_SPACE(n * sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sys3(__NR_sendmsg, control, &message, MSG_NOSIGNAL) == (long)sizeof *head ? 0 : -1;
}

static int reply(const struct batch *b, int32_t failed, int32_t error)
{
	struct reply head = {.failed = failed, .error = error, .ncalls = b->head.ncalls, .row = b->loop.row, .nfds = b->nfds};

	memcpy(head.fds, b->fds, sizeof head.fds);
	if (reply_head(b, &head) < 0 || write_all(b->results, b->head.ncalls * sizeof(int64_t)) < 0)
		return -1;
	return write_all(b->data + b->head.result_off, b->head.result_len);
}

/*
 * openat2(2) has EAGAIN for ".." below a root while anything is renamed or mounted, anywhere on the machine: whoever may
 * rename would keep containers from starting whose image has a "../" in a symlink.
 */
static long do_syscall(uint32_t nr, const long arg[6])
{
	int tries = nr == __NR_openat2 ? MAX_AGAIN : 1;
	long result;

	do
		result = kernel((long)nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	while (result == -EAGAIN && --tries);
	return result;
}

/* What an argument of call `index` stands for; 0, or -1 if it refers to nothing. */
static int resolve(const struct batch *b, uint32_t index, uint64_t argument, long *value)
{
	uint64_t reference = REFERENCE(argument);

	switch (TAG(argument)) {
	case TAG_DATA:
		*value = (long)(b->data + reference);
		return reference > b->head.size ? -1 : 0;
	case TAG_RESULT:
		if (reference >= index)
			return -1;
		*value = b->results[reference];
		return 0;
	case TAG_FD:
		if (reference >= b->nfds)
			return -1;
		*value = b->fds[reference];
		return 0;
	case TAG_ITEM:
		if (!b->loop.left || reference >= b->loop.width)
			return -1;
		*value = (long)b->loop.words[reference];
		return 0;
	default:
		*value = (long)argument;
		return 0;
	}
}

/* clone3 as a sibling (CLONE_PARENT): the child belongs to Python at once, and goes on with the next request. */
static long do_clone(struct batch *b, uint32_t index, const long arg[6])
{
	struct clone_args args = {.flags = (uint64_t)arg[0] | CLONE_PARENT};
	long pid;

	if ((uint64_t)arg[0] & CLONE_INTO_CGROUP)
		args.cgroup = (uint64_t)arg[1];
	pid = sys2(__NR_clone3, &args, sizeof args);
	if (pid > 0) {
		b->results[index] = pid;
		die(reply(b, -1, 0) < 0);
	}
	return pid;
}

/* The child of OP_HOOK: never returns. */
__attribute__((noreturn)) static void exec_hook(const long arg[6], int report)
{
	long error;

	for (int i = 0; i < 3; i++)
		sys3(__NR_dup3, arg[3 + i], i, 0);
	sys3(__NR_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
	error = sys3(__NR_execve, arg[0], arg[1], arg[2]);
	sys3(__NR_write, report, &error, sizeof error);
	die(127);
}

/* Wait for the hook, at most `timeout` ms (0: for ever): 0, -ETIMEDOUT, or -(HOOK_STATUS + wait status). */
static long wait_hook(int pid, int pidfd, uint32_t timeout)
{
	struct pollfd ready = {.fd = pidfd, .events = POLLIN};
	struct timespec limit = {timeout / 1000, (long)(timeout % 1000) * 1000000};
	int status = 0;
	long polled;

	do
		polled = sys5(__NR_ppoll, &ready, 1, timeout ? &limit : NULL, NULL, 0);
	while (polled == -EINTR);
	if (polled == 0)
		sys4(__NR_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	sys4(__NR_wait4, pid, &status, __WALL, NULL);
	sys1(__NR_close, pidfd);
	if (polled == 0)
		return -ETIMEDOUT;
	return status ? -(HOOK_STATUS + (long)status) : 0;
}

static long do_hook(const long arg[6], uint32_t timeout)
{
	int report[2], pidfd = -1;
	long pid, error = 0, done;

	done = sys2(__NR_pipe2, report, O_CLOEXEC);
	if (done < 0)
		return done;
	/* Not clone3: engines' seccomp profiles refuse it, as its flags cannot be filtered. */
	pid = sys5(__NR_clone, CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
	if (pid == 0)
		exec_hook(arg, report[1]);
	sys1(__NR_close, report[1]);
	if (pid < 0) {
		sys1(__NR_close, report[0]);
		return pid;
	}
	sys3(__NR_read, report[0], &error, sizeof error);
	sys1(__NR_close, report[0]);
	done = wait_hook((int)pid, pidfd, timeout);
	if (error)
		done = error;
	if (done && control < 0)
		fail_hook(arg, timeout, -done);
	return done;
}

/* The text for `error` in the table at offset `table` of the payload, NULL if it has none. */
static const char *message(const struct batch *b, uint64_t table, uint64_t error)
{
	struct message row;

	for (uint64_t at = table; at + sizeof row <= b->head.size; at += sizeof row) {
		memcpy(&row, b->data + at, sizeof row);
		if (!row.error || row.error == error)
			return table + row.text <= b->head.size ? b->data + table + row.text : NULL;
	}
	return NULL;
}

static long do_exec(const struct batch *b, const struct call *call, const long arg[6])
{
	long error = sys3(__NR_execve, arg[0], arg[1], arg[2]);

	if (control < 0) {
		print(label);
		print(message(b, REFERENCE(call->arg[3]), (uint64_t)-error));
		die(255);
	}
	return error;
}

/* Compare what an earlier call wrote (a device number, a file system's magic), or returned, with what it must, or must not, be. */
static long do_expect(const long arg[6], uint32_t error)
{
	uint64_t found = 0;

	if (arg[1] < 0 || arg[1] > (long)sizeof found)
		return -EBADMSG;
	if (arg[1])
		memcpy(&found, (const void *)arg[0], (size_t)arg[1]);
	else
		found = (uint64_t)arg[0];
	found &= ~(uint64_t)arg[4];
	return (found == (uint64_t)arg[3]) == (arg[2] == 1) ? 0 : -(long)error;
}

/* No loop in a loop, none without a row or a call, and no row outside of the payload. */
static long begin_each(struct batch *b, uint32_t index)
{
	const struct call *call = &b->calls[index];
	uint64_t at = REFERENCE(call->arg[0]), width = call->arg[1];

	if (b->loop.left || !call->nr || !call->skip || call->skip >= b->head.ncalls - index || at % sizeof(uint64_t) ||
	    !width || width > MAX_COLUMNS || at > b->head.size || call->nr * width * sizeof(uint64_t) > b->head.size - at)
		return -EBADMSG;
	b->loop = (struct loop){.first = index + 1,
				.end = index + 1 + call->skip,
				.left = call->nr,
				.width = (uint32_t)width,
				.words = (const uint64_t *)(const void *)(b->data + at)};
	return 0;
}

/* The call to run when those before `next` have been: at the end of a loop the first one again, for the next row. */
static uint32_t follow(struct batch *b, uint32_t next)
{
	struct loop *loop = &b->loop;

	if (!loop->left || next < loop->end)
		return next;
	if (!--loop->left)
		return next;
	loop->row++;
	loop->words += loop->width;
	return loop->first;
}

static long do_sync(const struct batch *b)
{
	char go;

	if (reply(b, -1, 0) < 0 || read_all(&go, 1) < 0)
		die(1);
	return 0;
}

static long do_detach(void)
{
	long done = sys1(__NR_close, control);

	control = -1;
	return done;
}

static long execute(struct batch *b, uint32_t index)
{
	const struct call *call = &b->calls[index];
	long arg[6];

	for (int i = 0; i < 6; i++)
		if (resolve(b, index, call->arg[i], &arg[i]) < 0)
			return -EBADMSG;
	/* Not the kernel but we ourselves read there. */
	if ((call->op == OP_LABEL || (call->op == OP_EXPECT && arg[1]) || call->op == OP_EACH) && TAG(call->arg[0]) != TAG_DATA)
		return -EBADMSG;
	switch (call->op) {
	case OP_SYSCALL:
		return do_syscall(call->nr, arg);
	case OP_CLONE:
		return do_clone(b, index, arg);
	case OP_SYNC:
		return do_sync(b);
	case OP_DETACH:
		return do_detach();
	case OP_LABEL:
		label = (const char *)arg[0];
		return 0;
	case OP_HOOK:
		return do_hook(arg, call->nr);
	case OP_EXEC:
		return do_exec(b, call, arg);
	case OP_EXPECT:
		return do_expect(arg, call->nr);
	case OP_SKIP:
		return 0;
	case OP_PLAIN:
		plain = 1;
		return 0;
	case OP_EACH:
		return begin_each(b, index);
	default:
		return -EBADMSG;
	}
}

static int tolerated(const struct call *call, long error)
{
	return call->ok[0] == ANY_ERROR || error == call->ok[0] || error == call->ok[1];
}

/* Run the calls in order. Returns 1 if this process is a fresh clone, which must not answer. */
static int run(struct batch *b)
{
	if (broken && b->head.flags & CONTINUE)
		return reply(b, 0, ECANCELED);
	broken = 0;
	label = NULL; /* it lay in an earlier request */
	b->loop = (struct loop){0};
	for (uint32_t i = 0; i < b->head.ncalls; i = follow(b, i + 1)) {
		long result = execute(b, i);

		b->results[i] = result;
		if (result == 0 && b->calls[i].op == OP_CLONE)
			return 1;
		if (b->calls[i].op == OP_SKIP)
			i += b->calls[i].skip;
		else if (result >= 0 || result < -(HOOK_STATUS + 0xffffL))
			continue;
		else if (tolerated(&b->calls[i], -result))
			i += b->calls[i].skip;
		else if (control < 0)
			fail_detached(-result);
		else {
			broken = 1;
			return reply(b, (int32_t)i, (int32_t)-result);
		}
	}
	return reply(b, -1, 0);
}

#define RESTORER 0x04000000 /* SA_RESTORER of asm/signal.h, without which x86 delivers no signal */

struct action { /* struct sigaction as the kernel has it */
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static void end_by(int signal)
{
	die(128 + signal);
}

static void never_returns(void)
{
	__builtin_trap();
}

/*
 * A new program inherits ignored signals and the mask: containers start with neither (signal(7)). What asks a program
 * to end must end a created container too, but pid 1 gets only signals that it handles (pid_namespaces(7)).
 */
static void reset_signals(void)
{
	static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
	struct action action = {.handler = SIG_DFL};
	uint64_t none = 0;

	for (int i = 1; i <= 64; i++)
		sys4(__NR_rt_sigaction, i, &action, NULL, sizeof none);
	action = (struct action){.handler = end_by, .flags = RESTORER, .restorer = never_returns};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		sys4(__NR_rt_sigaction, ends[i], &action, NULL, sizeof none);
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static int serve(const char *descriptor)
{
	struct batch b = {.nfds = 0};

	control = 0;
	for (const char *c = descriptor; *c >= '0' && *c <= '9' && control < 100000; c++)
		control = control * 10 + (*c - '0');
	reset_signals();
	while (receive(&b) == 0) {
		if (run(&b) < 0)
			break;
		sys2(__NR_munmap, b.data, b.mapped);
	}
	return 1;
}

#ifdef NSEXEC_HOSTED
int main(int argc, char **argv)
{
	return argc == 3 ? serve(argv[2]) : 2;
}
#else
__attribute__((noreturn, used)) void start(const long *stack)
{
	die(stack[0] == 3 ? serve((const char *)stack[3]) : 2);
}

ENTRY;
#endif
