// What a process is and sees: rights, limits, descriptors, and a walk over kernel files.
#include "probe.h"

static void copy_lines(const char *path, const char *prefix, const char *const *only) {
    char line[8192];
    FILE *file = fopen(path, "re");
    if (!file) return (void)printf("%s %s\n", prefix, error_name(errno));
    while (fgets(line, sizeof line, file)) {
        int wanted = !only;
        for (const char *const *o = only; o && *o; o++) wanted |= !strncmp(line, *o, strlen(*o));
        if (wanted) printf("%s %s", prefix, line);
    }
    fclose(file);
}

static void list_devices(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[PATH_MAX], target[PATH_MAX] = "";
        struct stat st;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (lstat(path, &st)) continue;
        if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof target - 1) < 0) continue;
        printf("dev %s %o %u:%u %s\n", path, st.st_mode, S_ISCHR(st.st_mode) ? major(st.st_rdev) : 0,
               S_ISCHR(st.st_mode) ? minor(st.st_rdev) : 0, target);
        if (S_ISDIR(st.st_mode)) list_devices(path);
    }
    if (d) closedir(d);
}

int state(int argc, char **argv) {
    (void)argc, (void)argv;
    static const char *const status[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
                                         "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", NULL};
    static const char *const limit[] = {"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
                                        "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"};
    static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
    copy_lines("/proc/self/status", "status", status);
    copy_lines("/proc/self/uid_map", "uid_map", NULL);
    copy_lines("/proc/self/gid_map", "gid_map", NULL);
    copy_lines("/proc/self/oom_score_adj", "oom_score_adj", NULL);
    for (int i = 0; i < 16; i++) {
        struct rlimit r;
        if (prlimit(0, i, NULL, &r)) continue;
        printf("rlimit %s %lld %lld\n", limit[i], (long long)r.rlim_cur, (long long)r.rlim_max);
    }
    mode_t mask = umask(0);
    umask(mask);
    printf("umask %03o\ndumpable %d\nsecurebits %d\n", mask, prctl(PR_GET_DUMPABLE), prctl(PR_GET_SECUREBITS));
    printf("session %d\ngroup %d\n", getsid(0), getpgrp());
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
        if (readlink(path, target, sizeof target - 1) > 0) printf("ns %s\n", target);
    }
    copy_lines("/proc/self/mountinfo", "mount", NULL);
    copy_lines("/proc/self/cgroup", "cgroup", NULL);
    list_devices("/dev");
    return 0;
}

int descriptors(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], target[PATH_MAX] = "?";
        struct stat st;
        if (fstat(fd, &st)) continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) < 0) strcpy(target, "?");
        printf("fd %d %s\n", fd, target);
    }
    return 0;
}

// Could be written: asked twice, because some file systems answer access() without looking.
static int writable(const char *path) {
    if (access(path, W_OK)) return 0;
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0) return 0;
    close(fd);
    return 1;
}

static int number(const char *name) { return *name && strspn(name, "0123456789") == strlen(name); }

// `shown` is `path` with process numbers replaced.
static void walk_from(const char *path, const char *shown, int depth) {
    DIR *dir = opendir(path);
    if (!dir || depth > 24) return;
    for (struct dirent *e; (e = readdir(dir));) {
        const char *name = e->d_name, *seen = name;
        char below[PATH_MAX], show[PATH_MAX];
        struct stat st;
        if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
        // Of processes, this one only.
        if (!strcmp(path, "/proc") && (number(name))) {
            if (atoi(name) != getpid()) continue;
            seen = "PID";
        }
        if (number(name) && depth && !strcmp(path + strlen(path) - 5, "/task")) seen = "TID";
        if ((size_t)snprintf(below, sizeof below, "%s/%s", path, name) >= sizeof below) continue;
        if ((size_t)snprintf(show, sizeof show, "%s/%s", shown, seen) >= sizeof show) continue;
        if (lstat(below, &st)) continue;
        if (S_ISDIR(st.st_mode)) {
            if (!access(below, W_OK)) printf("D %s\n", show);
            if (strstr(show, "PID") && (!strcmp(name, "fd") || !strcmp(name, "fdinfo") || !strcmp(name, "map_files")))
                continue;
            walk_from(below, show, depth + 1);
        } else if (S_ISREG(st.st_mode) && writable(below)) {
            printf("F %s\n", show);
        }
    }
    closedir(dir);
}

int walk(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    for (int i = 0; i < argc; i++) walk_from(argv[i], argv[i], 0);
    return 0;
}
