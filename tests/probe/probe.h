// What the tests run inside a container, and once more without one to prove that it can see a hit.
#ifndef PROBE_H
#define PROBE_H
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A command: words after its name.
typedef int command(int argc, char **argv);

command state, walk, descriptors;                      // state.c
command verdicts;                                      // verdict.c
command attempts, cgroups, nodes, namespaces, handles; // attempt.c
command swap_names, watch, open_write, chdir_look, hold; // race.c
command type_in, keys, canary_key, inherit, fork_bomb, eat_memory, flood, privileges; // play.c

// Name of an error, the same on every C library.
const char *error_name(int number);
// "ok", or the name of errno.
const char *said(long value);
#endif
