// Real attempts at what a container must not do. Each stops at the first sign of success and undoes it.
#include "probe.h"
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ptrace.h>

static const struct { const char *name; unsigned long bit; } SPACES[] = {
    {"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
    {"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}, {"cgroup", 0x02000000}, {"time", 0x80}};

// Runs `attempt` in a child, which tells errno by its exit code; 0 is a hit.
#define IN_CHILD(label, attempt)                                          \
    do {                                                                  \
        fflush(stdout);                                                   \
        pid_t child_ = fork();                                            \
        if (child_ == 0) {                                                \
            errno = 0;                                                    \
            long value_ = (long)(attempt);                                \
            _exit(value_ < 0 ? errno : 0);                                \
        }                                                                 \
        int status_ = 0;                                                  \
        waitpid(child_, &status_, 0);                                     \
        if (WIFSIGNALED(status_)) printf("%s signal-%d\n", label, WTERMSIG(status_)); \
        else printf("%s %s\n", label, error_name(WEXITSTATUS(status_)));  \
    } while (0)

// What changes mounts is tried by a confined process, or in a mount namespace made for the purpose, which ends with the
// child. Anything else would change the machine that the tests run on.
static int control;

static void mounts_of_my_own(void) {
    if (!control) {
        // A container's first ids are never the first ids of the machine.
        char map[64] = "";
        int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
        if (prctl(PR_GET_SECCOMP) != 2 || fd < 0 || read(fd, map, sizeof map - 1) < 1) _exit(EIO);
        if (strstr(map, "4294967295")) _exit(EIO);
        close(fd);
        return;
    }
    if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS)) _exit(EIO);
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) _exit(EIO);
}

#define IN_OWN_MOUNTS(label, attempt) IN_CHILD(label, (mounts_of_my_own(), errno = 0, attempt))

static long clone_with(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0L, 0L, 0L, 0L);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid((pid_t)pid, NULL, 0);
    return pid;
}

static long clone3_with(unsigned long flags) {
    uint64_t args[11] = {flags, 0, 0, 0, SIGCHLD};
    long pid = syscall(SYS_clone3, args, 88L);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid((pid_t)pid, NULL, 0);
    return pid;
}

// New namespaces by every call that could make or enter one.
int namespaces(int argc, char **argv) {
    (void)argc, (void)argv;
    char label[64], path[64];
    for (size_t i = 0; i < sizeof SPACES / sizeof *SPACES; i++) {
        unsigned long bit = SPACES[i].bit;
        snprintf(label, sizeof label, "unshare-%s", SPACES[i].name);
        IN_CHILD(label, syscall(SYS_unshare, bit));
        snprintf(label, sizeof label, "unshare-%s-high", SPACES[i].name);
        IN_CHILD(label, syscall(SYS_unshare, bit | (1UL << 40)));
        // A new time namespace cannot be asked for by this call: its bit is part of the signal.
        snprintf(label, sizeof label, "clone-%s", SPACES[i].name);
        if (bit != 0x80) IN_CHILD(label, clone_with(bit));
        snprintf(label, sizeof label, "clone3-%s", SPACES[i].name);
        IN_CHILD(label, clone3_with(bit));
        snprintf(label, sizeof label, "setns-%s", SPACES[i].name);
        snprintf(path, sizeof path, "/proc/self/ns/%s", SPACES[i].name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        IN_CHILD(label, fd < 0 ? -1 : syscall(SYS_setns, fd, bit));
        if (fd >= 0) close(fd);
    }
    return 0;
}

static int tcp_pair(int *client, int *server) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (void *)&at, size) || listen(listening, 1)) return -1;
    if (getsockname(listening, (void *)&at, &size)) return -1;
    *client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(*client, (void *)&at, size)) return -1;
    *server = accept(listening, NULL, NULL);
    close(listening);
    return 0;
}

