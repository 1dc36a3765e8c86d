/* The kernel's work for a container's place in a network and nothing else: what `run` takes beyond it for a network is its own.
 *
 *   minimal_net none                           a process in a network namespace of its own, as every container has
 *   minimal_net net BRIDGE GATEWAY ADDRESS     with a pair of links to a bridge of bulkhead's, an address of a /24 and a route
 *
 * The same messages in the same order as `bulkhead run --rm --network …`: one change of nftables with the same elements, the
 * pair, its settings, what is inside, and at the end the change that takes the elements away and the connections that are
 * forgotten. Its tables and the bridge are there. Nobody looks whether they are right, and nothing is leased or recorded.
 * Root only, IPv4. As there the one that is waited for is not the one whose sockets the kernel takes its time to close. */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <sched.h>
#include <stdarg.h>

enum { ROUTE = 0, NETFILTER = 12, REQUEST = 1, ACK = 4, EXCL = 0x200, MAKE = 0x400, REPLACE = 0x100, NESTED = 0x8000 };

static struct { unsigned char bytes[4096]; size_t length, message; } out;

static void raw(const void *bytes, size_t length) {
    memcpy(out.bytes + out.length, bytes, length);
    out.length += length;
    while (out.length % 4) out.bytes[out.length++] = 0;
}
static void begin(uint16_t kind, uint16_t flags, const void *header, size_t length) {
    static uint32_t sequence;
    struct { uint32_t length; uint16_t kind, flags; uint32_t sequence, port; } all = { 0, kind, flags | REQUEST, ++sequence, 0 };
    out.message = out.length;
    raw(&all, sizeof all);
    raw(header, length);
}
static void end(void) {
    uint32_t length = out.length - out.message;
    memcpy(out.bytes + out.message, &length, 4);
}
static size_t nest(uint16_t kind) {
    uint16_t head[2] = { 4, kind | NESTED };
    raw(head, 4);
    return out.length - 4;
}
static void close_nest(size_t at) {
    uint16_t length = out.length - at;
    memcpy(out.bytes + at, &length, 2);
}
static void attribute(uint16_t kind, const void *value, size_t length) {
    size_t at = nest(kind);
    out.bytes[at + 3] &= 0x7f;
    memcpy(out.bytes + out.length, value, length);
    out.length += length;
    close_nest(at);
    while (out.length % 4) out.bytes[out.length++] = 0;
}
static void number(uint16_t kind, uint32_t value) { attribute(kind, &value, 4); }
static void text(uint16_t kind, const char *value) { attribute(kind, value, strlen(value) + 1); }

static int netlink(int protocol) {
    int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)), one = 1;
    setsockopt(fd, 270, 11, &one, sizeof one);
    setsockopt(fd, 270, 10, &one, sizeof one);
    return fd;
}
/* Sends what was written, and takes the one answer. */
static void ask(int fd, const char *what, int may_refuse) {
    int32_t answer[256];
    MUST(send(fd, out.bytes, out.length, 0));
    out.length = 0;
    if (MUST(recv(fd, answer, sizeof answer, 0)) < 20) die(what);
    errno = -answer[4];
    if (errno && !may_refuse) die(what);
}

static unsigned link_number(int fd, const char *name) {
    struct ifreq request = { 0 };
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    MUST(ioctl(fd, SIOCGIFINDEX, &request));
    return request.ifr_ifindex;
}
static void link_header(uint16_t kind, uint16_t flags, unsigned index, unsigned state) {
    uint32_t header[4] = { 0, index, state, state };
    begin(kind, flags, header, sizeof header);
}

/* --- elements of sets ------------------------------------------------------------------------------------------------- */

enum { BRIDGE_TABLE = 7, INET_TABLE = 1 };
static const unsigned char no_subsystem[4] = { 0, 0, 0, 10 };

static void element(int add, int family, const char *set, const char *link, const void *more, size_t length) {
    unsigned char header[4] = { family }, key[64] = { 0 };
    memcpy(key, link, strlen(link));
    memcpy(key + 16, more, length);
    begin(10 << 8 | (add ? 12 : 14), add ? MAKE : 0, header, 4);
    text(1, "bulkhead");
    text(2, set);
    size_t list = nest(3), one = nest(1), data = nest(1);
    attribute(1, key, 16 + length);
    close_nest(data), close_nest(one), close_nest(list);
    end();
}
static void elements(int fd, int add, const char *bridge, const char *port, const unsigned char *mac, uint32_t gateway, uint32_t own) {
    unsigned char member[12] = { 0 };
    memcpy(member, mac, 6);
    memcpy(member + 8, &own, 4);
    begin(16, 0, no_subsystem, 4), end();
    if (add) {
        char both[16] = { 0 };
        strcpy(both, bridge);
        element(add, INET_TABLE, "joined", bridge, both, 16);
        element(add, INET_TABLE, "outward", bridge, "", 0);
        element(add, INET_TABLE, "masqueraded", bridge, "", 0);
        element(add, INET_TABLE, "gateways4", bridge, &gateway, 4);
    }
    element(add, BRIDGE_TABLE, "members4", port, member, 12);
    element(add, INET_TABLE, "neighbours4", bridge, &own, 4);
    element(add, BRIDGE_TABLE, "unlimited", port, "", 0);
    element(add, INET_TABLE, "free4", bridge, &own, 4);
    out.bytes[out.message + 6] |= ACK;
    begin(17, 0, no_subsystem, 4), end();
    ask(fd, add ? "add elements" : "remove elements", 0);
}

