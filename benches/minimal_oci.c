/* The kernel work of a default bundle of an OCI runtime and nothing else.
 *
 *   minimal_oci ROOTFS PROGRAM    as `bulkhead-runc run` of what `spec` writes, without a terminal
 *
 * The program goes on from a read-only copy of itself, as a runtime must whose container has the host's root
 * (CVE-2019-5736); then namespaces, control groups with the device list, mounts, nodes, masks, rights. Nothing is
 * read, decided or recorded. Root only. On cgroup v2 the device filter is left out. */
#include "kernel.h"

#define CAPS (1ULL << 29 | 1 << 5 | 1 << 10) /* audit_write kill net_bind_service */

/* --- control groups ------------------------------------------------------------------------------------------------- */

static char points[16][64];

static void copy_down(const char *group, const char *name) {
    char path[2 * PATH_MAX + 64], value[256];
    snprintf(path, sizeof path, "%s/../%s", group, name);
    int fd = MUST(open(path, O_RDONLY | O_CLOEXEC)), n = MUST(read(fd, value, sizeof value - 1));
    close(fd);
    value[n] = 0;
    snprintf(path, sizeof path, "%s/%s", group, name);
    put(path, value);
}

static void make_groups(void) {
    static const char *const NAMES[] = { "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd" };
    static const char *const RULES[] = { "b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
        "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };
    char path[2 * PATH_MAX + 64];
    version_two = !access("/sys/fs/cgroup/cgroup.controllers", F_OK);
    for (int i = 0; i < (version_two ? 1 : 9); i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", version_two ? "" : NAMES[i]);
        if (access(path, F_OK)) continue;
        snprintf(points[n_groups], sizeof points[0], "/sys/fs/cgroup/%s", NAMES[i]);
        snprintf(groups[n_groups], sizeof groups[0], "%.4000s/minimal-oci-%d", path, getpid());
        MUST(mkdir(groups[n_groups], 0755));
        if (!strcmp(NAMES[i], "cpuset") && !version_two) copy_down(groups[n_groups], "cpuset.cpus"), copy_down(groups[n_groups], "cpuset.mems");
        if (!strcmp(NAMES[i], "devices") && !version_two) {
            snprintf(path, sizeof path, "%s/devices.deny", groups[n_groups]), put(path, "a");
            snprintf(path, sizeof path, "%s/devices.allow", groups[n_groups]);
            int fd = MUST(open(path, O_WRONLY | O_CLOEXEC));
            for (int r = 0; r < 10; r++) MUST(write(fd, RULES[r], strlen(RULES[r])));
            close(fd);
        }
        open_group(n_groups);
        n_groups++;
    }
}

/* --- the child ------------------------------------------------------------------------------------------------------ */

static void child(const char *rootfs, char *program) {
    const int quiet = NOSUID | NODEV | NOEXEC;
    in_child = 1;
    for (int s = 1; s < 65; s++)
        if (s != SIGKILL && s != SIGSTOP) signal(s, SIG_DFL);
    receive(NULL, 0);
    join_groups();
    setsid();
    int lo = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    MUST(ioctl(lo, SIOCSIFFLAGS, &up));
    close(lo);
    MUST(sethostname("minimal", 7));
    struct attributes slave = { .propagation = 1 << 19 }, private = { .propagation = 1 << 18 };
    int slash = MUST(open("/", O_PATH | O_CLOEXEC));
    MUST(syscall(SYS_mount_setattr, slash, "", EMPTY | RECURSIVE, &slave, sizeof slave));
    close(slash);
    root_fd = tree(rootfs, RECURSIVE);
    MUST(syscall(SYS_mount_setattr, root_fd, "", EMPTY, &private, sizeof private));
    int at = MUST(open(rootfs, O_PATH | O_CLOEXEC));
    attach(root_fd, at);
    close(at);

    close(mount_on("/proc", FS("proc", 0, "source", "proc")));
    close(mount_on("/dev", FS("tmpfs", NOSUID, "source", "tmpfs", "mode", "755", "size", "65536k")));
    new_directory("/dev/pts"), new_directory("/dev/shm"), new_directory("/dev/mqueue");
    close(mount_on("/dev/pts", FS("devpts", NOSUID | NOEXEC, "newinstance", "", "ptmxmode", "0666", "mode", "0620", "gid", "5")));
    close(mount_on("/dev/shm", FS("tmpfs", quiet, "source", "shm", "mode", "1777", "size", "65536k")));
    close(mount_on("/dev/mqueue", FS("mqueue", quiet)));
    close(mount_on("/sys", FS("sysfs", quiet | RO)));
    if (version_two) {
        close(mount_on("/sys/fs/cgroup", FS("cgroup2", quiet | RO)));
    } else {
        int cover = mount_on("/sys/fs/cgroup", FS("tmpfs", quiet, "size", "64k", "mode", "755"));
        for (int i = 0; i < n_groups; i++) {
            int group = tree(groups[i], 0);
            new_directory(points[i]);
            at = directory(points[i]);
            attributes(group, quiet | RO, 0);
            attach(group, at);
            close(at), close(group);
        }
        attributes(cover, RO, 0);
        close(cover);
    }
    static const struct { const char *name; int major, minor; } nodes[] = { { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 },
        { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 } };
    static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" },
        { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" }, { "pts/ptmx", "ptmx" } };
    int dev = directory("/dev");
    for (int i = 0; i < 6; i++) MUST(mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (int i = 0; i < 5; i++) MUST(symlinkat(links[i][0], dev, links[i][1]));
    close(dev);
    static const char *const sealed[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
    for (int i = 0; i < 5; i++) read_only(sealed[i], 0);
    static const char *const masked[] = { "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi" };
    int empty = -1;
    for (int i = 0; i < 10; i++) {
        struct stat st;
        int to = place(masked[i], O_PATH);
        if (to < 0) continue;
        MUST(fstat(to, &st));
        if (!S_ISDIR(st.st_mode)) {
            int null = tree("/dev/null", 0);
            attach(null, to), close(null);
        } else if (empty < 0) {
            attach(empty = FS("tmpfs", quiet | RO, "size", "4k", "nr_inodes", "1"), to);
        } else {
            int again = MUST(syscall(SYS_open_tree, empty, "", CLONE_TREE | O_CLOEXEC | EMPTY));
            attach(again, to), close(again);
        }
        close(to);
    }
    attributes(root_fd, RO, 0);
    MUST(fchdir(root_fd));
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", MNT_DETACH));
    MUST(chdir("/"));
    MUST(syscall(SYS_keyctl, 1, "_ses.minimal"));
    umask(022);
    MUST(send(channel, "ready..", 8, 0));
    receive(NULL, 0);
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    for (int c = 0; c < 41; c++)
        if (!(CAPS >> c & 1)) MUST(prctl(PR_CAPBSET_DROP, c, 0, 0, 0));
    MUST(syscall(SYS_setgroups, 0, NULL));
    MUST(syscall(SYS_setresgid, 0, 0, 0));
    MUST(syscall(SYS_setresuid, 0, 0, 0));
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    uint32_t header[2] = { 0x20080522, 0 }, data[6] = { CAPS, CAPS, 0, 0, 0, 0 };
    MUST(syscall(SYS_capset, header, data));
    MUST(syscall(SYS_close_range, 3, ~0U, 4));
    char *args[] = { program, NULL }, *env[] = { "PATH=/usr/bin:/bin", "TERM=xterm", NULL };
    execve(program, args, env);
    die(program);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: minimal_oci ROOTFS PROGRAM\n");
        return 125;
    }
    if (!getenv("MINIMAL_AGAIN")) {
        int own = MUST(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        int copy = MUST(syscall(SYS_open_tree, own, "", CLONE_TREE | EMPTY));
        attributes(copy, RO | NOSUID | NODEV, 0);
        char path[64], *env[] = { "MINIMAL_AGAIN=1", NULL };
        snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
        execve(path, argv, env);
        die(path);
    }
    make_groups();
    int pair[2], pidfd = -1;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    struct clone_arguments args = { .flags = NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | PIDFD,
        .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD };
    if (version_two) args.flags |= INTO_CGROUP, args.cgroup = into;
    pid_t pid = MUST(syscall(SYS_clone3, &args, sizeof args));
    channel = pair[pid == 0];
    close(pair[pid != 0]);
    if (pid == 0) child(argv[1], argv[2]);
    MUST(send(channel, "proceed", 8, 0));
    await();
    struct rlimit files = { 1024, 1024 };
    MUST(prlimit(pid, RLIMIT_NOFILE, &files, NULL));
    MUST(send(channel, "exec...", 8, 0));
    await();
    siginfo_t ended;
    MUST(waitid(P_PIDFD, pidfd, &ended, WEXITED));
    remove_groups();
    return ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
}
