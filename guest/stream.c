/* stream.c: requests of the host. Each is a stream; most are a child process whose stdin, stdout
 * and stderr the stream carries. A stream ends when its child is reaped and its output is read. */
#include "init.h"
#include "channel.h"
#include "exec.h"

#define STREAMS 128
#define WORKLOAD 0xffffffff /* the workload's slot: it belongs to no request, and may have one attached */
struct stream {
    u32 id;                 /* 0: the slot is free */
    int pid, in, out, err;  /* -1: none, or closed */
    int status, reaped, tty, eof;
    u32 credit;             /* output bytes the host still takes */
    u32 held;               /* stdin bytes waiting in buffer */
    u8 *buffer;             /* WINDOW bytes */
    u32 attached;           /* of the workload: the stream that has its stdin */
};
static struct stream streams[STREAMS];
static i64 kill_at;         /* ms since boot: the workload was asked to stop, and gets no longer than this */

static struct stream *find(u32 id) {
    for (u32 i = 0; i < STREAMS; i++)
        if (streams[i].id == id || (id && streams[i].attached == id)) return &streams[i];
    return NULL;
}

static void shut(int *fd) {
    if (*fd >= 0) S1(close, *fd);
    *fd = -1;
}

static void release(struct stream *s) {
    shut(&s->in), shut(&s->err);
    if (!s->tty) shut(&s->out);
    else s->out = -1;
    if (s->buffer) S2(munmap, s->buffer, WINDOW);
    memset(s, 0, sizeof *s);
}

static void finish_if_over(struct stream *s) {
    if (!s->id || !s->reaped || s->out >= 0 || s->err >= 0) return;
    int signal = s->status & 127;
    if (s->id == WORKLOAD) {
        log_exit(s->status);
        if (s->attached) channel_exit(s->attached, signal ? EXIT_SIGNAL : EXIT_CODE, signal ? signal : s->status >> 8, "");
        channel_flush();
        power_off();
    }
    channel_exit(s->id, signal ? EXIT_SIGNAL : EXIT_CODE, signal ? signal : s->status >> 8, "");
    release(s);
}

static void start(struct frame *f) {
    struct stream *s = find(0);
    int run = f->type == F_RUN;
    if (run && find(WORKLOAD)) return channel_exit(f->stream, EXIT_CODE, 0, "");
    if (run) boot_workload();
    if (find(f->stream)) return channel_exit(f->stream, EXIT_ERRNO, EEXIST, "stream number in use");
    if (!s) return channel_exit(f->stream, EXIT_ERRNO, EAGAIN, "too many commands at once");
    struct child c;
    i64 e = exec_start(f, &c);
    if (e < 0) return channel_exit(f->stream, EXIT_ERRNO, -e, "cannot start the command");
    i64 buffer = sys6(0, WINDOW, 3, 0x22, -1, 0, __NR_mmap);
    *s = (struct stream){.id = run ? WORKLOAD : f->stream, .pid = c.pid, .in = c.in, .out = c.out, .err = c.err, .tty = c.tty,
                         .credit = WINDOW, .buffer = buffer < 0 ? NULL : (u8 *)buffer};
    if (run) channel_exit(f->stream, EXIT_CODE, 0, "");
}

static i64 now_ms(void) {
    struct { i64 seconds, nanoseconds; } t;
    S2(clock_gettime, 1, &t);
    return t.seconds * 1000 + t.nanoseconds / 1000000;
}

i64 workload_stop(u8 signal, u32 seconds) {
    struct stream *s = find(WORKLOAD);
    if (!s) return -ESRCH;
    if (!s->reaped) S2(kill, s->pid, signal);
    kill_at = now_ms() + seconds * 1000L;
    return 0;
}

int workload_timeout(void) {
    struct stream *s = find(WORKLOAD);
    if (!kill_at || !s) return -1;
    i64 left = kill_at - now_ms();
    if (left > 0) return left;
    if (!s->reaped) S2(kill, s->pid, SIGKILL);
    return -1;
}

static void resize(struct stream *s, const u8 *size) {
    struct winsize w = {get16(size), get16(size + 2), 0, 0};
    if (s->tty) S3(ioctl, s->out, TIOCSWINSZ, &w);
}

static void attach(struct frame *f) {
    struct stream *s = find(WORKLOAD);
    if (!s) return channel_exit(f->stream, EXIT_ERRNO, ESRCH, "no workload runs");
    if (s->attached) channel_exit(s->attached, EXIT_ERRNO, EPIPE, "somebody else has attached");
    s->attached = f->stream, s->held = 0;
    if (f->length == 4 && get16(f->payload)) resize(s, f->payload);
}

static i64 signal_workload(struct frame *f) {
    struct stream *s = find(WORKLOAD);
    return !s || s->reaped ? -ESRCH : S2(kill, s->pid, f->length ? f->payload[0] : SIGKILL);
}

static void give_credit(struct stream *s, u32 n) {
    u8 credit[4];
    put32(credit, n);
    channel_send(s->id == WORKLOAD ? s->attached : s->id, F_CREDIT_BACK, credit, 4);
}

