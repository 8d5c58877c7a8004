/* exec.c: a child process with pipes or a terminal, as docker exec would start it. */
#include "init.h"
#include "exec.h"

#define WORDS 1024
struct command { int tty, use_stdin; u16 rows, cols; char *dir, *user, *argv[WORDS], *env[WORDS]; };

static int parse_command(struct frame *f, struct command *c) {
    if (f->length < 6 || f->payload[f->length - 1] != 0) return -EINVAL;
    char *p = (char *)f->payload + 5, *end = (char *)f->payload + f->length;
    u32 words = 0, argc = 0, env = 0;
    c->tty = f->payload[0] & EXEC_TTY, c->use_stdin = f->payload[0] & EXEC_STDIN;
    c->rows = get16(f->payload + 1), c->cols = get16(f->payload + 3);
    for (; p < end; p += strlen(p) + 1, words++) {
        if (words == 0) c->dir = p;
        else if (words == 1) c->user = p;
        else if (words == 2) for (char *d = p; *d >= '0' && *d <= '9'; d++) argc = argc * 10 + *d - '0';
        else if (words - 3 < argc && words - 3 < WORDS - 1) c->argv[words - 3] = p;
        else if (env < WORDS - 1) c->env[env++] = p;
    }
    return words >= 4 && argc >= 1 && words - 3 >= argc && argc < WORDS ? 0 : -EINVAL;
}

static char *field(char **line) {
    char *start = *line;
    while (**line && **line != ':' && **line != '\n') ++*line;
    if (**line == ':') *(*line)++ = 0;
    return start;
}

static u32 number(const char *s) {
    u32 n = 0;
    while (*s >= '0' && *s <= '9') n = n * 10 + *s++ - '0';
    return n;
}

/* Takes on the user's ids, supplementary groups and home. root needs no passwd file. */
static i64 become(const char *user, char *home, usize cap) {
    static char text[65536];
    u32 groups[64], count = 0, uid = 0, gid = 0;
    append(home, cap, "HOME=/root");
    if (!*user || streq(user, "root")) return 0;
    int fd = open_file("/etc/passwd", O_RDONLY, 0), found = 0;
    i64 n = fd < 0 ? fd : read_all(fd, text, sizeof text - 1);
    S1(close, fd);
    for (char *p = text; n > 0 && p < text + n && !found;) {
        char *name = field(&p);
        field(&p);
        char *id = field(&p), *group = field(&p);
        field(&p);
        char *dir = field(&p);
        if ((found = streq(name, user))) uid = number(id), gid = number(group), home[5] = 0, append(home, cap, dir);
        while (*p && *p++ != '\n') {}
    }
    if (!found) return -ENOENT;
    memset(text, 0, sizeof text);
    fd = open_file("/etc/group", O_RDONLY, 0);
    n = fd < 0 ? fd : read_all(fd, text, sizeof text - 1);
    S1(close, fd);
    for (char *p = text; n > 0 && p < text + n;) {
        field(&p), field(&p);
        u32 id = number(field(&p));
        char *m = p;
        while (*p && *p != '\n') p++;
        char last = *p;
        *p = 0;
        for (char *at = m; *at;) {
            char *start = at;
            while (*at && *at != ',') at++;
            if (*at) *at++ = 0;
            if (streq(start, user) && count < countof(groups)) groups[count++] = id;
        }
        if (last) p++;
    }
    i64 e = S2(setgroups, count, groups);
    if (e >= 0) e = S1(setgid, gid);
    return e < 0 ? e : S1(setuid, uid);
}

