// Races and looks around.
#include "probe.h"
#include <linux/fs.h>

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

// swap DIR A B ROUNDS MILLISECONDS COUNTER: exchanges two names until one bound is reached; the file COUNTER (in DIR)
// holds the number of rounds so far.
int swap_names(int argc, char **argv) {
    if (argc < 6) return 2;
    int dir = open(argv[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    int counter = openat(dir, argv[5], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    long rounds = atol(argv[3]), done = 0;
    long long end = now_ms() + atol(argv[4]);
    while (done < rounds && now_ms() < end) {
        if (syscall(SYS_renameat2, dir, argv[1], dir, argv[2], (long)RENAME_EXCHANGE)) {
            printf("swap %s\n", said(-1));
            return 1;
        }
        if (++done % 64 == 0) {
            char text[32];
            int size = snprintf(text, sizeof text, "%ld\n", done);
            if (pwrite(counter, text, (size_t)size, 0) < 0) return 1;
        }
        // Both states last long enough to be met, by whoever is slow and by whoever is fast.
        if (done % 2 == 0) usleep(50);
    }
    printf("swaps %ld\n", done);
    return 0;
}

// watch MILLISECONDS WORD...: looks at every other process as long as it lives: which of its links name a WORD, which
// of its executables can be opened for writing, and whether it can be traced.
int watch(int argc, char **argv) {
    if (argc < 1) return 2;
    long long end = now_ms() + atol(argv[0]);
    long seen = 0, readable = 0;
    pid_t last = 0;
    while (now_ms() < end) {
        DIR *proc = opendir("/proc");
        for (struct dirent *e; proc && (e = readdir(proc));) {
            int pid = atoi(e->d_name);
            if (pid <= 0 || pid == getpid()) continue;
            if (pid > last) { last = pid; seen++; }
            static const char *const links[] = {"exe", "cwd", "root"};
            char path[PATH_MAX], target[PATH_MAX];
            for (int i = 0; i < 3; i++) {
                snprintf(path, sizeof path, "/proc/%d/%s", pid, links[i]);
                ssize_t size = readlink(path, target, sizeof target - 1);
                if (size < 0) continue;
                readable++;
                target[size] = 0;
                for (int w = 1; w < argc; w++)
                    if (strstr(target, argv[w])) printf("HIT %s of %d is %s\n", links[i], pid, target);
                if (i == 0) {
                    int fd = open(path, O_WRONLY | O_CLOEXEC);
                    if (fd >= 0) printf("HIT %s of %d can be written\n", target, pid);
                    if (fd >= 0) close(fd);
                }
            }
            snprintf(path, sizeof path, "/proc/%d/fd", pid);
            DIR *fds = opendir(path);
            for (struct dirent *f; fds && (f = readdir(fds));) {
                ssize_t size = readlinkat(dirfd(fds), f->d_name, target, sizeof target - 1);
                if (size < 0) continue;
                target[size] = 0;
                for (int w = 1; w < argc; w++)
                    if (strstr(target, argv[w])) printf("HIT descriptor %s of %d is %s\n", f->d_name, pid, target);
            }
            if (fds) closedir(fds);
        }
        if (proc) closedir(proc);
    }
    printf("watched %ld processes, %ld links\n", seen, readable);
    return 0;
}

// open-write PATH...: opens for writing and, by a detour over O_PATH, once more. Nothing is written.
int open_write(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        char again[64], target[PATH_MAX] = "?";
        struct stat st = {0};
        int fd = open(argv[i], O_WRONLY | O_CLOEXEC);
        printf("write %s %s\n", argv[i], said(fd));
        if (fd >= 0) close(fd);
        fd = open(argv[i], O_RDWR | O_APPEND | O_CLOEXEC);
        printf("append %s %s\n", argv[i], said(fd));
        if (fd >= 0) close(fd);
        int handle = open(argv[i], O_PATH | O_CLOEXEC);
        snprintf(again, sizeof again, "/proc/self/fd/%d", handle);
        fd = handle < 0 ? -1 : open(again, O_WRONLY | O_CLOEXEC);
        printf("reopen %s %s\n", argv[i], said(fd));
        if (fd >= 0) close(fd);
        if (handle >= 0 && !fstat(handle, &st))
            printf("inode %s %u:%u %llu\n", argv[i], major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino);
        if (readlink(argv[i], target, sizeof target - 1) > 0) printf("link %s %s\n", argv[i], target);
    }
    return 0;
}

// look DEPTH: names in the working directory and above it.
int chdir_look(int argc, char **argv) {
    char path[PATH_MAX] = ".", where[PATH_MAX];
    printf("cwd %s\n", getcwd(where, sizeof where) ? where : error_name(errno));
    for (int level = 0; level <= (argc > 0 ? atoi(argv[0]) : 3); level++) {
        DIR *dir = opendir(path);
        for (struct dirent *e; dir && (e = readdir(dir));) printf("%s %s\n", path, e->d_name);
        if (dir) closedir(dir);
        strcat(path, "/..");
    }
    return 0;
}

// hold MILLISECONDS: says "ready" and lives that long.
int hold(int argc, char **argv) {
    printf("ready\n");
    fflush(stdout);
    usleep((useconds_t)(argc > 0 ? atol(argv[0]) : 1000) * 1000);
    return 0;
}
