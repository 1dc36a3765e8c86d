// The verdict of every system call, measured without carrying out any.
//
// A second filter, loaded by this very process, hands calls with a mark in their sixth argument to a helper that
// answers "allowed". The kernel asks all filters and the strictest answer wins: a call that the first filter refuses
// never reaches the helper, one that it allows never reaches the kernel.
#include "probe.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

#define MARK 0x5eccb001
#define ALLOWED 0x600d
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))

static volatile long *answer;

static int load(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(5)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static void help(int listener) {
    for (;;) {
        struct seccomp_notif asked;
        struct seccomp_notif_resp told;
        memset(&asked, 0, sizeof asked);
        memset(&told, 0, sizeof told);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) {
            if (errno == EINTR || errno == ENOENT) continue;
            _exit(1);
        }
        told.id = asked.id;
        told.val = ALLOWED;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &told);
    }
}

#ifdef __x86_64__
long old_call(long number, long a, long b, long c);
__asm__(".text\n.globl old_call\nold_call:\n"
        "push %rbx\npush %rbp\n"
        "mov %rdi,%rax\nmov %rsi,%rbx\nmov %rcx,%r8\nmov %rdx,%rcx\nmov %r8,%rdx\n"
        "xor %esi,%esi\nxor %edi,%edi\nmov $0x5eccb001,%ebp\nint $0x80\n"
        "pop %rbp\npop %rbx\nret\n");
#endif

enum { NATIVE, OLD };

static const char *verdict(int abi, long number, const long *a) {
    static char text[32];
    *answer = 1;
    pid_t child = fork();
    if (child == 0) {
        long value;
#ifdef __x86_64__
        if (abi == OLD) {
            value = old_call(number, a[0], a[1], a[2]);
        } else
#endif
        {
            errno = 0;
            value = syscall(number, a[0], a[1], a[2], a[3], a[4], (long)MARK);
            if (value == -1) value = -errno;
            // The mark may still be in its register.
            syscall(SYS_getpid, 0L, 0L, 0L, 0L, 0L, 0L);
        }
        *answer = value;
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof text, "signal-%d", WTERMSIG(status));
        return text;
    }
    if (*answer == ALLOWED) return "allow";
    if (*answer < 0) return error_name((int)-*answer);
    snprintf(text, sizeof text, "unfiltered-%ld", *answer);
    return text;
}

// Also with every pattern in the upper half of the arguments in `ints`, which the kernel drops.
static void judge(const char *label, long number, long a, long b, long c, long d, unsigned ints) {
    static const unsigned long high[] = {1UL << 32, 1UL << 63, 0xffffffffUL << 32};
    long plain[5] = {a, b, c, d, 0};
    char first[32];
    snprintf(first, sizeof first, "%s", verdict(NATIVE, number, plain));
    printf("arg %s %s\n", label, first);
    for (int i = 0; i < 4; i++) {
        if (!(ints & (1U << i))) continue;
        for (size_t h = 0; h < sizeof high / sizeof *high; h++) {
            long with[5] = {a, b, c, d, 0};
            with[i] = (long)(((unsigned long)with[i] & 0xffffffffUL) | high[h]);
            const char *now = verdict(NATIVE, number, with);
            if (strcmp(now, first)) printf("high-bits %s argument %d %lx %s\n", label, i, with[i], now);
        }
    }
}

