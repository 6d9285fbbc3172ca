// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A small web server of static files, sent from their mappings: there is no
 * buffer that it reads them into.
 *
 *   serve DIRECTORY [PORT [DEVICE-OR-FILE]]
 *
 * It listens on 127.0.0.1, and says where; port 0 is any that is free. What the
 * third argument names is served as /mmapdev. Paths are taken as they are: no
 * %41, no query.
 *
 * A file may be cut short while it is sent. The server itself never touches a
 * mapping: the kernel does, in send(2), and a page that is gone is EFAULT there,
 * not SIGBUS. So only that response ends, before its Content-Length, as the
 * client can tell. A server that looks into what it sends does so between
 * mmapdev_guard_begin(3) and mmapdev_guard_end(3).
 *
 * Try: ./serve . 8080 /dev/mmapdev & curl -i http://127.0.0.1:8080/mmapdev
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define WORKERS 16  /* connections at a time; others wait */
#define PATIENCE 10 /* seconds for a client that neither reads nor writes */

static int listener, root;
static struct mmapdev *device;

struct request {
	const char *method, *path; /* path: without the first slash */
	bool close;
};

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{ ".html", "text/html; charset=utf-8" },
		{ ".css", "text/css" },
		{ ".js", "text/javascript" },
		{ ".txt", "text/plain; charset=utf-8" },
		{ ".png", "image/png" },
		{ ".jpg", "image/jpeg" },
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcasecmp(dot, types[i][0]))
			return types[i][1];
	return "application/octet-stream";
}

/* 0 or -errno: EFAULT where @data is no longer there. */
static int send_all(int client, const char *data, size_t length)
{
	while (length) {
		ssize_t sent = send(client, data, length, MSG_NOSIGNAL);

		if (sent < 0)
			return -errno;
		data += sent;
		length -= sent;
	}
	return 0;
}

/* True if the connection can go on. */
static bool respond(int client, const struct request *request,
		    const char *status, const char *type, const void *body,
		    size_t length)
{
	bool head = request->method && !strcmp(request->method, "HEAD");
	char headers[512];
	int n, ret;

	n = snprintf(headers, sizeof(headers),
		     "HTTP/1.1 %s\r\nAllow: GET, HEAD\r\nContent-Type: %s\r\n"
		     "Content-Length: %zu\r\n%s\r\n", status, type, length,
		     request->close ? "Connection: close\r\n" : "");
	ret = send_all(client, headers, n);
	if (!ret && !head)
		ret = send_all(client, body, length);
	printf("%s /%s: %s, %zu bytes%s%s\n", request->method, request->path,
	       status, length, ret ? ", cut short: " : "",
	       ret ? strerror(-ret) : "");
	return !ret && !request->close;
}

static bool refuse(int client, const struct request *request,
		   const char *status)
{
	return respond(client, request, status, "text/plain", status,
		       strlen(status));
}

/* NULL is the map of an empty file. */
static int map_all(struct mmapdev *dev, struct mmapdev_map **out)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts),
					 .flags = MMAPDEV_MAP_READONLY };
	int ret = mmapdev_map(dev, &opts, out);

	if (ret == -ENXIO)
		*out = NULL;
	return ret == -ENXIO ? 0 : ret;
}

/* The kernel keeps "..", and links, below the root. */
static int map_file(const char *path, struct mmapdev_map **out)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, /* fifos */
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	struct mmapdev *dev;
	int fd, ret;

	fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	ret = mmapdev_open_fd(fd, &dev);
	close(fd);
	if (ret)
		return ret;
	ret = map_all(dev, out);
	mmapdev_close(dev);
	return ret;
}

/* No blanks, and nothing that a terminal would obey. */
static bool printable(const char *text)
{
	while (isgraph((unsigned char)*text))
		text++;
	return !*text;
}

/* Cuts the first line off. */
static char *line_of(char **text)
{
	char *line = *text, *end = strstr(line, "\r\n");

	*text = end ? end + 2 : line + strlen(line);
	if (end)
		*end = 0;
	return line;
}

