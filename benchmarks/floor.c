/*
 * floor ROOTFS: what the kernel takes for a container and nothing else. One process makes the namespaces, cgroups, device
 * rules, mounts and devices of a plain spec by direct system calls, and gives init its session keyring, limits and
 * capabilities, without reading a config, keeping state or checking a path, and runs /bin/true. As in a good runtime, init
 * makes its root while its parent puts it into cgroups. What the benchmark's spec asks for is all here, and nothing else.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
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

/* The rules of a plain spec on cgroup v1: nothing but the default devices. (On v2 they are one eBPF program.) */
static void limit_devices(const char *name)
{
    static const char *const allowed[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm", "c 1:5 rwm",   "c 1:7 rwm",   "c 1:8 rwm",
                                          "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm"};
    char path[400];
    size_t i;

    snprintf(path, sizeof(path), CGROUPS "/devices/%s", name);
    if (access(path, F_OK) < 0)
        return;
    put(path, "devices.deny", "a");
    for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
        put(path, "devices.allow", allowed[i]);
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

/* Without a cgroup namespace: the container's own directory of each hierarchy, read-only. */
static void mount_cgroups(const char *name)
{
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    char source[400], target[400];
    int i;

    if (hierarchies == 1) {
        must(mount("cgroup", "sys/fs/cgroup", "cgroup2", safe | MS_RELATIME | MS_RDONLY, NULL), "cgroup2");
        return;
    }
    must(mount("tmpfs", "sys/fs/cgroup", "tmpfs", safe, "mode=755"), "cgroup");
    for (i = 0; i < hierarchies; i++) {
        snprintf(source, sizeof(source), "%s/%s", hierarchy[i], name);
        snprintf(target, sizeof(target), "sys/fs/cgroup/%s", strrchr(hierarchy[i], '/') + 1);
        must(mkdir(target, 0755), target);
        must(mount(source, target, NULL, MS_BIND | MS_REC, NULL), target);
        must(mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, NULL), target);
    }
    must(mount(NULL, "sys/fs/cgroup", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | safe, NULL), "cgroup");
}

static void loopback_up(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    must(fd, "socket");
    must(ioctl(fd, SIOCSIFFLAGS, &lo), "lo");
    close(fd);
}

/* KILL, NET_BIND_SERVICE and AUDIT_WRITE; no way to more; 1024 files. */
static void become(void)
{
    const unsigned int kept = 1U << 5 | 1U << 10 | 1U << 29;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{.effective = kept, .permitted = kept}};
    const struct rlimit files = {1024, 1024};
    int i;

    must(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    for (i = 0; i <= 40; i++)
        if (i >= 32 || !(kept >> i & 1))
            prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    must((int)syscall(SYS_capset, &head, sets), "capset");
}

static void make_root(const char *rootfs, const char *name, int joined)
{
    static const char *const masked[] = {"proc/acpi", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
                                         "proc/timer_stats", "proc/sched_debug", "proc/scsi", "sys/firmware"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    char byte;
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
    if (read(joined, &byte, 1) != 1)
        _exit(1);
    mount_cgroups(name);
    make_devices();
    for (i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
        mask(masked[i]);
    for (i = 0; i < sizeof(readonly) / sizeof(readonly[0]); i++)
        protect(readonly[i]);
    must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
}

static void child(const char *rootfs, const char *name, int joined)
{
    must((int)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name), "keyctl");
    setsid();
    loopback_up();
    make_root(rootfs, name, joined);
    must(sethostname("floor", 5), "sethostname");
    become();
    execl("/bin/true", "true", NULL);
    must(-1, "/bin/true");
}

int main(int argc, char **argv)
{
    const int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | SIGCHLD;
    int joined[2], status;
    char name[64];
    pid_t pid;

    if (argc != 2)
        return 2;
    find_hierarchies();
    snprintf(name, sizeof(name), "floor-%d", getpid());
    must(pipe(joined), "pipe");
    pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
    must(pid, "clone");
    if (pid == 0)
        child(argv[1], name, joined[0]);
    join_cgroups(pid, name);
    limit_devices(name);
    if (write(joined[1], "x", 1) != 1)
        return 1;
    waitpid(pid, &status, 0);
    leave_cgroups(name);
    return status != 0;
}
