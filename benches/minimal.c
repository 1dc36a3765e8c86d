/* The kernel work of a hardened start and nothing else: what a start costs before anybody decides anything.
 *
 *   minimal bare ROOTFS FILTER PROGRAM               as `bulkhead sandbox ROOTFS PROGRAM`
 *   minimal host LAYER DIRECTORY FILTER PROGRAM      as `bulkhead run --rm host PROGRAM`, which has an overlay
 *
 * The same system calls in the same order as the steps that `bulkhead run --dry-run host true` shows; every value is a
 * constant of this file. Root only. Not a container engine: it checks nothing that an attacker could have changed. On
 * cgroup v2 the device filter is left out. */
#include "kernel.h"

enum { FIRST_ID = 0x6f000000, IDS = 65536 };
#define CAPS 0x4fbULL /* chown dac_override fowner fsetid kill setgid setuid net_bind_service */

/* --- cgroups -------------------------------------------------------------------------------------------------------- */

static const char *const CONTROLLERS[] = { "memory", "pids", "cpu", "cpuacct", "blkio", "devices", "freezer" };

static void make_groups(void) {
    char id[64], path[4 * PATH_MAX], value[64];
    struct sysinfo info;
    sysinfo(&info);
    snprintf(id, sizeof id, "minimal-%d", getpid());
    version_two = !access("/sys/fs/cgroup/cgroup.controllers", F_OK);
    for (unsigned i = 0; i < (version_two ? 1 : 7); i++) {
        char mount[PATH_MAX];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", version_two ? "" : CONTROLLERS[i]);
        if (!realpath(path, mount)) continue;
        snprintf(path, sizeof path, "%s/bulkhead", mount);
        if (mkdir(path, 0755) && errno != EEXIST) die(path);
        snprintf(groups[n_groups], sizeof groups[0], "%.4000s/%s", path, id);
        int seen = 0;
        for (int k = 0; k < n_groups; k++) seen |= !strcmp(groups[k], groups[n_groups]);
        n_groups += !seen;
    }
    if (version_two) {
        put("/sys/fs/cgroup/cgroup.subtree_control", "+cpu +memory +pids");
        put("/sys/fs/cgroup/bulkhead/cgroup.subtree_control", "+cpu +memory +pids");
    }
    /* The host reserve, then the group's own limit. */
    snprintf(value, sizeof value, "%llu", (unsigned long long)info.totalram * info.mem_unit / 5 * 4 / 4096 * 4096);
    put(version_two ? "/sys/fs/cgroup/bulkhead/memory.max" : "/sys/fs/cgroup/memory/bulkhead/memory.limit_in_bytes", value);
    put(version_two ? "/sys/fs/cgroup/bulkhead/pids.max" : "/sys/fs/cgroup/pids/bulkhead/pids.max", "16384");
    if (!version_two) put("/sys/fs/cgroup/cpu/bulkhead/cpu.shares", "512");
    for (int i = 0; i < n_groups; i++) MUST(mkdir(groups[i], 0755));
    snprintf(path, sizeof path, version_two ? "/sys/fs/cgroup/bulkhead/%s/pids.max" : "/sys/fs/cgroup/pids/bulkhead/%s/pids.max", id);
    put(path, "1024");
    for (int i = 0; i < n_groups; i++) open_group(i);
}

/* --- the child ------------------------------------------------------------------------------------------------------ */

static int scratch;

static int file(const char *path) {
    int fd = place(path, O_PATH);
    if (fd < 0 && errno == ENOENT) {
        close(MUST(place(path, O_CREAT | O_RDONLY)));
        fd = place(path, O_PATH);
    }
    return MUST(fd);
}

static void device(const char *path, int major_number, int minor_number) {
    struct stat st;
    int mount = tree(path, 0);
    MUST(fstat(mount, &st));
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(major_number, minor_number)) die(path);
    attributes(mount, NOSUID | NOEXEC, 0);
    int to = file(path);
    attach(mount, to);
    close(to), close(mount);
}

static void mask(const char *path) {
    struct stat st;
    int to = place(path, O_PATH);
    if (to < 0) return;
    MUST(fstat(to, &st));
    int cover = MUST(syscall(SYS_open_tree, scratch, S_ISDIR(st.st_mode) ? "void" : "empty", CLONE_TREE | O_CLOEXEC));
    attach(cover, to);
    close(cover), close(to);
}