/* NULL, or the status to refuse it by; then nobody knows where it ends. */
static const char *parse(char *text, struct request *request)
{
	char *line = line_of(&text), *version;
	const char *method = strsep(&line, " ");
	char *path = strsep(&line, " ");
	bool one, host = false, body = false;

	*request = (struct request){ .method = "?", .path = "", .close = true };
	version = line;
	if (!version || *path++ != '/' || !printable(path))
		return "400 Bad Request";
	one = !strcmp(version, "HTTP/1.1");
	if (!one && strcmp(version, "HTTP/1.0"))
		return "400 Bad Request";
	request->method = method;
	request->path = *path ? path : "index.html";

	request->close = !one;
	while (*text) {
		char *value = line_of(&text), *name = strsep(&value, ":");

		if (!value)
			return "400 Bad Request";
		value += strspn(value, " \t");
		host |= !strcasecmp(name, "Host");
		body |= !strcasecmp(name, "Content-Length") ||
			!strcasecmp(name, "Transfer-Encoding");
		request->close |= !strcasecmp(name, "Connection") &&
				  !strcasecmp(value, "close");
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return "405 Method Not Allowed";
	return (one && !host) || body ? "400 Bad Request" : NULL;
}

/* The lines of one request. True if the connection can go on. */
static bool answer(int client, char *text)
{
	struct mmapdev_map *map;
	struct request request;
	const char *refusal;
	bool on;
	int ret;

	refusal = parse(text, &request);
	if (refusal) {
		request.close = true;
		return refuse(client, &request, refusal);
	}
	if (device && !strcmp(request.path, "mmapdev"))
		ret = map_all(device, &map);
	else
		ret = map_file(request.path, &map);
	if (ret)
		return refuse(client, &request,
			      ret == -ENOMEM ? "503 Service Unavailable" :
					       "404 Not Found");

	on = respond(client, &request, "200 OK", type_of(request.path),
		     mmapdev_map_addr(map), mmapdev_map_size(map));
	mmapdev_unmap(map);
	return on;
}

static void converse(int client)
{
	char text[8192];
	size_t have = 0;
	ssize_t n;

	for (;;) {
		char *end = memmem(text, have, "\r\n\r\n", 4);

		if (!end) {
			/* 0 is the end, or no room for more of a request. */
			n = recv(client, text + have, sizeof(text) - have, 0);
			if (n <= 0)
				break;
			have += n;
			continue;
		}
		end[2] = 0;
		/* No zeros, behind which something could hide. */
		if (strlen(text) != (size_t)(end + 2 - text) ||
		    !answer(client, text))
			break;
		have -= end + 4 - text;
		memmove(text, end + 4, have);
	}
	/* A close with something unread would take our last words back. */
	shutdown(client, SHUT_WR);
	while (recv(client, text, sizeof(text), 0) > 0)
		;
	close(client);
}

static void *work(void *unused)
{
	const struct timeval patience = { .tv_sec = PATIENCE };

	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (client < 0)
			continue;
		setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience,
			   sizeof(patience));
		setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience,
			   sizeof(patience));
		converse(client);
	}
	return unused;
}

static int listen_at(uint16_t port)
{
	struct sockaddr_in name = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(name);
	const int on = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)&name, length) ||
	    listen(listener, SOMAXCONN) ||
	    getsockname(listener, (struct sockaddr *)&name, &length))
		return -errno;
	return ntohs(name.sin_port);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int port;

	if (argc < 2 || argc > 4)
		usage(argv, "DIRECTORY [PORT [DEVICE-OR-FILE]]");
	root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	need(root < 0 ? -errno : 0, argv[1]);
	if (argc == 4)
		need(mmapdev_open(argv[3], O_RDONLY, &device), argv[3]);
	port = listen_at(argc > 2 ? atoi(argv[2]) : 8080);
	need(port, "listen");

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("http://127.0.0.1:%d/\n", port);
	for (int i = 1; i < WORKERS; i++)
		need(-pthread_create(&thread, NULL, work, NULL), "thread");
	work(NULL);
	return 0;
}