/* --- links ------------------------------------------------------------------------------------------------------------- */

static void pair(int fd, const char *bridge, const char *port, const unsigned char *mac, int namespace) {
    static const uint32_t no_header[4];
    link_header(16, ACK | EXCL | MAKE, 0, 0);
    text(3, port);
    number(4, 1500);
    number(27, 0x62760001);
    number(10, link_number(fd, bridge));
    size_t info = nest(18);
    text(1, "veth");
    size_t data = nest(2), peer = nest(1);
    raw(no_header, sizeof no_header);
    text(3, "eth0");
    number(4, 1500);
    attribute(1, mac, 6);
    number(28, namespace);
    close_nest(peer), close_nest(data), close_nest(info);
    end();
    ask(fd, "make a pair of links", 0);
}

static void without_ipv6(const char *link) {
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", link);
    if (!access("/proc/sys/net/ipv6", F_OK)) put(path, "1");
}

static void open_port(int fd, unsigned index, const unsigned char *mac) {
    unsigned char neighbour[12] = { 7 }, off = 0, on = 1;
    memcpy(neighbour + 4, &index, 4);
    neighbour[8] = 0x40, neighbour[10] = 4 | 0x40;
    begin(28, ACK | MAKE | REPLACE, neighbour, sizeof neighbour);
    attribute(2, mac, 6);
    end();
    ask(fd, "pin the link address", 0);
    link_header(16, ACK, index, 1 | 0x80);
    size_t info = nest(18);
    text(4, "bridge");
    size_t data = nest(5);
    attribute(8, &off, 1), attribute(9, &off, 1), attribute(33, &off, 1), attribute(39, &on, 1);
    close_nest(data), close_nest(info);
    end();
    ask(fd, "open the port", 0);
}

static void inside(uint32_t gateway, uint32_t own) {
    int fd = netlink(ROUTE);
    unsigned index = link_number(fd, "eth0");
    uint32_t last = own | htonl(0xff);
    unsigned char address[8] = { AF_INET, 24 }, route[12] = { AF_INET, 0, 0, 0, 254, 4, 0, 1 };
    without_ipv6("eth0");
    memcpy(address + 4, &index, 4);
    begin(20, ACK | EXCL | MAKE, address, sizeof address);
    attribute(2, &own, 4), attribute(1, &own, 4), attribute(4, &last, 4);
    end();
    ask(fd, "give the address", 0);
    link_header(16, ACK, index, 1), end();
    ask(fd, "bring the link up", 0);
    begin(24, ACK | EXCL | MAKE, route, sizeof route);
    attribute(5, &gateway, 4), number(4, index);
    end();
    ask(fd, "route", 0);
    close(fd);
}

static void forget(int fd, uint32_t own) {
    static const unsigned char header[4] = { AF_INET };
    for (uint16_t tuple = 1; tuple <= 2; tuple++) {
        begin(1 << 8 | 2, ACK, header, 4);
        size_t of = nest(tuple), ip = nest(1);
        attribute(1, &own, 4);
        close_nest(ip), close_nest(of);
        size_t filter = nest(25);
        number(tuple, 1);
        close_nest(filter);
        end();
        ask(fd, "forget connections", 1);
    }
}

static void wire(pid_t process, char **words, int ended) {
    unsigned char mac[6] = { 2, 0xbe };
    char port[16], path[64];
    uint32_t gateway = inet_addr(words[1]), own = inet_addr(words[2]);
    pid_t number_of_this = getpid();
    snprintf(port, sizeof port, "bm%d", number_of_this);
    memcpy(mac + 2, &number_of_this, 4);
    snprintf(path, sizeof path, "/proc/%d/ns/net", process);
    int theirs = MUST(open(path, O_RDONLY | O_CLOEXEC)), here = MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    int links = netlink(ROUTE), tables = netlink(NETFILTER);
    elements(tables, 1, words[0], port, mac, gateway, own);
    pair(links, words[0], port, mac, theirs);
    without_ipv6(port);
    open_port(links, link_number(links, port), mac);
    MUST(setns(theirs, NEWNET));
    inside(gateway, own);
    MUST(setns(here, NEWNET));
    close(theirs), close(here);
    MUST(write(ended, "", 1));
    MUST(waitpid(process, NULL, 0));
    elements(tables, 0, words[0], port, mac, gateway, own);
    forget(tables, own);
}

int main(int argc, char **argv) {
    int net = argc == 5 && !strcmp(argv[1], "net"), said[2], go[2];
    char byte = 1;
    if (!net && (argc != 2 || strcmp(argv[1], "none"))) return 2;
    MUST(pipe2(said, O_CLOEXEC));
    if (MUST(fork())) {
        close(said[1]);
        return read(said[0], &byte, 1) == 1 ? byte : 125;
    }
    close(said[0]);
    MUST(pipe2(go, O_CLOEXEC));
    struct clone_arguments how = { .flags = NEWNET, .exit_signal = SIGCHLD };
    pid_t process = MUST(syscall(SYS_clone3, &how, sizeof how));
    if (!process) {
        close(go[1]);
        _exit(read(go[0], &byte, 1) != 1);
    }
    close(go[0]);
    if (net) wire(process, argv + 2, go[1]);
    else {
        MUST(write(go[1], "", 1));
        MUST(waitpid(process, NULL, 0));
    }
    MUST(write(said[1], "", 1));
    return 0;
}