static void sockets(void) {
    char label[64];
    int client = -1, server = -1, pair[2];
    for (int family = 0; family <= 50; family++) {
        // Whatever type the family has: one that opens is enough.
        static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW, SOCK_RDM};
        const char *best = NULL;
        for (size_t t = 0; t < 5 && !(best && !strcmp(best, "ok")); t++) {
            int fd = socket(family, types[t] | SOCK_CLOEXEC, family == AF_PACKET ? htons(3) : 0);
            const char *now = said(fd);
            if (fd >= 0) close(fd);
            if (!best || fd >= 0) best = strdup(now);
        }
        printf("family-%d %s\n", family, best);
        int fd = (int)syscall(SYS_socket, (long)family | (1L << 33), (long)SOCK_DGRAM | (1L << 35), 0L);
        printf("family-high-%d %s\n", family, said(fd));
        if (fd >= 0) close(fd);
    }
    for (int protocol = 0; protocol < 32; protocol++) {
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        snprintf(label, sizeof label, "netlink-%d", protocol);
        printf("%s %s\n", label, said(fd));
        if (fd >= 0) close(fd);
    }
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    printf("raw-inet %s\n", said(raw));
    raw = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    printf("raw-inet6 %s\n", said(raw));
    int ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    printf("ping-socket %s\n", said(ping));
    if (tcp_pair(&client, &server)) {
        printf("loopback %s\n", said(-1));
    } else {
        printf("loopback ok\n");
        printf("tcp-ulp %s\n", said(setsockopt(client, IPPROTO_TCP, 31, "tls", 3)));
        printf("tcp-ulp-high %s\n",
               said(syscall(SYS_setsockopt, client, 6L | (1L << 32), 31L | (1L << 44), "tls", 3L)));
        printf("oob-tcp %s\n", said(send(client, "x", 1, MSG_OOB)));
    }
    if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
        printf("oob-unix %s\n", said(send(pair[0], "x", 1, MSG_OOB)));
        printf("oob-unix-high %s\n", said(syscall(SYS_sendto, pair[0], "x", 1L, 1L | (1L << 36), 0L, 0L)));
        struct iovec part = {"x", 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        printf("oob-sendmsg %s\n", said(sendmsg(pair[0], &message, MSG_OOB)));
    }
}

static long bpf_map(void) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
}

static long bpf_program(void) {
    struct bpf_insn code[2] = {{.code = 0xb7}, {.code = 0x95}};
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attr.insns = (uintptr_t)code;
    attr.insn_cnt = 2;
    attr.license = (uintptr_t) "GPL";
    return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
}

static long perf(void) {
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_DUMMY};
    attr.exclude_kernel = attr.exclude_hv = 1;
    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static long traced(void) {
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    long value = ptrace(PTRACE_SEIZE, child, 0, 0);
    int kept = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = kept;
    return value;
}

static long peek(void) {
    char from = 1, to = 0;
    struct iovec local = {&to, 1}, remote = {&from, 1};
    return syscall(SYS_process_vm_readv, getpid(), &local, 1L, &remote, 1L, 0L);
}

static long gift(void) {
    int ends[2];
    struct iovec part = {"x", 1};
    if (pipe(ends)) return -1;
    return syscall(SYS_vmsplice, ends[1], &part, 1L, 0L);
}

static long type_at(unsigned long request) {
    // At a terminal of its own, which takes the byte when nothing is in the way.
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), zero = 0;
    if (master < 0) return -1;
    ioctl(master, TIOCSPTLCK, &zero);
    setsid();
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR);
    if (slave < 0 || ioctl(slave, TIOCSCTTY, 0)) return -1;
    return syscall(SYS_ioctl, slave, request, "#");
}

static long uring(void) {
    unsigned char params[120] = {0};
    return syscall(SYS_io_uring_setup, 1L, params);
}