static void arguments(void) {
    char label[64];
    for (long family = 0; family <= 50; family++) {
        snprintf(label, sizeof label, "socket-family-%ld", family);
        judge(label, SYS_socket, family, SOCK_STREAM, 0, 0, 7);
        snprintf(label, sizeof label, "socketpair-family-%ld", family);
        judge(label, SYS_socketpair, family, SOCK_STREAM, 0, 0, 7);
    }
    for (long protocol = 0; protocol < 32; protocol++) {
        snprintf(label, sizeof label, "netlink-%ld", protocol);
        judge(label, SYS_socket, AF_NETLINK, SOCK_RAW, protocol, 0, 7);
    }
    static const long requests[] = {0x5401, 0x5412, 0x541b, 0x541c, 0xb701, 0xb703, 0xff01, 0xff05, 0xff0a, 0x8902};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        snprintf(label, sizeof label, "ioctl-%lx", requests[i]);
        judge(label, SYS_ioctl, 0, requests[i], 0, 0, 3);
    }
    judge("setsockopt-tcp-nodelay", SYS_setsockopt, 0, 6, 1, 0, 7);
    judge("setsockopt-tcp-ulp", SYS_setsockopt, 0, 6, 31, 0, 7);
    judge("setsockopt-udp-31", SYS_setsockopt, 0, 17, 31, 0, 7);
    static const struct { const char *name; long number; int at; } send[] = {
        {"sendto", SYS_sendto, 3}, {"recvfrom", SYS_recvfrom, 3}, {"sendmsg", SYS_sendmsg, 2},
        {"recvmsg", SYS_recvmsg, 2}, {"sendmmsg", SYS_sendmmsg, 3}, {"recvmmsg", SYS_recvmmsg, 3}};
    for (size_t i = 0; i < sizeof send / sizeof *send; i++)
        for (long flags = 0; flags <= 0x41; flags += flags == 1 ? 0x3f : 1) {
            long a[4] = {0, 0, 0, 0};
            a[send[i].at] = flags;
            snprintf(label, sizeof label, "%s-flags-%lx", send[i].name, flags);
            judge(label, send[i].number, a[0], a[1], a[2], a[3], 1U | (1U << send[i].at));
        }
    static const long persona[] = {0, 8, 0x20000, 0x20008, 0xffffffff, 0x40000, 0x400000, 0x100000, 0x200000, 7};
    for (size_t i = 0; i < sizeof persona / sizeof *persona; i++) {
        snprintf(label, sizeof label, "personality-%lx", persona[i]);
        judge(label, SYS_personality, persona[i], 0, 0, 0, 1);
    }
    static const long spaces[] = {0x11, 0x100, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000,
                                  0x40000000, 0x7e020011};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        snprintf(label, sizeof label, "clone-%lx", spaces[i]);
        judge(label, SYS_clone, spaces[i], 0, 0, 0, 1);
    }
    static const long kinds[] = {0, 0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xa000, 0xc000};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(label, sizeof label, "mknodat-%lx", kinds[i]);
        judge(label, SYS_mknodat, AT_FDCWD, 0, kinds[i] | 0600, 0, 5);
    }
}

static void other_abis(void) {
#ifdef __x86_64__
    static const struct { const char *name; int abi; long number; } calls[] = {
        {"i386-getpid", OLD, 20}, {"i386-socketcall", OLD, 102}, {"i386-socket", OLD, 359},
        {"i386-clone", OLD, 120}, {"i386-unshare", OLD, 310}, {"i386-keyctl", OLD, 288},
        {"x32-getpid", NATIVE, 0x40000000 + 39}, {"x32-ioctl", NATIVE, 0x40000000 + 514},
        {"x32-unshare", NATIVE, 0x40000000 + 272}, {"x32-keyctl", NATIVE, 0x40000000 + 250}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        long none[5] = {0};
        printf("abi %s %s\n", calls[i].name, verdict(calls[i].abi, calls[i].number, none));
    }
#endif
}

int verdicts(int argc, char **argv) {
    (void)argc, (void)argv;
    answer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];
    if (answer == MAP_FAILED || pipe(ends)) return 1;
    // The helper shares the table of descriptors, so that the listener is its own too.
    pid_t helper = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0L, 0L, 0L, 0L);
    if (helper == 0) {
        int listener = -1;
        if (read(ends[0], &listener, sizeof listener) != sizeof listener) _exit(1);
        help(listener);
    }
    int listener = load();
    if (helper < 0 || listener < 0 || write(ends[1], &listener, sizeof listener) != sizeof listener) {
        printf("cannot load a filter: %s\n", error_name(errno));
        return 1;
    }
    for (long number = 0; number <= 470; number++) {
        long none[5] = {0};
        printf("call %ld %s\n", number, verdict(NATIVE, number, none));
    }
    long none[5] = {0};
    printf("call 9999 %s\n", verdict(NATIVE, 9999, none));
    arguments();
    other_abis();
    kill(helper, SIGKILL);
    return 0;
}
