/* relay.c: relay SOCKET FILE, in a machine's folder. What comes to the socket is appended to the file.
 *
 * A VMM with a vsock connects to SOCKET when its guest dials out; QEMU writes its guest's log to a file by itself, and for the
 * others this program does so, whoever else is alive. A guest that is about to end sends a NUL at the beginning of a line, and
 * waits: the connection is closed, once all that came by it is in the file. VMMs do not pass on half-closed connections.
 * It ends when SOCKET is removed, as the machine's folder is. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS 8

static int fail(const char *what) {
    perror(what);
    return 1;
}

/* 0: it is over. last: the byte before. What does not fit on the disk is lost, as it would be in QEMU. */
static ssize_t pass_on(int from, int to, char *last) {
    static char bytes[65536];
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n <= 0) return n;
    int over = !bytes[n - 1] && (n > 1 ? bytes[n - 2] : *last) == '\n';
    for (ssize_t at = 0, end = n - over, w; at < end; at += w)
        if ((w = write(to, bytes + at, end - at)) < 0) break;
    *last = bytes[n - 1];
    return over ? 0 : n;
}

int main(int argc, char **argv) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (argc != 3 || strlen(argv[1]) >= sizeof at.sun_path) return fputs("usage: relay SOCKET FILE\n", stderr), 2;
    strcpy(at.sun_path, argv[1]);
    const char *name = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
    int file = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0) return fail(argv[2]);
    int names = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(argv[1]);
    if (bind(listener, (void *)&at, sizeof at) < 0 || listen(listener, CONNECTIONS) < 0) return fail(argv[1]);
    if (inotify_add_watch(names, ".", IN_DELETE) < 0) return fail(".");
    char last[2 + CONNECTIONS] = {0};
    struct pollfd fds[2 + CONNECTIONS] = {{names, POLLIN, 0}, {listener, POLLIN, 0}};
    for (int i = 2; i < 2 + CONNECTIONS; i++) fds[i] = (struct pollfd){-1, POLLIN, 0};
    for (;;) {
        if (poll(fds, 2 + CONNECTIONS, -1) < 0) continue;
        for (int i = 2; i < 2 + CONNECTIONS; i++)
            if (fds[i].fd >= 0 && fds[i].revents && pass_on(fds[i].fd, file, last + i) <= 0) close(fds[i].fd), fds[i].fd = -1;
        if (fds[1].revents)
            for (int i = 2; i < 2 + CONNECTIONS; i++)
                if (fds[i].fd < 0) {
                    fds[i].fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                    break;
                }
        char events[4096] __attribute__((aligned(8)));
        ssize_t n = fds[0].revents ? read(names, events, sizeof events) : 0;
        for (ssize_t at = 0; at < n; at += sizeof(struct inotify_event) + ((struct inotify_event *)(events + at))->len)
            if (!strcmp(((struct inotify_event *)(events + at))->name, name)) return 0;
    }
}