// One line for each feature that public kernel exploits needed, and for those nearby.
int attempts(int argc, char **argv) {
    control = argc > 0 && !strcmp(argv[0], "control");
    IN_CHILD("io-uring-setup", uring());
    IN_CHILD("io-uring-enter", syscall(SYS_io_uring_enter, -1L, 0L, 0L, 0L, 0L, 0L));
    IN_CHILD("io-uring-register", syscall(SYS_io_uring_register, -1L, 0L, 0L, 0L));
    IN_CHILD("bpf-map", bpf_map());
    IN_CHILD("bpf-program", bpf_program());
    IN_CHILD("perf", perf());
    IN_CHILD("userfaultfd", syscall(SYS_userfaultfd, 1L));
    IN_CHILD("ptrace", traced());
    IN_CHILD("process-vm-readv", peek());
    IN_CHILD("vmsplice", gift());
    IN_CHILD("personality", syscall(SYS_personality, 0x40000L));
    IN_CHILD("personality-high", syscall(SYS_personality, 0x40000L | (1L << 32)));
    IN_CHILD("add-key", syscall(SYS_add_key, "user", "bulkhead-probe", "x", 1L, -2L));
    IN_CHILD("keyctl", syscall(SYS_keyctl, 0L, -3L, 0L, 0L, 0L));
    IN_OWN_MOUNTS("mount", syscall(SYS_mount, "none", "/", "tmpfs", 0L, 0L));
    IN_OWN_MOUNTS("bind", syscall(SYS_mount, "/proc", "/sys", 0L, (long)MS_BIND, 0L));
    IN_OWN_MOUNTS("fsopen", syscall(SYS_fsopen, "tmpfs", 0L));
    IN_OWN_MOUNTS("open-tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1L));
    IN_OWN_MOUNTS("mount-setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0L, (long[4]){0}, 32L));
    IN_OWN_MOUNTS("umount", syscall(SYS_umount2, "/proc", (long)MNT_DETACH));
    IN_OWN_MOUNTS("pivot-root", syscall(SYS_pivot_root, "/", "/"));
    IN_OWN_MOUNTS("chroot", syscall(SYS_chroot, "/"));
    IN_CHILD("tiocsti", type_at(0x5412));
    IN_CHILD("tiocsti-high", type_at(0x5412UL | (1UL << 32)));
    IN_CHILD("tioclinux", type_at(0x541c));
    IN_CHILD("real-time", syscall(SYS_sched_setscheduler, 0L, (long)SCHED_FIFO, &(int){1}));
    IN_CHILD("lower-oom-score", ({
                 int fd = open("/proc/self/oom_score_adj", O_WRONLY);
                 fd < 0 ? -1 : write(fd, "-999", 4);
             }));
    sockets();
    return 0;
}

static long nest(int nested) { return nested ? unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP) : 0; }

// Mounting a control group hierarchy by every way there is; nothing is ever written to one.
int cgroups(int argc, char **argv) {
    const char *place = argc > 0 ? argv[0] : "/tmp";
    control = argc > 1 && !strcmp(argv[1], "control");
    static const char *const kinds[][2] = {{"cgroup2", ""},      {"cgroup", "memory"},   {"cgroup", "pids"},
                                           {"cgroup", "cpu"},    {"cgroup", "devices"},  {"cgroup", "rdma"},
                                           {"cgroup", "freezer"}, {"cgroup", "cpuset"},  {"cgroup", "blkio"},
                                           {"cgroup", "none,name=bulkhead-probe"}};
    for (int nested = 0; nested < 2; nested++)
        // A hierarchy that is not mounted yet would take its controller away from another.
        for (size_t i = 0; i < (control ? 3 : sizeof kinds / sizeof *kinds); i++) {
            char label[96];
            snprintf(label, sizeof label, "%s-%s-%s", nested ? "nested" : "plain", kinds[i][0], kinds[i][1]);
            IN_OWN_MOUNTS(label, nest(nested) ?: mount("none", place, kinds[i][0], 0, kinds[i][1]));
            snprintf(label, sizeof label, "%s-new-api-%s-%s", nested ? "nested" : "plain", kinds[i][0], kinds[i][1]);
            IN_OWN_MOUNTS(label, nest(nested) ?: syscall(SYS_fsopen, kinds[i][0], 0L));
        }
    // Only looked at: a group that could be written shows as writable.
    IN_CHILD("release-agent", access("/sys/fs/cgroup/memory/release_agent", W_OK));
    IN_CHILD("procs", access("/sys/fs/cgroup/memory/cgroup.procs", W_OK));
    IN_CHILD("procs-v2", access("/sys/fs/cgroup/cgroup.procs", W_OK));
    if (control) return 0;
    IN_OWN_MOUNTS("remount-writable", mount("none", "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND, NULL));
    IN_OWN_MOUNTS("make-group", mkdir("/sys/fs/cgroup/bulkhead-probe", 0700));
    IN_OWN_MOUNTS("make-group-v1", mkdir("/sys/fs/cgroup/memory/bulkhead-probe", 0700));
    return 0;
}

// Device nodes: made, and opened if that worked.
int nodes(int argc, char **argv) {
    const char *place = argc > 0 ? argv[0] : "/tmp";
    // Without a container in the way, only a node that is harmless.
    int harmless = argc > 1 && !strcmp(argv[1], "control");
    static const struct { const char *name; mode_t kind; unsigned major, minor; } all[] = {
        {"mem", S_IFCHR, 1, 1}, {"kmem", S_IFCHR, 1, 2}, {"null", S_IFCHR, 1, 3}, {"disk", S_IFBLK, 8, 0},
        {"vda", S_IFBLK, 254, 0}, {"tun", S_IFCHR, 10, 200}, {"fuse", S_IFCHR, 10, 229}, {"kmsg", S_IFCHR, 1, 11}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[PATH_MAX];
        if (harmless && strcmp(all[i].name, "null")) continue;
        snprintf(path, sizeof path, "%s/node-%s", place, all[i].name);
        long made = mknod(path, all[i].kind | 0666, makedev(all[i].major, all[i].minor));
        printf("mknod-%s %s\n", all[i].name, said(made));
        if (made) continue;
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        printf("open-%s %s\n", all[i].name, said(fd));
        unlink(path);
    }
    // Those that the image brought along.
    for (int i = harmless ? 2 : 1; i < argc; i++) {
        int fd = open(argv[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        printf("open %s %s\n", argv[i], said(fd));
    }
    return 0;
}

// A file handle opened again: reaches any file of the file system (the "shocker" of 2014).
int handles(int argc, char **argv) {
    union { struct file_handle handle; char room[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } h;
    int mount_id = 0;
    const char *path = argc > 0 ? argv[0] : "/";
    h.handle.handle_bytes = MAX_HANDLE_SZ;
    printf("name-to-handle %s\n", said(name_to_handle_at(AT_FDCWD, path, &h.handle, &mount_id, 0)));
    int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    printf("open-by-handle %s\n", said(open_by_handle_at(at, &h.handle, O_RDONLY)));
    return 0;
}
