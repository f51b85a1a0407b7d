/* probe: shows, from inside a container, what a shell cannot see.
 *
 *   probe syscall NR [ARG...]     the result of one system call: "ok VALUE" or "errno NAME-NUMBER"
 *   probe fds                     the open descriptors, one a line: "N TARGET"
 *   probe sched                   policy, nice, priority and flags of sched_getattr(2)
 *   probe ioprio                  class and level of ioprio_get(2)
 *   probe personality             the persona, in hexadecimal
 *   probe affinity                the number of CPUs of sched_getaffinity(2)
 *   probe keyring                 the description of the session keyring
 *   probe winsize                 rows and columns of the terminal on stdin
 *   probe send PATH TEXT...       each text as a datagram to a socket
 *   probe mknod PATH c|b MAJ MIN  makes a device node
 *   probe open PATH r|w           opens a file
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define KEYCTL_DESCRIBE 6
#define KEY_SPEC_SESSION_KEYRING (-3)

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int result(long value)
{
	if (value == -1) {
		printf("errno %d (%s)\n", errno, strerror(errno));
		return 1;
	}
	printf("ok %ld\n", value);
	return 0;
}

static int probe_syscall(int argc, char **argv)
{
	long a[7] = {0};
	for (int i = 0; i < 7 && i < argc; i++)
		a[i] = strtol(argv[i], NULL, 0);
	return result(syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]));
}

static int probe_fds(void)
{
	char path[280], target[4096];
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	if (!dir)
		return result(-1);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		ssize_t n = readlink(path, target, sizeof target - 1);
		target[n < 0 ? 0 : n] = 0;
		printf("%s %s\n", entry->d_name, target);
	}
	return 0;
}

static int probe_sched(void)
{
	struct attr attr = {0};
	if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0))
		return result(-1);
	printf("policy=%u nice=%d priority=%u flags=%llu runtime=%llu deadline=%llu period=%llu\n",
	       attr.policy, attr.nice, attr.priority, (unsigned long long)attr.flags,
	       (unsigned long long)attr.runtime, (unsigned long long)attr.deadline,
	       (unsigned long long)attr.period);
	return 0;
}

static int probe_ioprio(void)
{
	long value = syscall(SYS_ioprio_get, 1, 0);
	if (value < 0)
		return result(-1);
	printf("class=%ld level=%ld\n", value >> 13, value & 7);
	return 0;
}

static int probe_affinity(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set))
		return result(-1);
	printf("cpus=%d\n", CPU_COUNT(&set));
	return 0;
}

static int probe_keyring(void)
{
	char text[512];
	if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text) < 0)
		return result(-1);
	puts(text);
	return 0;
}

static int probe_winsize(void)
{
	struct winsize size;
	if (ioctl(0, TIOCGWINSZ, &size))
		return result(-1);
	printf("rows=%d columns=%d\n", size.ws_row, size.ws_col);
	return 0;
}

static int probe_send(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strncpy(to.sun_path, argv[0], sizeof to.sun_path - 1);
	for (int i = 1; i < argc; i++)
		if (sendto(fd, argv[i], strlen(argv[i]), 0, (void *)&to, sizeof to) < 0)
			return result(-1);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "syscall") && argc > 2)
		return probe_syscall(argc - 2, argv + 2);
	if (!strcmp(what, "fds"))
		return probe_fds();
	if (!strcmp(what, "sched"))
		return probe_sched();
	if (!strcmp(what, "ioprio"))
		return probe_ioprio();
	if (!strcmp(what, "personality"))
		return printf("%08x\n", personality(0xffffffff)) < 0;
	if (!strcmp(what, "affinity"))
		return probe_affinity();
	if (!strcmp(what, "keyring"))
		return probe_keyring();
	if (!strcmp(what, "winsize"))
		return probe_winsize();
	if (!strcmp(what, "send") && argc > 3)
		return probe_send(argc - 2, argv + 2);
	if (!strcmp(what, "mknod") && argc == 6)
		return result(mknod(argv[2], (argv[3][0] == 'c' ? S_IFCHR : S_IFBLK) | 0600,
				    makedev(atoi(argv[4]), atoi(argv[5]))));
	if (!strcmp(what, "open") && argc == 4)
		return result(open(argv[2], argv[3][0] == 'w' ? O_WRONLY : O_RDONLY));
	fputs("probe: unknown request\n", stderr);
	return 2;
}
