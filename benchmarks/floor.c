/*
 * floor ROOTFS: what the kernel takes for a container and nothing else. One process makes the namespaces, cgroups, mounts
 * and devices of a plain spec by direct system calls, without reading a config, keeping state or checking a path, and
 * runs /bin/true. As in a good runtime, init makes its root while its parent puts it into cgroups.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define HIERARCHIES 32

static char hierarchy[HIERARCHIES][300];
static int hierarchies;

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(1);
    }
}

static int is_cgroup(const char *directory)
{
    char path[400];

    snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
    return access(path, F_OK) == 0;
}

/* /sys/fs/cgroup itself, or the mounts below it that hold a hierarchy each. */
static void find_hierarchies(void)
{
    struct dirent *entry;
    DIR *directory;

    if (is_cgroup(CGROUPS)) {
        strcpy(hierarchy[hierarchies++], CGROUPS);
        return;
    }
    directory = opendir(CGROUPS);
    while (directory && hierarchies < HIERARCHIES && (entry = readdir(directory))) {
        snprintf(hierarchy[hierarchies], sizeof(*hierarchy), CGROUPS "/%s", entry->d_name);
        if (entry->d_name[0] != '.' && is_cgroup(hierarchy[hierarchies]))
            hierarchies++;
    }
    if (directory)
        closedir(directory);
}

static void put(const char *directory, const char *name, const char *text)
{
    char path[500];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0)
        perror(path);
    close(fd);
}

static void copy(const char *name, const char *from, const char *to)
{
    char path[500], text[200];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", from, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return;
    text[n] = 0;
    put(to, name, text);
}

static void join_cgroups(pid_t pid, const char *name)
{
    char path[400], text[16];
    int i;

    snprintf(text, sizeof(text), "%d", pid);
    for (i = 0; i < hierarchies; i++) {
        snprintf(path, sizeof(path), "%s/%s", hierarchy[i], name);
        must(mkdir(path, 0755), path);
        copy("cpuset.cpus", hierarchy[i], path);
        copy("cpuset.mems", hierarchy[i], path);
        put(path, "cgroup.procs", text);
    }
}

static void leave_cgroups(const char *name)
{
    char path[400];
    int i;

    for (i = 0; i < hierarchies; i++) {
        snprintf(path, sizeof(path), "%s/%s", hierarchy[i], name);
        rmdir(path);
    }
}

static void make_devices(void)
{
    static const struct {
        const char *name;
        int major, minor;
    } devices[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    char path[64];
    size_t i;

    for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        snprintf(path, sizeof(path), "dev/%s", devices[i].name);
        must(mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), path);
    }
    must(symlink("/proc/self/fd", "dev/fd"), "symlink");
    must(symlink("pts/ptmx", "dev/ptmx"), "symlink");
}

static void mask(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return;
    if (S_ISDIR(st.st_mode))
        must(mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL), path);
    else
        must(mount("/dev/null", path, NULL, MS_BIND, NULL), path);
}

static void protect(const char *path)
{
    if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) == 0)
        must(mount(path, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), path);
}

static void make_root(const char *rootfs)
{
    static const char *const masked[] = {"proc/acpi", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
                                         "proc/timer_stats", "proc/sched_debug", "proc/scsi", "sys/firmware"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    size_t i;

    must(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "/");
    must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
    must(chdir(rootfs), rootfs);
    must(mount("proc", "proc", "proc", 0, NULL), "proc");
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"), "dev");
    mkdir("dev/pts", 0755);
    mkdir("dev/shm", 0755);
    mkdir("dev/mqueue", 0755);
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), "pts");
    must(mount("shm", "dev/shm", "tmpfs", safe, "mode=1777,size=65536k"), "shm");
    must(mount("mqueue", "dev/mqueue", "mqueue", safe, NULL), "mqueue");
    must(mount("sysfs", "sys", "sysfs", safe | MS_RDONLY, NULL), "sys");
    make_devices();
    for (i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
        mask(masked[i]);
    for (i = 0; i < sizeof(readonly) / sizeof(readonly[0]); i++)
        protect(readonly[i]);
    must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
}

static void child(const char *rootfs, int go)
{
    char byte;

    make_root(rootfs);
    must(sethostname("floor", 5), "sethostname");
    if (read(go, &byte, 1) != 1)
        _exit(1);
    execl("/bin/true", "true", NULL);
    must(-1, "/bin/true");
}

int main(int argc, char **argv)
{
    const int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | SIGCHLD;
    int go[2], status;
    char name[64];
    pid_t pid;

    if (argc != 2)
        return 2;
    find_hierarchies();
    snprintf(name, sizeof(name), "floor-%d", getpid());
    must(pipe(go), "pipe");
    pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
    must(pid, "clone");
    if (pid == 0)
        child(argv[1], go[0]);
    join_cgroups(pid, name);
    if (write(go[1], "x", 1) != 1)
        return 1;
    waitpid(pid, &status, 0);
    leave_cgroups(name);
    return status != 0;
}
