/*
 * measure COMMAND...: run it with nothing on stdin, its output to /dev/null, and print its nanoseconds, peak RSS in KiB
 * and wait status. A small static program of its own, because a child's peak RSS starts with its parent's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv, char **environ)
{
    posix_spawn_file_actions_t actions;
    struct rusage usage;
    long long start;
    int status, error;
    pid_t pid;

    if (argc < 2)
        return 2;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    start = now();
    error = posix_spawnp(&pid, argv[1], &actions, NULL, argv + 1, environ);
    if (error) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(error));
        return 127;
    }
    wait4(pid, &status, 0, &usage);
    printf("%lld %ld %d\n", now() - start, usage.ru_maxrss, status);
    return 0;
}
