/* System calls for the host side. All return >= 0 or -errno, none prints, exits, or clones back into Python. */
#ifndef NSEXEC_HOST_H
#define NSEXEC_HOST_H

#include <stddef.h>
#include <stdint.h>

/* A file that holds the static init and that nobody can change: a sealed memfd (F_SEAL_*), where that may be executed. */
int nsexec_program(void);

/*
 * vfork and execveat the init in `memfd`: its descriptors 0..n-1 are fds[0..n-1], descriptor n is `control`, all others
 * are closed. Returns its pid.
 */
int nsexec_spawn(int memfd, const int *fds, int n, int control);

int nsexec_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int nsexec_bpf(int command, void *attr, unsigned int size);

/* Where a buffer is in memory, for the pointers in a union bpf_attr. */
int64_t nsexec_address(const void *buffer);

int nsexec_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int nsexec_signalfd(int fd, uint64_t signals);
int nsexec_sigprocmask(int how, uint64_t signals);
int nsexec_pidfd_getfd(int pidfd, int fd);
int nsexec_prlimit(int pid, unsigned int limit, uint64_t soft, uint64_t hard);

/* Two uint64_t. */
int nsexec_getrlimit(unsigned int limit, void *soft_and_hard);

int nsexec_close_range(unsigned int first, unsigned int last, unsigned int flags);

#endif