static void execute(struct command *c) {
    static const char *const dirs[] = {"/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"};
    static char home[256], path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    i64 e = become(c->user, home, sizeof home);
    if (e < 0) say("no such user", c->user, e), sys6(__NR_exit_group, 126, 0, 0, 0, 0, 0);
    if (*c->dir && (e = S1(chdir, c->dir)) < 0) say("cannot enter the directory", c->dir, e), S1(exit_group, 126);
    u32 n = 0;
    int has_path = 0, has_home = 0;
    for (; c->env[n]; n++) has_path |= !memcmp(c->env[n], "PATH=", 5), has_home |= !memcmp(c->env[n], "HOME=", 5);
    if (!has_path && n < WORDS - 1) c->env[n++] = path;
    if (!has_home && n < WORDS - 1) c->env[n++] = home;
    int slash = 0;
    for (char *p = c->argv[0]; *p; p++) slash |= *p == '/';
    if (slash) e = S3(execve, c->argv[0], c->argv, c->env);
    for (u32 i = 0; !slash && i < countof(dirs); i++) {
        static char full[4352];
        full[0] = 0;
        append(full, sizeof full, dirs[i]);
        append(full, sizeof full, c->argv[0]);
        i64 r = S3(execve, full, c->argv, c->env);
        if (i == 0 || r != -ENOENT) e = r;
    }
    say(e == -ENOENT ? "command not found" : "cannot run", c->argv[0], e == -ENOENT ? 0 : e);
    S1(exit_group, e == -ENOENT ? 127 : 126);
}

static int open_terminal(struct command *c, char *name) {
    int master = open_file("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0), index = 0, unlock = 0;
    if (master < 0) return master;
    S3(ioctl, master, TIOCSPTLCK, &unlock);
    S3(ioctl, master, TIOCGPTN, &index);
    struct winsize w = {c->rows ? c->rows : 24, c->cols ? c->cols : 80, 0, 0};
    S3(ioctl, master, TIOCSWINSZ, &w);
    name[0] = 0;
    append(name, 32, "/dev/pts/");
    append_number(name, 32, index);
    return master;
}

static void run_child(struct frame *f, struct command *c, int in, int out, int err) {
    u64 none = 0;
    S4(rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
    S0(setsid);
    if (c->tty) S3(ioctl, in, TIOCSCTTY, 0);
    S2(dup2, in, 0), S2(dup2, out, 1), S2(dup2, err, 2);
    S3(close_range, 3, ~0u, 0);
    if (f->type == F_READ) S1(exit_group, copy_out((char *)f->payload, 1));
    if (f->type == F_WRITE) S1(exit_group, copy_in((char *)f->payload, 0));
    execute(c);
}

i64 exec_start(struct frame *f, struct child *child) {
    static struct command c;
    char terminal[32];
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    memset(&c, 0, sizeof c);
    if (f->type == F_EXEC) {
        i64 e = parse_command(f, &c);
        if (e < 0) return e;
    } else {
        if (!f->length || f->payload[f->length - 1]) return -EINVAL;
        c.use_stdin = f->type == F_WRITE;
    }
    if (c.tty) {
        out[0] = open_terminal(&c, terminal);
        if (out[0] < 0) return out[0];
        in[0] = open_file(terminal, O_RDWR | O_NOCTTY, 0);
        in[1] = out[0], out[1] = err[1] = in[0];
    } else {
        S2(pipe2, in, O_CLOEXEC), S2(pipe2, out, O_CLOEXEC), S2(pipe2, err, O_CLOEXEC);
        if (err[1] < 0) return -EMFILE;
        S3(fcntl, in[1], F_SETFL, O_NONBLOCK), S3(fcntl, out[0], F_SETFL, O_NONBLOCK), S3(fcntl, err[0], F_SETFL, O_NONBLOCK);
    }
    i64 pid = S0(fork);
    if (pid == 0) run_child(f, &c, in[0], out[1], err[1]);
    S1(close, in[0]);
    if (!c.tty) S1(close, out[1]), S1(close, err[1]);
    if (!c.tty && !c.use_stdin) S1(close, in[1]), in[1] = -1;
    *child = (struct child){pid, in[1], out[0], err[0], c.tty};
    return pid < 0 ? pid : 0;
}
