/* Round trips and throughput over several ways in turn: medians, and the median of the ratios of each round to a reference.
 *
 *   traffic [-f] [-n ROUNDS] [-t TRIPS] [-m MILLISECONDS] [-k KINDS] [-c CPU] NAME FROM TO ADDRESS REFERENCE --- NAME …
 *
 * FROM and TO are network namespaces (files), ADDRESS is an IPv4 address of TO; REFERENCE is the name of a way before this
 * one, or "-". KINDS are letters: s a stream of TCP (Mbit/s, by what the receiver took), t a byte to and fro by TCP, u by UDP,
 * p an echo of ICMP (µs). A round is TRIPS round trips, or MILLISECONDS of a stream, of every way, in an order that rotates:
 * what the machine does besides falls on all of them. Both ends are this program, the same for all ways; with -c both are on one CPU, so that a round
 * trip has the kernel's work and two switches in it and no waking of another processor; with -f
 * what else wants a processor waits (SCHED_FIFO). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MOST 16
#define CHUNK (128 * 1024)

struct way {
    const char *name, *reference;
    int from, stream, control, tcp, udp, echo;
    struct sockaddr_in to, streams, bytes;
    double *values;
};

static struct way all[MOST];
static int count, own;
static char buffer[CHUNK];

static void die(const char *what) {
    fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
    exit(1);
}
#define MUST(call) ({ long value_ = (long)(call); if (value_ < 0) die(#call); value_; })

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void enter(int namespace) { MUST(setns(namespace, CLONE_NEWNET)); }

/* One that never answers must not hold everything up. */
static int patient(int fd) {
    struct timeval limit = { .tv_sec = 5 };
    MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    return fd;
}

static int listener(struct sockaddr_in *at, int type) {
    socklen_t length = sizeof *at;
    int fd = MUST(socket(AF_INET, type | SOCK_CLOEXEC, 0));
    at->sin_port = 0;
    MUST(bind(fd, (struct sockaddr *)at, sizeof *at));
    if (type == SOCK_STREAM) MUST(listen(fd, 4));
    MUST(getsockname(fd, (struct sockaddr *)at, &length));
    return fd;
}

static int dial(struct sockaddr_in at, int type) {
    int fd = MUST(socket(AF_INET, type | SOCK_CLOEXEC, 0)), one = 1;
    MUST(connect(fd, (struct sockaddr *)&at, sizeof at));
    if (type == SOCK_STREAM) MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    return patient(fd);
}

/* Sends back what comes: by a socket, or by the connections to one that listens, one after the other. */
static void echoes(int fd, int listens) {
    char byte;
    if (fork()) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    do {
        int by = listens ? MUST(accept(fd, NULL, NULL)) : fd, one = 1;
        if (listens) MUST(setsockopt(by, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
        while (recv(by, &byte, 1, 0) == 1) send(by, &byte, 1, MSG_NOSIGNAL);
        if (listens) close(by);
    } while (listens);
    _exit(0);
}

struct taken { uint64_t bytes; double at; };

/* Takes what comes by the last stream that began, and says how much that was so far whenever a byte comes by the control. */
static void takes(int streams, int control) {
    if (fork()) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct taken taken = { 0 };
    struct pollfd all[3] = { { -1, POLLIN, 0 }, { control, POLLIN, 0 }, { streams, POLLIN, 0 } };
    char byte;
    for (;;) {
        MUST(poll(all, 3, -1));
        if (all[2].revents) {
            if (all[0].fd >= 0) close(all[0].fd);
            all[0].fd = accept(streams, NULL, NULL);
        } else if (all[0].revents) {
            ssize_t n = recv(all[0].fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) close(all[0].fd), all[0].fd = -1;
            taken.bytes += n > 0 ? n : 0;
        }
        if (all[1].revents) {
            if (recv(control, &byte, 1, MSG_DONTWAIT) != 1) _exit(0);
            taken.at = now();
            send(control, &taken, sizeof taken, 0);
        }
    }
}

static void open_way(struct way *way, const char *from, const char *to, const char *address) {
    struct sockaddr_in tcp = { .sin_family = AF_INET }, udp, back;
    socklen_t length = sizeof back;
    char byte = 1;
    if (inet_pton(AF_INET, address, &tcp.sin_addr) != 1) die(address);
    way->to = udp = tcp;
    /* Both before either is entered: one may be this program's own. */
    int there = MUST(open(to, O_RDONLY | O_CLOEXEC)), here = MUST(open(from, O_RDONLY | O_CLOEXEC));
    enter(there);
    way->streams = tcp;
    int listening = listener(&tcp, SOCK_STREAM), datagrams = listener(&udp, SOCK_DGRAM);
    way->bytes = tcp;
    int streams = listener(&way->streams, SOCK_STREAM), bytes = listener(&way->bytes, SOCK_STREAM);
    enter(here);
    way->from = here;
    way->stream = way->tcp = -1;
    way->control = dial(tcp, SOCK_STREAM);
    int control = MUST(accept(listening, NULL, NULL));
    way->udp = dial(udp, SOCK_DGRAM);
    /* On the way the address may change. */
    MUST(send(way->udp, &byte, 1, 0));
    MUST(recvfrom(patient(datagrams), &byte, 1, 0, (struct sockaddr *)&back, &length));
    MUST(connect(datagrams, (struct sockaddr *)&back, sizeof back));
    struct timeval ever = { 0 };
    MUST(setsockopt(datagrams, SOL_SOCKET, SO_RCVTIMEO, &ever, sizeof ever));
    way->echo = patient(MUST(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)));
    MUST(connect(way->echo, (struct sockaddr *)&way->to, sizeof way->to));
    takes(streams, control);
    echoes(bytes, 1);
    echoes(datagrams, 0);
    close(streams), close(control), close(bytes), close(datagrams), close(listening), close(there);
    MUST(setns(own, CLONE_NEWNET));
}

/* Less than nothing when the way was broken off. */
static double trips(int fd, int number) {
    char byte = 1;
    double start = now();
    for (int i = 0; i < number; i++)
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) return -1;
    return (now() - start) / number;
}