static void push_stdin(struct stream *s) {
    while (s->held && s->in >= 0) {
        i64 n = S3(write, s->in, s->buffer, s->held);
        if (n == -EAGAIN || n == -EINTR) return;
        if (n < 0) { /* the child closed it: take and forget the rest, as a pipe's writer would see EPIPE */
            n = s->held;
            if (!s->tty) shut(&s->in);
        }
        memmove(s->buffer, s->buffer + n, s->held - n);
        s->held -= n;
        give_credit(s, n);
    }
    if (s->eof && !s->held && s->in >= 0) {
        if (s->tty) write_all(s->in, "\4", 1);
        else shut(&s->in);
        s->eof = 0;
    }
}

static void take_stdin(struct stream *s, struct frame *f) {
    if (!s->buffer || s->held + f->length > WINDOW) return; /* the host overran its window */
    memcpy(s->buffer + s->held, f->payload, f->length);
    s->held += f->length;
    if (s->in < 0) { /* nobody reads it */
        give_credit(s, s->held);
        s->held = 0;
    }
    push_stdin(s);
}

static void stats(u32 id) {
    struct { i64 uptime; u64 loads[3], total, free, shared, buffers, swap, swap_free; u16 procs; u64 high, high_free; u32 unit; u8 pad[8]; } info;
    struct statfs disk;
    memset(&disk, 0, sizeof disk);
    S1(sysinfo, &info);
    S2(statfs, "/", &disk);
    u64 out[6] = {info.uptime, info.total * info.unit, (info.free + info.buffers) * info.unit, info.loads[0],
                  disk.f_blocks * disk.f_bsize, disk.f_bavail * disk.f_bsize};
    channel_send(id, F_STDOUT, out, sizeof out);
    channel_exit(id, EXIT_CODE, 0, "");
}

/* What runs here, of the processes that the workload can see. */
static void processes(u32 id) {
    static const char *const files[] = {"/stat", "/cmdline"};
    static u8 out[12 + 1024];
    char entries[4096], name[64];
    int proc = open_file("/proc", O_RDONLY | O_DIRECTORY, 0);
    for (i64 n; (n = S3(getdents64, proc, entries, sizeof entries)) > 0;)
        for (char *p = entries; p < entries + n; p += *(u16 *)(p + 16)) {
            if (p[19] < '1' || p[19] > '9' || channel_room() < 2 * sizeof out) continue;
            struct stat s = {0};
            u32 length = 12;
            S4(newfstatat, proc, p + 19, &s, 0);
            for (u32 i = 0; i < 2; i++) {
                name[0] = 0;
                append(name, sizeof name, p + 19), append(name, sizeof name, files[i]);
                int fd = S3(openat, proc, name, O_RDONLY | O_CLOEXEC);
                i64 got = read_all(fd, out + length, 512);
                S1(close, fd);
                if (got > 0) length += got;
                if (i == 0) put32(out + 8, length - 12);
            }
            put32(out, length - 4), put32(out + 4, s.st_uid);
            channel_send(id, F_STDOUT, out, length);
        }
    S1(close, proc);
    channel_exit(id, EXIT_CODE, 0, "");
}

/* TCP connections that are open or half open to somebody else: proc(5), /proc/net/tcp, the third and fourth word of a line. */
static void connections(u32 id) {
    static const char *const files[] = {"/proc/1/net/tcp", "/proc/1/net/tcp6"}; /* /proc is the workload's, in which we are nobody */
    static char text[16384];
    u32 count = 0;
    for (u32 i = 0; i < countof(files); i++) {
        u32 held = 0;
        int fd = open_file(files[i], O_RDONLY, 0);
        for (i64 n; (n = S3(read, fd, text + held, sizeof text - held)) > 0;) {
            held += n;
            char *line = text, *end = text + held;
            for (char *p = text; p < end; p++) {
                if (*p != '\n') continue;
                char *word = line;
                for (u32 skip = 0; skip < 2; skip++) {
                    while (word < p && *word == ' ') word++;
                    while (word < p && *word != ' ') word++;
                }
                while (word < p && *word == ' ') word++;
                /* ADDRESS:PORT STATE; 127.0.0.1 and ::1 as the kernel writes them */
                char *state = word;
                while (state < p && *state != ' ') state++;
                int local = i ? !memcmp(word, "00000000000000000000000001000000", 32) || !memcmp(word, "0000000000000000FFFF00000100007F", 32)
                              : !memcmp(word, "0100007F", 8);
                if (state + 2 < p && !local && state[1] == '0' && state[2] >= '1' && state[2] <= '5') count++;
                line = p + 1;
            }
            held = end - line;
            memmove(text, line, held);
        }
        S1(close, fd);
    }
    channel_send(id, F_STDOUT, &count, sizeof count);
    channel_exit(id, EXIT_CODE, 0, "");
}

static void answer(u32 id, i64 e, const char *what) { channel_exit(id, e < 0 ? EXIT_ERRNO : EXIT_CODE, e < 0 ? -e : 0, e < 0 ? what : ""); }