static void child(int host, struct program *filter, char *program, int input, int output, int error) {
    int trees[8];
    in_child = 1;
    for (int s = 1; s < 65; s++)
        if (s != SIGKILL && s != SIGSTOP) signal(s, SIG_DFL);
    receive(trees, 8);
    receive(NULL, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    join_groups();
    if (!version_two) MUST(syscall(SYS_unshare, NEWCGROUP));
    MUST(syscall(SYS_setgroups, 0, NULL));
    MUST(syscall(SYS_setresgid, 0, 0, 0));
    MUST(syscall(SYS_setresuid, 0, 0, 0));
    MUST(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    setsid();
    int lo = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    MUST(ioctl(lo, SIOCSIFFLAGS, &up));
    close(lo);
    MUST(sethostname("minimal", 7));

    struct attributes private = { .propagation = 1 << 18 };
    int slash = MUST(open("/", O_PATH | O_CLOEXEC));
    MUST(syscall(SYS_mount_setattr, slash, "", EMPTY | RECURSIVE, &private, sizeof private));
    close(slash);
    scratch = FS("tmpfs", NOSUID | NODEV | NOEXEC, "size", "64k", "mode", "700");
    int proc = MUST(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
    attach(scratch, proc);
    close(proc);
    if (host) MUST(mkdirat(scratch, "l0", 0700));
    MUST(mkdirat(scratch, "rw", 0700));
    MUST(mkdirat(scratch, "root", 0755));
    MUST(mkdirat(scratch, "void", 0555));
    close(MUST(openat(scratch, "empty", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444)));
    attributes(scratch, RO, 0);
    if (host) {
        const char *names[] = { "l0", "rw" };
        for (int i = 0; i < 2; i++) {
            int to = MUST(openat(scratch, names[i], O_PATH | O_CLOEXEC));
            attach(trees[i], to);
            close(to);
        }
        MUST(fchdir(scratch));
        root_fd = FS("overlay", NOSUID | NODEV, "lowerdir+", "l0", "upperdir", "rw/upper", "workdir", "rw/work", "userxattr", "");
    } else {
        root_fd = trees[0];
        attributes(root_fd, NOSUID | NODEV, RECURSIVE);
    }
    int at = MUST(openat(scratch, "root", O_PATH | O_CLOEXEC));
    attach(root_fd, at);
    close(at);

    const int quiet = NOSUID | NODEV | NOEXEC;
    struct statfs fs;
    proc = mount_on("/proc", FS("proc", quiet));
    MUST(fstatfs(proc, &fs));
    close(mount_on("/sys", FS("sysfs", quiet | RO)));
    if (version_two) {
        close(mount_on("/sys/fs/cgroup", FS("cgroup2", quiet | RO)));
    } else {
        close(mount_on("/sys/fs/cgroup", FS("tmpfs", quiet, "size", "64k", "nr_inodes", "16", "mode", "755")));
        close(mount_on("/sys/fs/cgroup/cpu", FS("cgroup", quiet | RO, "cpu", "")));
        close(mount_on("/sys/fs/cgroup/memory", FS("cgroup", quiet | RO, "memory", "")));
        close(mount_on("/sys/fs/cgroup/pids", FS("cgroup", quiet | RO, "pids", "")));
    }
    close(mount_on("/dev", FS("tmpfs", NOSUID | NOEXEC, "size", "64k", "nr_inodes", "256", "mode", "755")));
    device("/dev/null", 1, 3), device("/dev/zero", 1, 5), device("/dev/full", 1, 7);
    device("/dev/random", 1, 8), device("/dev/urandom", 1, 9), device("/dev/tty", 5, 0);
    static const char *const links[][2] = { { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" },
        { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" }, { "pts/ptmx", "ptmx" } };
    for (int i = 0; i < 5; i++) {
        int dev = MUST(place("/dev", O_PATH | O_DIRECTORY));
        MUST(symlinkat(links[i][0], dev, links[i][1]));
        close(dev);
    }
    close(mount_on("/dev/pts", FS("devpts", NOSUID | NOEXEC, "newinstance", "", "ptmxmode", "0666", "mode", "620", "gid", "5", "max", "1024")));
    close(mount_on("/dev/shm", FS("tmpfs", quiet, "size", "67108864", "mode", "1777")));
    close(mount_on("/dev/mqueue", FS("mqueue", quiet)));
    if (host) {
        static const char *const files[] = { "/etc/hosts", "/etc/hostname", "/etc/resolv.conf" };
        int to = directory("/usr");
        attributes(trees[2], RO | NOSUID | NODEV, RECURSIVE);
        attach(trees[2], to);
        close(to);
        for (int i = 0; i < 3; i++) {
            to = file(files[i]);
            attributes(trees[3 + i], quiet, RECURSIVE);
            attach(trees[3 + i], to);
            close(to);
        }
    }
    close(mount_on("/run", FS("tmpfs", quiet, "size", "67108864", "mode", "755", "nr_inodes", "65536")));
    close(mount_on("/tmp", FS("tmpfs", quiet, "size", "67108864", "mode", "1777", "nr_inodes", "65536")));
    if (host) close(mount_on("/var/tmp", FS("tmpfs", quiet, "size", "67108864", "mode", "1777", "nr_inodes", "65536")));
    static const char *const sysctls[][2] = { { "sys/net/ipv4/ip_unprivileged_port_start", "0" }, { "sys/net/ipv4/ping_group_range", "0 65535" } };
    for (int i = 0; i < 2; i++) {
        int fd = MUST(openat(proc, sysctls[i][0], O_WRONLY | O_CLOEXEC));
        MUST(write(fd, sysctls[i][1], strlen(sysctls[i][1])));
        close(fd);
    }
    static const char *const sealed[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys" };
    for (int i = 0; i < 4; i++) read_only(sealed[i], NOSUID | NODEV | NOEXEC);
    static const char *const masked[] = { "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
        "/proc/key-users", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
        "/proc/sysrq-trigger", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux" };
    for (int i = 0; i < 15; i++) mask(masked[i]);
    int workdir = directory("/");
    if (!host) attributes(root_fd, RO, 0);
    MUST(fchdir(root_fd));
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", MNT_DETACH));
    MUST(chdir("/"));

    int streams[] = { input, output, error };
    for (int i = 0; i < 3; i++) {
        fchown(streams[i], 0, 0);
        MUST(dup3(streams[i], i, 0) < 0 && errno != EINVAL ? -1 : 0);
    }
    MUST(syscall(SYS_keyctl, 1, "minimal"));
    umask(022);
    MUST(send(channel, "ready..", 8, 0));
    receive(NULL, 0);
    char buffer[PATH_MAX];
    MUST(fchdir(workdir));
    MUST(syscall(SYS_getcwd, buffer, sizeof buffer));
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    uint64_t handled = 1 | 1 << 13;
    int ruleset = syscall(444, &handled, sizeof handled, 0);
    if (ruleset >= 0) {
        struct __attribute__((packed)) { uint64_t allowed; int32_t parent; } below = { handled, open("/", O_PATH | O_CLOEXEC) };
        MUST(syscall(445, ruleset, 1, &below, 0));
        MUST(syscall(446, ruleset, 0));
    }
    for (int c = 0; c < 41; c++)
        if (!(CAPS >> c & 1)) MUST(prctl(PR_CAPBSET_DROP, c, 0, 0, 0));
    gid_t group = 0;
    MUST(syscall(SYS_setgroups, 1, &group));
    MUST(syscall(SYS_setresgid, 0, 0, 0));
    MUST(syscall(SYS_setresuid, 0, 0, 0));
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    uint32_t header[2] = { 0x20080522, 0 }, data[6] = { CAPS, CAPS, 0, CAPS >> 32, CAPS >> 32, 0 };
    MUST(syscall(SYS_capset, header, data));
    MUST(syscall(SYS_seccomp, 1, 0, filter));
    MUST(syscall(SYS_close_range, 3, ~0U, 4));
    char *args[] = { program, NULL }, *env[] = { "PATH=/usr/bin:/bin", "HOME=/", NULL };
    execve(program, args, env);
    die(program);
}

/* --- the parent ----------------------------------------------------------------------------------------------------- */

static int gone(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void send_trees(int *fds, int n) {
    char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
    struct iovec part = { "trees..", 8 };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    MUST(sendmsg(channel, &m, 0));
}

int main(int argc, char **argv) {
    int host = argc > 1 && !strcmp(argv[1], "host");
    if (argc != (host ? 6 : 5)) {
        fprintf(stderr, "usage: minimal bare ROOTFS FILTER PROGRAM | minimal host LAYER DIRECTORY FILTER PROGRAM\n");
        return 125;
    }
    char *rootfs = argv[2], *filter_file = argv[host ? 4 : 3], *program = argv[host ? 5 : 4];
    char own[PATH_MAX] = "", path[PATH_MAX + 16], text[64];
    static char code[8192 * 8];
    int fd = MUST(open(filter_file, O_RDONLY | O_CLOEXEC));
    struct program filter = { MUST(read(fd, code, sizeof code)) / 8, code };
    close(fd);
    if (host) {
        const char *names[] = { "", "/fs", "/fs/upper", "/fs/work", "/hosts", "/hostname", "/resolv.conf" };
        snprintf(own, sizeof own, "%.3000s/minimal-%d", argv[3], getpid());
        for (int i = 0; i < 7; i++) {
            snprintf(path, sizeof path, "%s%s", own, names[i]);
            if (i < 4) MUST(mkdir(path, 0755));
            else close(MUST(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)));
            if (i == 2 || i == 3) MUST(chown(path, FIRST_ID, FIRST_ID));
        }
    }
    make_groups();
    int pair[2], pidfd = -1;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    /* The streams are the caller's own, as in a bare sandbox. */
    int streams[3];
    for (int i = 0; i < 3; i++) streams[i] = MUST(fcntl(i, F_DUPFD_CLOEXEC, 3));
    struct clone_arguments args = { .flags = NEWUSER | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWTIME | PIDFD,
        .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD };
    if (version_two) args.flags |= NEWCGROUP | INTO_CGROUP, args.cgroup = into;
    pid_t pid = MUST(syscall(SYS_clone3, &args, sizeof args));
    channel = pair[pid == 0];
    close(pair[pid != 0]);
    if (pid == 0) child(host, &filter, program, streams[0], streams[1], streams[2]);

    snprintf(text, sizeof text, "0 %d %d\n", FIRST_ID, IDS);
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid), put(path, text);
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid), put(path, text);
    static const struct { int resource; struct rlimit limit; } limits[] = { { RLIMIT_CORE, { 0, 0 } },
        { RLIMIT_NOFILE, { 1024, 20000 } }, { RLIMIT_MEMLOCK, { 65536, 65536 } }, { RLIMIT_RTPRIO, { 0, 0 } } };
    for (int i = 0; i < 4; i++) MUST(prlimit(pid, limits[i].resource, &limits[i].limit, NULL));
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    close(MUST(open(path, O_RDONLY | O_CLOEXEC)));
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    struct attributes shift = { .set = IDMAP, .userns = MUST(open(path, O_RDONLY | O_CLOEXEC)) };
    int trees[6], n = 0;
    trees[n++] = tree(rootfs, 0);
    if (host) {
        snprintf(path, sizeof path, "%s/fs", own), trees[n++] = tree(path, 0);
        trees[n++] = tree("/usr", 0);
        snprintf(path, sizeof path, "%s/hosts", own), trees[n++] = tree(path, 0);
        snprintf(path, sizeof path, "%s/hostname", own), trees[n++] = tree(path, 0);
        snprintf(path, sizeof path, "%s/resolv.conf", own), trees[n++] = tree(path, 0);
    }
    for (int i = 0; i < n; i++)
        if (i != 1) MUST(syscall(SYS_mount_setattr, trees[i], "", EMPTY, &shift, sizeof shift));
    send_trees(trees, n);
    for (int i = 0; i < n; i++) close(trees[i]);
    MUST(send(channel, "proceed", 8, 0));
    await();
    MUST(send(channel, "exec...", 8, 0));
    await();
    siginfo_t ended;
    MUST(waitid(P_PIDFD, pidfd, &ended, WEXITED));
    remove_groups();
    if (host) nftw(own, gone, 16, FTW_DEPTH | FTW_PHYS);
    return ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
}
