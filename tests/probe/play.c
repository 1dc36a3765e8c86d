// Terminals, keys, descriptors, and bounded excess.
#include "probe.h"

// type TEXT: pushes TEXT into the input of every terminal that can be reached.
int type_in(int argc, char **argv) {
    const char *text = argc > 0 ? argv[0] : "#";
    int fds[4] = {0, 1, 2, open("/dev/tty", O_RDWR | O_CLOEXEC)};
    for (int i = 0; i < 4; i++)
        for (int high = 0; high < 2; high++) {
            long value = 0;
            for (const char *c = text; *c && value >= 0; c++)
                value = syscall(SYS_ioctl, fds[i], 0x5412UL | ((unsigned long)high << 32), c);
            printf("type %d %d %s\n", i, high, said(value));
        }
    char sub[2] = {3, 0};
    printf("tioclinux %s\n", said(syscall(SYS_ioctl, 0, 0x541cUL, sub)));
    printf("foreground %d session %d\n", tcgetpgrp(0), getsid(0));
    return 0;
}

// keys NAME ID: looks for a key by name, by number, and in /proc/keys.
int keys(int argc, char **argv) {
    if (argc < 2) return 2;
    char buffer[4096] = "";
    long found = syscall(SYS_request_key, "user", argv[0], NULL, 0L);
    printf("request-key %s\n", said(found));
    for (long ring = -5; ring < 0; ring++) {
        long value = syscall(SYS_keyctl, 10L, ring, "user", argv[0], 0L);
        printf("search %ld %s\n", ring, said(value));
    }
    printf("read %s\n", said(syscall(SYS_keyctl, 11L, atol(argv[1]), buffer, sizeof buffer, 0L)));
    printf("describe %s\n", said(syscall(SYS_keyctl, 6L, atol(argv[1]), buffer, sizeof buffer, 0L)));
    int fd = open("/proc/keys", O_RDONLY | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && (n = read(fd, buffer, sizeof buffer - 1)) > 0;) {
        buffer[n] = 0;
        printf("proc-keys %zd bytes%s\n", n, strstr(buffer, argv[0]) ? " with the canary" : "");
    }
    return 0;
}

// with-key NAME PROGRAM...: starts a program whose session and user keyrings hold a key NAME; the word @ is its number.
int canary_key(int argc, char **argv) {
    if (argc < 2) return 2;
    if (syscall(SYS_keyctl, 1L, "bulkhead-probe", 0L, 0L, 0L) < 0) return 3;
    long session = syscall(SYS_add_key, "user", argv[0], "canary", 6L, -3L);
    if (session < 0) return 4;
    char number[32];
    snprintf(number, sizeof number, "%ld", session);
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "@")) argv[i] = number;
    execvp(argv[1], argv + 1);
    return 5;
}

// with-fds COUNT FILE DIR PROGRAM...: starts a program with COUNT descriptors of FILE and DIR open and not close-on-exec.
int inherit(int argc, char **argv) {
    if (argc < 4) return 2;
    for (int i = 0; i < atoi(argv[0]); i++) {
        int fd = i % 3 == 0   ? open(argv[1], O_RDWR)
                 : i % 3 == 1 ? open(argv[2], O_RDONLY | O_DIRECTORY)
                              : open(argv[2], O_PATH);
        // Some far up, where a loop over the first few does not come.
        if (fd < 0 || (i >= 15 && dup2(fd, 500 + i) < 0)) return 3;
    }
    execvp(argv[3], argv + 3);
    return 5;
}

// fork-bomb MOST: forks until refused.
int fork_bomb(int argc, char **argv) {
    int most = argc > 0 ? atoi(argv[0]) : 5000, count = 0;
    int ends[2];
    if (pipe(ends)) return 1;
    errno = 0;
    while (count < most) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) {
            char c;
            close(ends[1]);
            // Ends when the first process does.
            _exit(read(ends[0], &c, 1) > 0);
        }
        count++;
    }
    printf("forked %d of %d: %s\n", count, most, count < most ? (errno == EAGAIN ? "EAGAIN" : error_name(errno)) : "ok");
    fflush(stdout);
    close(ends[1]);
    while (wait(NULL) > 0) {}
    return 0;
}

// eat MEGABYTES: touches that much memory in a child, which the first process outlives.
int eat_memory(int argc, char **argv) {
    long most = argc > 0 ? atol(argv[0]) : 256;
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < most; i++) {
            char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
            if (page == MAP_FAILED) _exit(9);
            memset(page, 1, 1 << 20);
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) printf("eater ended by signal %d\n", WTERMSIG(status));
    else printf("eater ended with %d\n", WEXITSTATUS(status));
    return 0;
}

// flood MEGABYTES KIND: writes to standard output, in lines or in one.
int flood(int argc, char **argv) {
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    if (argc > 1 && !strcmp(argv[1], "lines"))
        for (size_t i = 99; i < sizeof block; i += 100) block[i] = '\n';
    for (long left = (argc > 0 ? atol(argv[0]) : 1) * 16; left > 0; left--)
        for (size_t at = 0; at < sizeof block;) {
            ssize_t wrote = write(1, block + at, sizeof block - at);
            if (wrote < 0) return 1;
            at += (size_t)wrote;
        }
    return 0;
}

// privileges: effective ids, as a set-uid copy of this program prints them.
int privileges(int argc, char **argv) {
    (void)argc, (void)argv;
    printf("uid %d euid %d gid %d egid %d\n", getuid(), geteuid(), getgid(), getegid());
    return 0;
}
