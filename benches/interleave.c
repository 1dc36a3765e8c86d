/* Runs commands in turn and prints medians and ratios of wall and CPU time.
 *
 *   interleave [-n ROUNDS] [-w WARM-UPS] [-r REFERENCE]… [-o CSV] NAME COMMAND… --- NAME COMMAND… --- …
 *
 * A word "@" in a command is replaced by a number that is new for every run. Wall time ends when the command ends. CPU
 * time is user and system time of the command and of all its descendants: those that outlive it are inherited by this
 * process and waited for outside the wall time. The peak is the resident memory of the largest process of the command. A
 * service that was there before (a daemon) is not counted. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 32

struct contender {
    char *name;
    char **words;
    double *wall, *cpu, *peak;
    int failed;
};

static struct contender all[MOST];
static int count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double milliseconds(const struct rusage *u) {
    return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e3 + (u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e3;
}

static int run(struct contender *c, double *wall, double *cpu, double *peak) {
    static int number;
    char text[32], *words[256];
    int i, status = 0, code = 0;
    snprintf(text, sizeof text, "bench-%d-%d", getpid(), number++);
    for (i = 0; c->words[i] && i < 255; i++) words[i] = strcmp(c->words[i], "@") ? c->words[i] : text;
    words[i] = NULL;
    double start = now();
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        execvp(words[0], words);
        _exit(127);
    }
    if (child < 0) return -1;
    *cpu = 0;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) != child) {}
    *wall = now() - start;
    *cpu += milliseconds(&usage);
    *peak = usage.ru_maxrss;
    code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    /* What it left running now belongs to this process. */
    while (wait4(-1, &status, 0, &usage) > 0) *cpu += milliseconds(&usage);
    return code;
}

static int smaller(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int n) {
    double *copy = malloc(n * sizeof *copy), m;
    memcpy(copy, values, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, smaller);
    m = n % 2 ? copy[n / 2] : (copy[n / 2 - 1] + copy[n / 2]) / 2;
    free(copy);
    return m;
}

static double least(const double *values, int n) {
    double m = values[0];
    for (int i = 1; i < n; i++) m = values[i] < m ? values[i] : m;
    return m;
}

static int number_of(const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(all[i].name, name)) return all[i].failed ? -1 : i;
    return -1;
}

int main(int argc, char **argv) {
    int rounds = 15, warm = 2, option, references[8], n_references = 0;
    char *reference_names[8], *csv = NULL;
    while ((option = getopt(argc, argv, "+n:w:r:o:")) != -1) {
        if (option == 'n') rounds = atoi(optarg);
        else if (option == 'w') warm = atoi(optarg);
        else if (option == 'o') csv = optarg;
        else if (option == 'r' && n_references < 8) reference_names[n_references++] = optarg;
        else return 2;
    }
    for (int i = optind; i < argc && count < MOST; i++) {
        if (i + 1 >= argc) return 2;
        all[count].name = argv[i];
        all[count].words = argv + i + 1;
        while (i < argc && strcmp(argv[i], "---")) i++;
        if (i < argc) argv[i] = NULL;
        count++;
    }
    if (rounds < 1 || count < 1) return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (int i = 0; i < count; i++) {
        all[i].wall = calloc(rounds, sizeof(double));
        all[i].cpu = calloc(rounds, sizeof(double));
        all[i].peak = calloc(rounds, sizeof(double));
    }
    for (int round = -warm; round < rounds; round++) {
        for (int k = 0; k < count; k++) {
            /* Nobody is always after the same neighbour's left-overs. */
            struct contender *c = &all[(k + round + warm) % count];
            if (c->failed) continue;
            double wall, cpu, peak;
            int code = run(c, &wall, &cpu, &peak);
            if (code) {
                fprintf(stderr, "%s: exit code %d; left out\n", c->name, code);
                c->failed = 1;
            } else if (round >= 0) {
                c->wall[round] = wall;
                c->cpu[round] = cpu;
                c->peak[round] = peak;
            }
        }
    }
    FILE *raw = csv ? fopen(csv, "w") : NULL;
    if (raw) fprintf(raw, "name,round,wall_ms,cpu_ms,peak_kib\n");
    for (int i = 0; i < n_references; i++) references[i] = number_of(reference_names[i]);
    printf("%-30s %9s %9s %9s %9s", "", "wall ms", "least", "CPU ms", "peak KiB");
    for (int r = 0; r < n_references; r++)
        if (references[r] >= 0) printf("   / %-15s", reference_names[r]);
    printf("\n%-30s %9s %9s %9s %9s", "", "median", "", "median", "median");
    for (int r = 0; r < n_references; r++)
        if (references[r] >= 0) printf("   %7s %9s", "wall", "CPU");
    printf("\n");
    for (int i = 0; i < count; i++) {
        struct contender *c = &all[i];
        if (c->failed) continue;
        double wall = median(c->wall, rounds), cpu = median(c->cpu, rounds);
        printf("%-30s %9.2f %9.2f %9.2f %9.0f", c->name, wall, least(c->wall, rounds), cpu, median(c->peak, rounds));
        for (int r = 0; r < n_references; r++) {
            if (references[r] < 0) continue;
            struct contender *to = &all[references[r]];
            printf("   %7.2f %9.2f", wall / median(to->wall, rounds), cpu / median(to->cpu, rounds));
        }
        printf("\n");
        for (int round = 0; raw && round < rounds; round++)
            fprintf(raw, "%s,%d,%.3f,%.3f,%.0f\n", c->name, round, c->wall[round], c->cpu[round], c->peak[round]);
    }
    if (raw) fclose(raw);
    return 0;
}
