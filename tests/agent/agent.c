/* Answers a system call filter that asks (seccomp_unotify(2)), for one container after the other.
 *
 * agent SOCKET: takes connections on SOCKET, one message each, and prints the message. Of what it is asked, a mkdir of
 * a name that begins with "no" gets EPERM, and everything else goes on. Each question is printed. It ends when its
 * standard input does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 16

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static int take(int server) {
	static char text[1 << 16];
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {text, sizeof text - 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int client = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	if (client < 0) fail("accept");
	ssize_t n = recvmsg(client, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0) fail("recvmsg");
	text[n] = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(c), sizeof fd);
	close(client);
	printf("container %s\n", text);
	return fd;
}

/* The path of a mkdir or mkdirat, out of the memory of whoever asks. */
static void path_of(const struct seccomp_notif *req, char *path, size_t size) {
	char file[64];
	unsigned long long at = req->data.nr == __NR_mkdirat ? req->data.args[1] : req->data.args[0];
	snprintf(file, sizeof file, "/proc/%u/mem", req->pid);
	int mem = open(file, O_RDONLY | O_CLOEXEC);
	if (mem < 0) fail(file);
	ssize_t n = pread(mem, path, size - 1, (off_t)at);
	if (n < 0) fail("read a path");
	path[n] = 0;
	close(mem);
}

/* False when the filter has no processes left. */
static int answer(int fd) {
	struct seccomp_notif req;
	struct seccomp_notif_resp resp;
	char path[256] = "";
	memset(&req, 0, sizeof req);
	memset(&resp, 0, sizeof resp);
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &req)) return errno == ENOENT || errno == EINTR;
	if (req.data.nr == __NR_mkdir || req.data.nr == __NR_mkdirat) path_of(&req, path, sizeof path);
	resp.id = req.id;
	if (strncmp(path, "no", 2) == 0)
		resp.error = -EPERM;
	else
		resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	printf("asked %s %s\n", *path ? "mkdir" : req.data.nr == __NR_execve ? "execve" : "other", path);
	if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp) && errno != ENOENT) fail("answer");
	return 1;
}

int main(int argc, char **argv) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct pollfd polled[MOST + 2];
	int many = 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
	strcpy(address.sun_path, argv[1]);
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || bind(server, (void *)&address, sizeof address) || listen(server, MOST)) fail(argv[1]);
	polled[0] = (struct pollfd){0, POLLIN, 0};
	polled[1] = (struct pollfd){server, POLLIN, 0};
	puts("listening");
	for (;;) {
		if (poll(polled, (nfds_t)many, -1) < 0) fail("poll");
		if (polled[0].revents) return 0;
		for (int i = 2; i < many; i++) {
			int over = polled[i].revents & POLLIN ? !answer(polled[i].fd) : polled[i].revents & (POLLHUP | POLLERR);
			if (over) {
				close(polled[i].fd);
				polled[i--] = polled[--many];
			}
		}
		if (polled[1].revents && many < MOST + 2) {
			int fd = take(server);
			if (fd >= 0) polled[many++] = (struct pollfd){fd, POLLIN, 0};
		}
	}
}
