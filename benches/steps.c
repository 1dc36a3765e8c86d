/* Which instructions of a position independent program are carried out, in the order in which they are first met.
 *
 *   steps OUT PROGRAM WORDS…
 *
 * The program is stepped through, and so is every process that it makes and that does not become another program. OUT gets
 * an address a line, relative to where the program was loaded, of 16 hexadecimal digits, for every 16 bytes of code. */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 64
#define SIZE (64UL << 20)

static struct process {
    pid_t pid;
    unsigned long base; /* 0: another program, which is left alone */
} all[MOST];
static int count;
static unsigned char seen[SIZE / 16];

static struct process *find(pid_t pid) {
    for (int i = 0; i < count; i++)
        if (all[i].pid == pid) return &all[i];
    if (count == MOST) fprintf(stderr, "more than %d processes\n", MOST), exit(1);
    all[count].pid = pid;
    return &all[count++];
}

/* Where its program was loaded; 0 where that is not left to chance. */
static unsigned long base_of(pid_t pid) {
    char path[64];
    unsigned long pair[2], headers = 0;
    snprintf(path, sizeof path, "/proc/%d/auxv", pid);
    FILE *file = fopen(path, "r");
    while (file && fread(pair, sizeof pair, 1, file) == 1)
        if (pair[0] == AT_PHDR) headers = pair[1];
    if (file) fclose(file);
    return headers > SIZE * 16 ? headers - sizeof(Elf64_Ehdr) : 0;
}

/* Leaves a process that outlives the program to itself: the init of a container that waits for its start. */
static void release(pid_t pid) {
    int status;
    kill(pid, SIGSTOP);
    while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        if (WSTOPSIG(status) == SIGSTOP) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            return;
        }
        ptrace(PTRACE_CONT, pid, 0, 0);
    }
}

int main(int argc, char **argv) {
    FILE *out = argc > 2 ? fopen(argv[1], "w") : NULL;
    if (!out) return 2;
    pid_t first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    int status, code = 1;
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0,
        PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL);
    find(first);
    ptrace(PTRACE_CONT, first, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        struct process *p = find(pid);
        if (!WIFSTOPPED(status)) {
            p->pid = 0;
            if (pid != first) continue;
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
            break;
        }
        int event = status >> 16, signal = WSTOPSIG(status), pass = 0;
        if (event == PTRACE_EVENT_EXEC) {
            p->base = base_of(pid);
        } else if (event) {
            unsigned long child;
            ptrace(PTRACE_GETEVENTMSG, pid, 0, &child);
            find(child)->base = p->base;
        } else if (signal == SIGTRAP) {
            unsigned long at = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0) - p->base;
            if (p->base && at < SIZE && !seen[at / 16]) seen[at / 16] = 1, fprintf(out, "%016lx\n", at);
        } else if (signal != SIGSTOP) {
            pass = signal;
        }
        ptrace(p->base ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, pass);
    }
    for (int i = 0; i < count; i++)
        if (all[i].pid) release(all[i].pid);
    return fclose(out) || code;
}
