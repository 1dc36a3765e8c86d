/* Frames as they are: sends them on a link, or counts those with a mark that come by it.
 *
 *   frames send LINK HEX...        each once; 2 when one of them was refused
 *   frames count LINK MARK MS      MARK is hexadecimal; prints "ready", then at the end the number of frames
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static size_t bytes_of(const char *hex, unsigned char *to, size_t room)
{
	size_t n = 0;
	unsigned int byte;

	while (n < room && sscanf(hex + 2 * n, "%2x", &byte) == 1)
		to[n++] = byte;
	return n;
}

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int count(int fd, const char *mark_hex, long ms)
{
	unsigned char mark[64], frame[2048];
	size_t length = bytes_of(mark_hex, mark, sizeof mark);
	long until = now() + ms;
	int found = 0;

	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct sockaddr_ll from;
		socklen_t size = sizeof from;
		long left = until - now();
		ssize_t n;

		if (left <= 0 || poll(&p, 1, left) <= 0)
			break;
		n = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &size);
		if (n > 0 && from.sll_pkttype != PACKET_OUTGOING && memmem(frame, n, mark, length))
			found++;
	}
	printf("%d\n", found);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int stopped = 0;
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	if (argc < 4 || fd < 0 || !(to.sll_ifindex = if_nametoindex(argv[2]))) {
		perror("frames");
		return 2;
	}
	if (bind(fd, (struct sockaddr *)&to, sizeof to)) {
		perror("bind");
		return 2;
	}
	if (!strcmp(argv[1], "count"))
		return count(fd, argv[3], argc > 4 ? atol(argv[4]) : 1000);
	for (int i = 3; i < argc; i++) {
		unsigned char frame[2048];
		size_t n = bytes_of(argv[i], frame, sizeof frame);

		/* What a wall at the link itself stops is an error here; the next one is sent all the same. */
		if (send(fd, frame, n, 0) != (ssize_t)n) {
			perror("send");
			stopped = 2;
		}
	}
	return stopped;
}
