/* exec.c: a child process with pipes or a terminal, as docker exec would start it. */
#include "init.h"
#include "exec.h"

#define WORDS 1024
struct command { int tty, use_stdin, run; u16 rows, cols; char *dir, *user, *argv[WORDS], *env[WORDS]; };

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

/* -1: it is not a number. */
static i64 number(const char *s) {
    i64 n = 0;
    if (!*s) return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > 0xffffffffL) return -1;
        n = n * 10 + *s - '0';
    }
    return n;
}

/* The next line of a file held in text, its end of line cut off; NULL when there is none left. */
static char *line_of(char **at) {
    char *start = *at;
    if (!*start) return NULL;
    while (**at && **at != '\n') ++*at;
    if (**at) *(*at)++ = 0;
    return start;
}

static void load(const char *path, char *text, u32 cap) {
    memset(text, 0, cap);
    int fd = open_file(path, O_RDONLY, 0);
    if (fd >= 0) read_all(fd, text, cap - 1);
    S1(close, fd);
}

/* One of the words between commas. */
static int lists(char *words, const char *name) {
    for (char *at = words; *at;) {
        char *start = at;
        while (*at && *at != ',') at++;
        if (*at) *at++ = 0;
        if (streq(start, name)) return 1;
    }
    return 0;
}

struct identity { u32 uid, gid, groups[64], count; char home[256]; }; /* groups[0] is gid, count those behind it */

/* USER or USER:GROUP, names or numbers, as Docker reads them (runc, libcontainer/user): a number need not be in
 * the files; without a group the user's supplementary groups count, with one they do not. */
static i64 identify(char *spec, struct identity *id) {
    static char text[65536];
    char *group = spec, *at = text, *name = NULL, known[64] = "";
    while (*group && *group != ':') group++;
    if (*group) *group++ = 0;
    i64 uid = number(spec);
    append(id->home, sizeof id->home, "/");
    load("/etc/passwd", text, sizeof text);
    for (char *line; !known[0] && (line = line_of(&at));) {
        name = field(&line), field(&line);
        i64 entry = number(field(&line)), gid = number(field(&line));
        if (*spec ? uid >= 0 ? entry != uid : !streq(name, spec) : entry != 0) continue;
        append(known, sizeof known, name);
        id->uid = entry, id->gid = gid < 0 ? 0 : gid;
        field(&line);
        id->home[0] = 0;
        append(id->home, sizeof id->home, field(&line));
    }
    if (!known[0] && *spec) {
        if (uid < 0) return -ENOENT;
        id->uid = uid;
    }
    if (!*group && !known[0]) return 0;
    i64 wanted = number(group);
    int found = 0;
    at = text;
    load("/etc/group", text, sizeof text);
    for (char *line; !found && (line = line_of(&at));) {
        char *name = field(&line);
        field(&line);
        i64 gid = number(field(&line));
        if (!*group) {
            if (lists(line, known) && id->count + 1 < countof(id->groups)) id->groups[++id->count] = gid;
        } else if ((found = wanted >= 0 ? gid == wanted : streq(name, group))) id->gid = gid;
    }
    if (*group && !found) {
        if (wanted < 0) return -ENOENT;
        id->gid = wanted;
    }
    return 0;
}

static void refuse(const char *what, const char *name, i64 e, int code) {
    say(what, name, e);
    S1(exit_group, code);
}

/* The directory is made where it is missing, as container runtimes do. */
static i64 enter(char *dir) {
    if (S1(chdir, dir) >= 0) return 0;
    make_directories(dir);
    return S1(chdir, dir);
}

