/* What both minimal programs need of the kernel: a call each, checked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* musl has no kernel headers beside it. */
enum { NEWTIME = 0x80, NEWNS = 0x20000, NEWCGROUP = 0x2000000, NEWUTS = 0x4000000, NEWIPC = 0x8000000,
       NEWUSER = 0x10000000, NEWPID = 0x20000000, NEWNET = 0x40000000, PIDFD = 0x1000 };
enum { RO = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, IDMAP = 0x100000 };
enum { CLONE_TREE = 1, EMPTY = 0x1000, NOFOLLOW = 0x100, RECURSIVE = 0x8000 };
#define INTO_CGROUP 0x200000000ULL

struct clone_arguments { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; };
struct attributes { uint64_t set, clear, propagation, userns; };
struct resolution { uint64_t flags, mode, resolve; };
struct program { unsigned short length; void *filter; };

static int in_child, channel;

static void die(const char *what) {
    fprintf(stderr, "minimal%s: %s: %s\n", in_child ? " (child)" : "", what, strerror(errno));
    _exit(125);
}
#define MUST(call) ({ long value_ = (long)(call); if (value_ < 0) die(#call); value_; })

static void put(const char *file, const char *value) {
    int fd = MUST(open(file, O_WRONLY | O_CLOEXEC));
    MUST(write(fd, value, strlen(value)));
    close(fd);
}

static int tree(const char *path, int flags) {
    return MUST(syscall(SYS_open_tree, AT_FDCWD, path, CLONE_TREE | O_CLOEXEC | NOFOLLOW | flags));
}
static void attributes(int fd, uint64_t set, int flags) {
    struct attributes a = { .set = set };
    MUST(syscall(SYS_mount_setattr, fd, "", EMPTY | flags, &a, sizeof a));
}
static void attach(int fd, int to) { MUST(syscall(SYS_move_mount, fd, "", to, "", 0x4 | 0x40)); }

/* --- control groups ------------------------------------------------------------------------------------------------- */

static char groups[16][2 * PATH_MAX];
static int tasks[16], n_groups, into = -1, version_two;

/* By which the child enters: the directory of version 2, or the tasks of each hierarchy of version 1. */
static void open_group(int i) {
    char path[2 * PATH_MAX + 8];
    if (version_two) {
        into = MUST(open(groups[i], O_PATH | O_DIRECTORY | O_CLOEXEC));
        return;
    }
    snprintf(path, sizeof path, "%s/tasks", groups[i]);
    tasks[i] = MUST(open(path, O_WRONLY | O_CLOEXEC));
}

static void join_groups(void) {
    for (int i = 0; !version_two && i < n_groups; i++) MUST(write(tasks[i], "0", 1));
}

static void remove_groups(void) {
    for (int i = 0; i < n_groups; i++)
        for (int attempt = 0; rmdir(groups[i]) && errno == EBUSY && attempt < 1000; attempt++) usleep(1000);
}

/* --- the new root ---------------------------------------------------------------------------------------------------- */

static int root_fd;

/* A path of the rootfs, which the kernel keeps inside. */
static int place(const char *path, int flags) {
    struct resolution how = { .flags = flags | O_CLOEXEC, .mode = flags & O_CREAT ? 0644 : 0, .resolve = 0x10 | 0x02 };
    return syscall(SYS_openat2, root_fd, path, &how, sizeof how);
}
static void new_directory(const char *path) {
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    int above = MUST(place(parent, O_PATH | O_DIRECTORY));
    MUST(mkdirat(above, slash + 1, 0755));
    close(above);
}
static int directory(const char *path) {
    int fd = place(path, O_PATH | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        new_directory(path);
        fd = place(path, O_PATH | O_DIRECTORY);
    }
    return MUST(fd);
}

/* A new file system; options end with NULL, and one without a value has "" after it. */
static int filesystem(const char *type, int attr, const char *const *options) {
    int fs = MUST(syscall(SYS_fsopen, type, 1));
    for (; *options; options += 2)
        MUST(syscall(SYS_fsconfig, fs, *options[1] ? 1 : 0, options[0], *options[1] ? options[1] : NULL, 0));
    MUST(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
    int mount = MUST(syscall(SYS_fsmount, fs, 1, attr));
    close(fs);
    return mount;
}
#define FS(type, attr, ...) filesystem(type, attr, (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })
static int mount_on(const char *target, int mount) {
    int to = directory(target);
    attach(mount, to);
    close(to);
    return mount;
}

static void read_only(const char *path, int with) {
    int to = place(path, O_PATH);
    if (to < 0) return;
    int copy = MUST(syscall(SYS_open_tree, to, "", CLONE_TREE | O_CLOEXEC | EMPTY | RECURSIVE));
    attributes(copy, RO | with, RECURSIVE);
    attach(copy, to);
    close(copy), close(to);
}

/* --- the parent and its child ------------------------------------------------------------------------------------------ */

static int receive(int *fds, int most) {
    char byte[8], control[CMSG_SPACE(16 * sizeof(int))];
    struct iovec part = { byte, sizeof byte };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    if (MUST(recvmsg(channel, &m, MSG_CMSG_CLOEXEC)) == 0) return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int n = c ? (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    if (n > most) die("too many descriptors");
    if (n > 0 && fds) memcpy(fds, CMSG_DATA(c), n * sizeof(int));
    return n;
}

static void await(void) {
    char answer[8];
    struct pollfd wait = { channel, POLLIN, 0 };
    MUST(poll(&wait, 1, 60000));
    if (recv(channel, answer, sizeof answer, 0) < 0) die("hear from the child");
}
