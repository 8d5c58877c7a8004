/* copy.c: files in and out as a tar stream (ustar, with GNU long names), for `vps cp`. Runs in a
 * child of init, so an error is an exit code and a line on stderr. Regular files, directories,
 * symbolic links; sockets, pipes and devices are left out, as scp does. */
#include "init.h"

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[8], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
int copy_owners;
static char buffer[65536], path[4096], target[4096];

static void octal(char *to, int width, u64 value) {
    to[--width] = 0;
    while (width) to[--width] = '0' + (value & 7), value >>= 3;
}
static u64 parse_octal(const char *p, int width) {
    u64 v = 0;
    if (*p & 0x80) { /* GNU base-256, for sizes past 8 GiB */
        for (int i = 1; i < width; i++) v = v << 8 | (u8)p[i];
        return v;
    }
    while (width-- && (*p == ' ' || (*p >= '0' && *p <= '7'))) v = *p == ' ' ? v : v << 3 | (*p - '0'), p++;
    return v;
}

static void put_header(int out, const char *name, const char *link, char type, struct stat *s, u64 size) {
    struct header h;
    memset(&h, 0, sizeof h);
    append(h.name, sizeof h.name, name);
    append(h.link, sizeof h.link, link);
    octal(h.mode, 8, s->st_mode & 07777), octal(h.uid, 8, s->st_uid), octal(h.gid, 8, s->st_gid), octal(h.mtime, 12, s->st_mtime);
    if (size < 1UL << 33) octal(h.size, 12, size);
    else for (int i = 0; i < 12; i++) h.size[i] = i ? size >> 8 * (11 - i) : 0x80;
    h.type = type;
    memcpy(h.magic, "ustar  ", 8);
    memset(h.checksum, ' ', 8);
    u32 sum = 0;
    for (u32 i = 0; i < sizeof h; i++) sum += ((u8 *)&h)[i];
    octal(h.checksum, 7, sum);
    write_all(out, &h, sizeof h);
}

static void pad(int out, u64 size) {
    static char zero[512];
    if (size % 512) write_all(out, zero, 512 - size % 512);
}

static void put_long(int out, char type, const char *text, struct stat *s) {
    if (strlen(text) < 100) return;
    put_header(out, "././@LongLink", "", type, s, strlen(text) + 1);
    write_all(out, text, strlen(text) + 1);
    pad(out, strlen(text) + 1);
}

static i64 put_file_body(int out, int fd, u64 size) {
    u64 left = size;
    while (left) { /* exactly what the header says, whatever becomes of the file meanwhile */
        i64 n = read_all(fd, buffer, left < sizeof buffer ? left : sizeof buffer);
        if (n < 0) return n;
        if (n == 0) memset(buffer, 0, n = left < sizeof buffer ? left : sizeof buffer);
        if (write_all(out, buffer, n) < 0) return -EPIPE;
        left -= n;
    }
    pad(out, size);
    return 0;
}