static void execute(struct command *c) {
    static struct identity id;
    static char home[264] = "HOME=", *const none = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char user[128];
    append(user, sizeof user, c->user);
    i64 e = identify(user, &id);
    if (e < 0) refuse("no such user or group", c->user, 0, 126);
    if (*c->dir && (e = enter(c->dir)) < 0) refuse("cannot enter the directory", c->dir, e, 126);
    if (c->run) boot_seal();
    for (int fd = 0; fd < 3; fd++) { /* /dev/stdout opens for the user too; /dev/null stays whose it is */
        struct stat s;
        if (S2(fstat, fd, &s) >= 0 && (s.st_mode & S_IFMT) == S_IFIFO) S3(fchown, fd, id.uid, id.gid);
    }
    id.groups[0] = id.gid;
    if (S2(setgroups, id.count + 1, id.groups) < 0 || S1(setgid, id.gid) < 0 || S1(setuid, id.uid) < 0) refuse("cannot become", c->user, 0, 126);
    u32 n = 0;
    int has_home = 0;
    char *path = NULL;
    for (; c->env[n]; n++) {
        if (!memcmp(c->env[n], "PATH=", 5)) path = c->env[n];
        has_home |= !memcmp(c->env[n], "HOME=", 5);
    }
    if (!path && n < WORDS - 1) c->env[n++] = path = none;
    append(home, sizeof home, id.home);
    if (!has_home && n < WORDS - 1) c->env[n++] = home;
    int slash = 0;
    for (char *p = c->argv[0]; *p; p++) slash |= *p == '/';
    if (slash) e = S3(execve, c->argv[0], c->argv, c->env);
    else e = -ENOENT;
    for (char *p = path + 5; !slash && *p;) {
        static char full[4352];
        u32 length = 0;
        while (*p && *p != ':' && length < 4000) full[length++] = *p++;
        if (*p) p++;
        full[length] = 0;
        append(full, sizeof full, length ? "/" : "./");
        append(full, sizeof full, c->argv[0]);
        i64 r = S3(execve, full, c->argv, c->env);
        if (r != -ENOENT && r != -ENOTDIR) e = r;
    }
    refuse(e == -ENOENT ? "command not found" : "cannot run", c->argv[0], e == -ENOENT ? 0 : e, e == -ENOENT ? 127 : 126);
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
    say_to_kernel = 0;
    if (f->type == F_RUN) S5(mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    S3(close_range, 3, ~0u, 0);
    if (f->type == F_READ) S1(exit_group, copy_out((char *)f->payload, 1));
    copy_owners = f->length > strlen((char *)f->payload) + 1;
    if (f->type == F_WRITE) S1(exit_group, copy_in((char *)f->payload, 0));
    execute(c);
}

/* A child. The workload is PID 1 of a namespace of its own, with all that this means for signals and orphans, and
 * other commands are its neighbours there. The old /proc stays open, since the workload's own comes to lie over it. */
static i64 spawn(u8 type) {
    static int proc = -1, own = -1, theirs = -1;
    if (proc < 0) proc = open_file("/proc", O_RDONLY | O_DIRECTORY, 0), own = open_file("/proc/self/ns/pid", O_RDONLY, 0);
    if (type == F_RUN) {
        int gate[2];
        S2(pipe2, gate, O_CLOEXEC);
        i64 pid = S5(clone, SIGCHLD | CLONE_NEWPID, 0, 0, 0, 0);
        if (pid == -EPERM) { /* in a container, which is such a namespace */
            S1(close, gate[0]), S1(close, gate[1]);
            return S0(fork);
        }
        char name[32] = "";
        if (pid == 0) {
            S1(close, gate[1]);
            S3(read, gate[0], name, 1); /* until the other end is closed */
            return 0;
        }
        append_number(name, sizeof name, pid < 0 ? 0 : pid);
        append(name, sizeof name, "/ns/pid");
        theirs = S4(openat, proc, name, O_RDONLY | O_CLOEXEC, 0);
        S1(close, gate[0]), S1(close, gate[1]);
        return pid;
    }
    if (theirs < 0 || type != F_EXEC) return S0(fork);
    S2(setns, theirs, CLONE_NEWPID);
    i64 pid = S0(fork);
    if (pid != 0) S2(setns, own, CLONE_NEWPID);
    return pid;
}

i64 exec_start(struct frame *f, struct child *child) {
    static struct command c;
    char terminal[32];
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    memset(&c, 0, sizeof c);
    if (f->type == F_EXEC || f->type == F_RUN) {
        i64 e = parse_command(f, &c);
        if (e < 0) return e;
        c.run = f->type == F_RUN;
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
    if (f->type == F_RUN && !c.tty && !c.use_stdin) {
        S1(close, in[0]);
        in[0] = open_file("/dev/null", O_RDWR, 0);
    }
    i64 pid = spawn(f->type);
    if (pid == 0) run_child(f, &c, in[0], out[1], err[1]);
    S1(close, in[0]);
    if (!c.tty) S1(close, out[1]), S1(close, err[1]);
    if (!c.tty && !c.use_stdin) S1(close, in[1]), in[1] = -1;
    *child = (struct child){pid, in[1], out[0], err[0], c.tty};
    return pid < 0 ? pid : 0;
}
