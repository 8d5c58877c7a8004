/* main.c: init, PID 1 of a machine.
 *
 * It serves the host over one virtio-serial port (frames.h), which tells it what the machine is (config.c); then it
 * makes the root (boot.c). Where the image has an init of its own (systemd), that one becomes PID 1 and this program goes on as its
 * child, under a name that begins with '@': systemd leaves such processes alone at shutdown
 * (systemd.io/ROOT_STORAGE_DAEMONS). Otherwise this program stays PID 1 and reaps. */
#include "init.h"
#include "channel.h"

#define AGAIN_MS 10 /* where the host has gone, it is looked for so often */
int is_pid1 = 1, has_root;
char other_vmm;
static struct parser parser;
static int announced, watch;
static char *own_name;

/* How long to wait for something to happen; -1: for ever. */
static int timeout(void) {
    int ms = workload_timeout();
    return channel_fd < 0 && (ms < 0 || ms > AGAIN_MS) ? AGAIN_MS : ms;
}

/* The image's own init has reached the point where ssh listens; one that does not promise to say so is up once it runs. */
static int is_up(void) { return has_root && (is_pid1 || S2(access, READY_FILE, 0) == 0 || S2(access, READY_UNIT, 0) < 0); }

void announce(void) {
    u8 stage = announced = is_up();
    channel_send(0, F_READY, &stage, 1);
}

static void take(const u8 *data, usize n) {
    struct frame f;
    for (;;) switch (parse(&parser, &data, &n, &f)) {
    case PARSE_MORE: return;
    case PARSE_FRAME: streams_request(&f); break;
    case PARSE_LOST: streams_reset(); break;
    case PARSE_SYNC:
        streams_reset();
        channel_raw(parser.held, 16);
        announce();
    }
}

static void reap(void) {
    int status;
    i64 pid;
    while ((pid = S4(wait4, -1, &status, WNOHANG, NULL)) > 0) streams_reaped(pid, status);
}

void stop(int mode, u8 signal, u32 seconds) {
    if (!is_pid1) {
        S2(kill, 1, SIGRTMIN_LIBC + (mode || other_vmm == VMM_RESETS ? 5 : 4)); /* systemd(1): reboot.target, poweroff.target */
        return;
    }
    if (workload_stop(signal, seconds) < 0) power_off();
}

static void serve(void) {
    static struct pollfd fds[400]; /* three a stream, and ours */
    static u8 bytes[16384];
    u64 mask = 1UL << (SIGCHLD - 1) | (host_leaves ? 1UL << (SIGTERM - 1) : 0); /* somebody stops the container */
    S4(rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8);
    int children = S4(signalfd4, -1, &mask, 8, SFD_NONBLOCK_ | O_CLOEXEC);
    watch = S1(inotify_init1, IN_NONBLOCK | IN_CLOEXEC);
    while ((channel_fd = host_open()) < 0 && !host_leaves) sleep_ms(1);
    for (;;) {
        if (channel_fd < 0) channel_fd = host_open();
        fds[0] = (struct pollfd){channel_fd, POLLIN | (channel_pending() ? POLLOUT : 0), 0};
        fds[1] = (struct pollfd){children, POLLIN, 0};
        fds[2] = (struct pollfd){watch, POLLIN, 0};
        u32 count = streams_poll(fds, 3);
        S3(poll, fds, count, timeout());
        if (fds[2].revents) {
            S3(read, watch, bytes, sizeof bytes);
            if (!announced && is_up()) announce();
        }
        i64 signals = fds[1].revents ? S3(read, children, bytes, sizeof bytes) : 0;
        for (u8 *s = bytes; s < bytes + signals; s += 128) /* struct signalfd_siginfo, its number first */
            if (get32(s) == SIGTERM) stop(0, SIGTERM, 8);
        streams_ready(fds + 3);
        reap();
        if (fds[0].revents & POLLOUT) channel_flush();
        if (fds[0].revents & POLLHUP && !host_leaves) sleep_ms(20); /* no host at the other end: poll would return at once, for ever */
        if (!(fds[0].revents & (POLLIN | POLLHUP))) continue;
        i64 n = S3(read, channel_fd, bytes, sizeof bytes);
        if (n > 0) take(bytes, n);
        else if (host_leaves && n != -EAGAIN) {
            S1(close, channel_fd);
            channel_fd = -1;
            streams_reset();
        }
    }
}

void hand_over(char *init) {
    char *argv[] = {init, NULL};
    static char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=", NULL};
    if (S0(fork) != 0) {
        u64 none = 0;
        S4(rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
        i64 e = S3(execve, init, argv, env);
        say("cannot run", init, e);
        power_off();
    }
    is_pid1 = 0;
    own_name[0] = '@';
    S3(inotify_add_watch, watch, run_dir, IN_CREATE | IN_MOVED_TO);
}

__attribute__((used)) void start(char **argv) {
    own_name = argv[0];
    if (argv[1]) other_vmm = argv[1][0];
    if (streq(own_name, REHEARSAL)) S1(exit_group, write_all(1, "\n", 1));
    boot_kernel();
    serve();
}

__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n add $8, %rdi\n and $-16, %rsp\n call start\n");
