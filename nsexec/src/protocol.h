/*
 * The wire format between Python (libcontainer/remote.py) and the init (init.c).
 *
 * One request is a batch of calls, executed in order until one fails. Everything is in host byte order:
 * both ends are the same machine.
 *
 *   request:  struct request, with up to MAX_FDS descriptors attached (SCM_RIGHTS), then `size` bytes of payload:
 *             data, then at `calls_off` struct call[ncalls], uint32_t relocation[nrelocs]. Several may be
 *             sent before the first is answered; after one that failed, those that CONTINUE it are not executed.
 *   reply:    struct reply, int64_t result[ncalls], then `result_len` bytes of the payload from `result_off`;
 *             attached are the descriptors that calls marked `back` returned (only if none failed).
 */
#ifndef NSEXEC_PROTOCOL_H
#define NSEXEC_PROTOCOL_H

#include <stdint.h>

#define MAX_FDS 64
#define MAX_COLUMNS 8
#define MAX_PAYLOAD (64u << 20)
#define ANY_ERROR 0xffff /* in `ok`: tolerate every errno */

#define CONTINUE 1 /* answer ECANCELED for the first call if the request before this one failed */

enum op {
	OP_SYSCALL = 0, /* the system call `nr` with `arg` */
	OP_CLONE = 1,   /* clone3(arg[0] = flags, arg[1] = cgroup fd); the caller replies the child's pid and exits */
	OP_SYNC = 2,    /* reply what has been done so far, go on when one byte comes back; plain write and read */
	OP_DETACH = 3,  /* close the socket: nobody listens from here on, failures go to stderr */
	OP_LABEL = 4,   /* arg[0] = text put in front of a failure's message when detached */
	OP_HOOK = 5,    /* run arg[0..2] = path, argv, envp with fds 0-2 = arg[3..5], at most `nr` ms (0: no limit) */
	OP_EXEC = 6,    /* execve(arg[0..2]); arg[3] = struct message[] that words the failure */
	OP_EXPECT = 7,  /* fail with errno `nr` unless the arg[1] bytes at arg[0] (with arg[1] = 0: arg[0] itself), without the
			   bits arg[4], equal (arg[2] = 1) arg[3], or differ (0) */
	OP_SKIP = 8,    /* pass over the next `skip` calls */
	OP_PLAIN = 9,   /* from the next request on use read(2), not recvmsg(2): a seccomp filter is in force */
	OP_EACH = 10,   /* run the next `skip` calls for each of the `nr` rows of arg[1] words at arg[0] */
};

/*
 * An argument is a number, or refers to something if its upper 16 bits are one of these tags. Numbers that look so are
 * no argument of any call that we make: descriptors, flags, ids, sizes and offsets are below 2^48 or negative.
 */
#define TAG(argument) ((argument) >> 48)
#define REFERENCE(argument) ((argument) & 0xffffffff)
enum tag {
	TAG_DATA = 0x7a01,   /* pointer to this offset of the payload */
	TAG_RESULT = 0x7a02, /* result of this earlier call of the batch */
	TAG_FD = 0x7a03,     /* this descriptor of the request */
	TAG_ITEM = 0x7a04,   /* this word of the row that OP_EACH is at */
};

struct call {
	uint16_t op;
	uint16_t ok[2]; /* tolerated errnos, 0 = none */
	uint16_t skip;  /* so many of the next calls are passed over after a tolerated error */
	uint32_t nr;
	uint8_t back; /* the result is a descriptor that goes with the reply */
	uint8_t pad[3];
	uint64_t arg[6];
};

struct request {
	uint32_t size;
	uint32_t ncalls;
	uint32_t nrelocs; /* each relocation is the offset of a uint64_t that holds an offset and becomes a pointer */
	uint32_t calls_off; /* a multiple of 8 */
	uint32_t result_off;
	uint32_t result_len;
	uint32_t flags; /* CONTINUE */
	uint32_t pad;
};

struct reply {
	int32_t failed; /* index of the call that failed, -1 if none */
	int32_t error;  /* its errno, or HOOK_STATUS + wait status */
	uint32_t ncalls;
	uint32_t row; /* that OP_EACH was at when the call failed */
	uint32_t nfds;
	int32_t fds[MAX_FDS]; /* numbers under which the request's descriptors are known to init */
};

/* A failed OP_HOOK: HOOK_STATUS + the wait status of the program. */
#define HOOK_STATUS 0x10000
/* What is told of each stream of a hook that failed when detached, the end of it; as in libcontainer/program.py. */
#define QUOTED 3072

/* Of the table that words a failed OP_EXEC, after the label. */
struct message {
	uint32_t error; /* errno, 0 ends the table and is the message for all others */
	uint32_t text;  /* offset of the text from the start of the table, NUL terminated */
};

#endif