static int connection(struct way *way, struct sockaddr_in to) {
    enter(way->from);
    int fd = dial(to, SOCK_STREAM);
    enter(own);
    return fd;
}

static double connected_trips(struct way *way, int number) {
    for (int attempt = 0; attempt < 20; attempt++) {
        if (way->tcp < 0) way->tcp = connection(way, way->bytes);
        double taken = trips(way->tcp, number);
        if (taken > 0) return taken;
        close(way->tcp);
        way->tcp = -1;
    }
    die("send a byte to and fro");
    return 0;
}

static double pings(int fd, int number) {
    static uint16_t sequence;
    struct { struct icmphdr header; char data[56]; } question = { .header = { .type = ICMP_ECHO, .un.echo.id = 0x6268 } };
    double start = now();
    for (int i = 0; i < number; i++) {
        uint16_t words[sizeof question / 2];
        uint32_t sum = 0;
        question.header.un.echo.sequence = ++sequence;
        question.header.checksum = 0;
        memcpy(words, &question, sizeof question);
        for (size_t k = 0; k < sizeof question / 2; k++) sum += words[k];
        sum = (sum >> 16) + (sum & 0xffff);
        question.header.checksum = ~(sum + (sum >> 16));
        MUST(send(fd, &question, sizeof question, 0));
        struct { struct iphdr ip; struct icmphdr header; char rest[64]; } answer;
        do MUST(recv(fd, &answer, sizeof answer, 0));
        while (answer.header.type != ICMP_ECHOREPLY || answer.header.un.echo.sequence != sequence);
    }
    return (now() - start) / number;
}

static struct taken so_far(struct way *way) {
    struct taken taken;
    MUST(send(way->control, buffer, 1, 0));
    if (recv(way->control, &taken, sizeof taken, MSG_WAITALL) != sizeof taken) die("hear what was taken");
    return taken;
}

/* By what the other end takes meanwhile, and not by what is on its way: a carrier that loses the last of it, and is sent it
 * again a while later, would be timed by that while. A carrier may also break a connection off: then there is another. */
static double stream(struct way *way, int milliseconds) {
    for (int attempt = 0; attempt < 20; attempt++) {
        if (way->stream < 0) {
            way->stream = connection(way, way->streams);
            usleep(10000);
        }
        struct taken before = so_far(way);
        double end = now() + milliseconds * 1e3;
        while (now() < end && send(way->stream, buffer, sizeof buffer, MSG_NOSIGNAL) > 0) {}
        struct taken after = so_far(way);
        if (now() >= end && after.bytes > before.bytes) return (after.bytes - before.bytes) * 8 / (after.at - before.at);
        close(way->stream);
        way->stream = -1;
    }
    die("send a stream that is not broken off");
    return 0;
}

static double once(struct way *way, char kind, int number, int milliseconds) {
    if (kind == 's') return stream(way, milliseconds);
    if (kind == 'p') return pings(way->echo, number);
    if (kind == 't') return connected_trips(way, number);
    double taken = trips(way->udp, number);
    if (taken < 0) die("send a datagram to and fro");
    return taken;
}

static int smaller(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int n) {
    double copy[n];
    memcpy(copy, values, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, smaller);
    return n % 2 ? copy[n / 2] : (copy[n / 2 - 1] + copy[n / 2]) / 2;
}

static void show(const char *kind, int rounds) {
    for (int i = 0; i < count; i++) {
        printf("%s %-20s %10.2f", kind, all[i].name, median(all[i].values, rounds));
        for (int k = 0; k < i; k++) {
            if (strcmp(all[k].name, all[i].reference)) continue;
            double ratios[rounds];
            for (int round = 0; round < rounds; round++) ratios[round] = all[i].values[round] / all[k].values[round];
            printf(" %7.3f", median(ratios, rounds));
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    int rounds = 15, number = 500, milliseconds = 200, option;
    const char *kinds = "stup";
    while ((option = getopt(argc, argv, "+fn:t:m:k:c:")) != -1) {
        if (option == 'n') rounds = atoi(optarg);
        else if (option == 't') number = atoi(optarg);
        else if (option == 'm') milliseconds = atoi(optarg);
        else if (option == 'k') kinds = optarg;
        else if (option == 'f') MUST(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &(int){ 1 })); /* musl has none */
        else if (option == 'c') {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(atoi(optarg), &one);
            MUST(sched_setaffinity(0, sizeof one, &one));
        }
        else return 2;
    }
    if (rounds < 1 || number < 1 || milliseconds < 1) return 2;
    own = MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    signal(SIGCHLD, SIG_IGN);
    for (int i = optind; i + 4 < argc && count < MOST; i += 6) {
        all[count] = (struct way){ .name = argv[i], .reference = argv[i + 4], .values = calloc(rounds, sizeof(double)) };
        open_way(&all[count++], argv[i + 1], argv[i + 2], argv[i + 3]);
    }
    if (!count) return 2;
    for (; *kinds; kinds++) {
        for (int round = -2; round < rounds; round++)
            for (int i = 0; i < count; i++) {
                struct way *way = &all[(i + round + 2) % count];
                double value = once(way, *kinds, number, milliseconds);
                if (round >= 0) way->values[round] = value;
            }
        show(*kinds == 's' ? "stream" : *kinds == 't' ? "tcp" : *kinds == 'u' ? "udp" : "ping", rounds);
        fflush(stdout);
    }
    return 0;
}
