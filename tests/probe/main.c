// Picks the command.
#include "probe.h"

const char *error_name(int number) {
    static char other[16];
    switch (number) {
    case 0: return "ok";
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case EIO: return "EIO";
    case ENXIO: return "ENXIO";
    case EBADF: return "EBADF";
    case EACCES: return "EACCES";
    case EFAULT: return "EFAULT";
    case EBUSY: return "EBUSY";
    case EEXIST: return "EEXIST";
    case ENODEV: return "ENODEV";
    case ENOTDIR: return "ENOTDIR";
    case EISDIR: return "EISDIR";
    case EINVAL: return "EINVAL";
    case ENOTTY: return "ENOTTY";
    case ETXTBSY: return "ETXTBSY";
    case EROFS: return "EROFS";
    case ELOOP: return "ELOOP";
    case ENOSYS: return "ENOSYS";
    case ENOKEY: return "ENOKEY";
    case ENOPROTOOPT: return "ENOPROTOOPT";
    case EPROTONOSUPPORT: return "EPROTONOSUPPORT";
    case ESOCKTNOSUPPORT: return "ESOCKTNOSUPPORT";
    case EOPNOTSUPP: return "EOPNOTSUPP";
    case EAFNOSUPPORT: return "EAFNOSUPPORT";
    case ESRCH: return "ESRCH";
    default: snprintf(other, sizeof other, "E%d", number); return other;
    }
}

const char *said(long value) { return value < 0 ? error_name(errno) : "ok"; }

static int nothing(int argc, char **argv) {
    (void)argc, (void)argv;
    return 0;
}

static int naps(int argc, char **argv) {
    // Signal 15 ends it also as process 1.
    signal(SIGTERM, _exit);
    sleep(argc > 0 ? (unsigned)atoi(argv[0]) : 60);
    return 0;
}

static const struct { const char *name; command *run; } COMMANDS[] = {
    {"true", nothing}, {"sleep", naps}, {"state", state}, {"walk", walk}, {"fds", descriptors},
    {"verdicts", verdicts}, {"attempts", attempts}, {"cgroups", cgroups}, {"nodes", nodes},
    {"namespaces", namespaces}, {"handles", handles}, {"swap", swap_names}, {"watch", watch},
    {"open-write", open_write}, {"look", chdir_look}, {"hold", hold}, {"type", type_in}, {"keys", keys},
    {"with-key", canary_key}, {"with-fds", inherit}, {"fork-bomb", fork_bomb}, {"eat", eat_memory},
    {"flood", flood}, {"privileges", privileges},
};

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; argc > 1 && i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (!strcmp(argv[1], COMMANDS[i].name)) return COMMANDS[i].run(argc - 2, argv + 2);
    // Started under another name, as an entry point that is a link to it, or by a link to /proc/self/exe.
    printf("probe without a command, as %s\n", argc > 0 ? argv[0] : "nothing");
    return 77;
}
