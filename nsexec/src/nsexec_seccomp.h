/* Questions to the kernel and the linker about seccomp(2) that libseccomp does not answer. They change nothing. */
#ifndef NSEXEC_SECCOMP_H
#define NSEXEC_SECCOMP_H

#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel checks the flags before it reads the program, so a known flag with no program is EFAULT (seccomp(2)). */
static inline int nsexec_seccomp_flags_known(unsigned int flags)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) == -1 && errno == EFAULT;
}

static inline int nsexec_seccomp_action_known(uint32_t action)
{
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* The file that libseccomp was loaded from; NULL if the linker cannot tell. */
static inline const char *nsexec_seccomp_library(void)
{
	Dl_info info;

	return dladdr((void *)seccomp_version, &info) ? info.dli_fname : NULL;
}

#endif