static i64 freeze(int on) {
    volumes_freeze(on);
    i64 e = boot_rw < 0 ? -EOPNOTSUPP : S3(ioctl, boot_rw, on ? FIFREEZE : FITHAW, 0);
    return (on && e == -EBUSY) || (!on && e == -EINVAL) ? 0 : e; /* already so */
}

void streams_request(struct frame *f) {
    struct stream *s;
    switch (f->type) {
    case F_EXEC: case F_READ: case F_WRITE: case F_RUN: return start(f);
    case F_ATTACH: return attach(f);
    case F_KILL: return answer(f->stream, signal_workload(f), "cannot signal the workload");
    case F_CONFIG: return answer(f->stream, configure(f->payload, f->length), "cannot apply all of the configuration");
    case F_STATS: return !f->length ? stats(f->stream) : f->payload[0] == 2 ? connections(f->stream) : processes(f->stream);
    case F_FREEZE:
        if (f->length && f->payload[0] == 2) return answer(f->stream, hold_still(), "cannot stand still");
        if (f->length && f->payload[0] == 3) return answer(f->stream, rehearse(f), "cannot rehearse");
        return answer(f->stream, freeze(f->length && f->payload[0]), "cannot freeze the writable layer");
    case F_STOP:
        answer(f->stream, 0, "");
        return f->length < 4 ? stop(f->length && f->payload[0], SIGTERM, 10) : stop(f->payload[0], f->payload[1], get16(f->payload + 2));
    }
    if (!(s = find(f->stream))) return; /* it ended while this was on its way */
    switch (f->type) {
    case F_STDIN: take_stdin(s, f); break;
    case F_EOF: s->eof = 1; push_stdin(s); break;
    case F_CREDIT: if (f->length == 4) s->credit += get32(f->payload); break;
    case F_SIGNAL: if (f->length == 1 && !s->reaped) S2(kill, s->id == WORKLOAD ? s->pid : -s->pid, f->payload[0]); break;
    case F_RESIZE:
        if (f->length == 4) resize(s, f->payload);
    }
}

/* The host is gone: its commands get the hang-up a closed terminal would send, and are forgotten. */
void streams_reset(void) {
    for (u32 i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        s->attached = 0;
        if (!s->id || s->id == WORKLOAD) continue;
        if (!s->reaped) S2(kill, -s->pid, SIGHUP), S2(kill, -s->pid, SIGTERM);
        if (s->tty) S1(close, s->out);
        release(s);
    }
    channel_drop();
}

u32 streams_poll(struct pollfd *fds, u32 at) {
    int room = channel_room() > 0;
    for (u32 i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        if (!s->id) continue;
        int take = s->id == WORKLOAD || (room && s->credit) ? POLLIN : 0;
        if (s->out >= 0) fds[at++] = (struct pollfd){s->out, take | (s->tty && s->held ? POLLOUT : 0), 0};
        if (s->err >= 0) fds[at++] = (struct pollfd){s->err, take, 0};
        if (s->in >= 0 && !s->tty && s->held) fds[at++] = (struct pollfd){s->in, POLLOUT, 0};
    }
    return at;
}

static void pull(struct stream *s, int *fd, u8 type) {
    static u8 chunk[16384];
    u32 want = sizeof chunk, room = channel_room();
    if (s->id != WORKLOAD) {
        if (want > s->credit) want = s->credit;
        if (want + FRAME_HEAD > room) want = room > FRAME_HEAD ? room - FRAME_HEAD : 0;
        if (!want) return;
    }
    i64 n = S3(read, *fd, chunk, want);
    if (n == -EAGAIN || n == -EINTR) return;
    if (n > 0) {
        if (s->id == WORKLOAD) return log_output(type == F_STDERR ? 2 : 1, chunk, n);
        s->credit -= n;
        return channel_send(s->id, type, chunk, n);
    }
    if (s->tty) s->in = -1; /* one descriptor, both ways; EIO is how a terminal says its last user left */
    shut(fd);
    finish_if_over(s);
}

void streams_ready(struct pollfd *fds) {
    for (u32 i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        if (!s->id) continue;
        u32 id = s->id;
        int out = s->out, err = s->err;
        if (out >= 0) {
            if (fds->revents & POLLOUT) push_stdin(s);
            if (fds->revents & (POLLIN | POLLHUP | POLLERR)) pull(s, &s->out, F_STDOUT);
            fds++;
        }
        if (err >= 0 && s->id == id) {
            if (fds->revents & (POLLIN | POLLHUP | POLLERR)) pull(s, &s->err, F_STDERR);
        }
        if (err >= 0) fds++;
        if (s->id == id && s->in >= 0 && !s->tty) push_stdin(s);
    }
}

void streams_reaped(int pid, int status) {
    for (u32 i = 0; i < STREAMS; i++) {
        struct stream *s = &streams[i];
        if (!s->id || s->pid != pid || s->reaped) continue;
        s->reaped = 1, s->status = status;
        finish_if_over(s);
    }
}
