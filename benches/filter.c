/* Writes the system call filter of a running process to standard output, as the kernel has it: what the minimal
 * program loads. Needs root and a kernel with checkpoint and restore.   filter PID */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif

int main(int argc, char **argv) {
    static unsigned long long instructions[8192];
    pid_t pid = argc == 2 ? atoi(argv[1]) : 0;
    if (pid <= 1 || ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0)) {
        perror("attach");
        return 1;
    }
    waitpid(pid, NULL, __WALL);
    long n = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, instructions);
    int error = errno;
    ptrace(PTRACE_DETACH, pid, 0, 0);
    if (n <= 0 || n > 8192) {
        errno = error;
        perror("read the filter");
        return 1;
    }
    return fwrite(instructions, 8, n, stdout) == (size_t)n ? 0 : 1;
}