/* path holds the file's place in the machine; its name in the stream begins at path + skip. */
static int send(int out, u32 skip) {
    struct stat s;
    i64 e = S2(lstat, path, &s);
    if (e < 0) return say("cannot read", path, e), 1;
    const char *name = path + skip;
    put_long(out, 'L', name, &s);
    if ((s.st_mode & S_IFMT) == S_IFLNK) {
        i64 n = S3(readlink, path, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        put_long(out, 'K', target, &s);
        put_header(out, name, target, '2', &s, 0);
    } else if ((s.st_mode & S_IFMT) == S_IFREG) {
        int fd = open_file(path, O_RDONLY | O_NOFOLLOW, 0);
        if (fd < 0) return say("cannot read", path, fd), 1;
        put_header(out, name, "", '0', &s, s.st_size);
        e = put_file_body(out, fd, s.st_size);
        S1(close, fd);
        if (e < 0) return say("cannot send", path, e), 1;
    } else if ((s.st_mode & S_IFMT) == S_IFDIR) {
        put_header(out, name, "", '5', &s, 0);
        int fd = open_file(path, O_RDONLY | O_DIRECTORY, 0), failed = 0;
        u32 length = strlen(path);
        char entries[4096];
        for (i64 n; fd >= 0 && (n = S3(getdents64, fd, entries, sizeof entries)) > 0;)
            for (char *p = entries; p < entries + n; p += *(u16 *)(p + 16)) {
                if (streq(p + 19, ".") || streq(p + 19, "..")) continue;
                append(path, sizeof path, "/");
                append(path, sizeof path, p + 19);
                failed |= send(out, skip);
                path[length] = 0;
            }
        S1(close, fd);
        return failed;
    }
    return 0;
}

int copy_out(const char *from, int out) {
    static char end[1024];
    append(path, sizeof path, from);
    u32 length = strlen(path), skip = 0;
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    for (u32 i = 0; i < length; i++)
        if (path[i] == '/') skip = i + 1;
    int failed = send(out, length > 1 ? skip : 0);
    write_all(out, end, sizeof end);
    return failed;
}

static i64 skip_body(int in, u64 n) {
    for (n = (n + 511) & ~511UL; n;) {
        i64 r = read_all(in, buffer, n < sizeof buffer ? n : sizeof buffer);
        if (r <= 0) return -EIO;
        n -= r;
    }
    return 0;
}

static i64 receive_file(int in, const char *to, u64 size, u32 mode) {
    S1(unlink, to);
    int fd = open_file(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    i64 e = fd < 0 ? fd : 0;
    u64 left = size;
    while (left && e >= 0) {
        i64 n = read_all(in, buffer, left < sizeof buffer ? left : sizeof buffer);
        if (n <= 0) return -EIO;
        e = write_all(fd, buffer, n);
        left -= n;
    }
    if (fd >= 0) S2(fchmod, fd, mode), S1(close, fd);
    if (e < 0) say("cannot write", to, e);
    if (left) return skip_body(in, (size + 511) / 512 * 512 - (size - left)) < 0 ? -EIO : e;
    return size % 512 && read_all(in, buffer, 512 - size % 512) <= 0 ? -EIO : e;
}

/* Unpacks below the directory `to`, or, when `to` is no directory, makes the one entry as `to`. */
int copy_in(const char *to, int in) {
    static char name[4096], link[4096];
    struct header h;
    struct stat s;
    int failed = 0, into = S2(stat, to, &s) == 0 && (s.st_mode & S_IFMT) == S_IFDIR;
    u32 root = 0; /* the first entry's name, which `to` replaces when it is no directory */
    while (read_all(in, &h, sizeof h) == sizeof h && h.name[0]) {
        u64 size = parse_octal(h.size, 12);
        if (h.type == 'L' || h.type == 'K') {
            char *long_name = h.type == 'L' ? name : link;
            if (size >= 4096 || read_all(in, buffer, (size + 511) & ~511UL) < (i64)size) return say("bad archive", "", -EINVAL), 1;
            memcpy(long_name, buffer, size), long_name[size] = 0;
            continue;
        }
        if (!name[0]) append(name, h.name[99] ? 101 : 100, h.name);
        if (!link[0]) append(link, h.link[99] ? 101 : 100, h.link);
        u32 n = strlen(name);
        while (n && name[n - 1] == '/') name[--n] = 0;
        if (!into && !root) root = n;
        path[0] = 0;
        append(path, sizeof path, to);
        if (into) append(path, sizeof path, "/"), append(path, sizeof path, name);
        else append(path, sizeof path, name + (n < root ? n : root));
        i64 e = 0;
        u32 mode = parse_octal(h.mode, 8);
        if (h.type == '5') {
            e = S2(mkdir, path, mode);
            if (e == -EEXIST) e = 0;
        } else if (h.type == '2') {
            S1(unlink, path);
            e = S2(symlink, link, path);
        } else if (h.type == '0' || h.type == 0) {
            e = receive_file(in, path, size, mode);
            if (e == -EIO) return say("the archive ends early", path, 0), 1;
        } else if (skip_body(in, size) < 0) return 1;
        if (copy_owners && e >= 0) {
            S3(lchown, path, parse_octal(h.uid, 8), parse_octal(h.gid, 8));
            if (h.type != '2') S2(chmod, path, mode); /* a new owner takes set-uid away */
        }
        if (e < 0) say("cannot make", path, e), failed = 1;
        name[0] = link[0] = 0;
    }
    return failed;
}
