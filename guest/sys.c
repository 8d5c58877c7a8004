/* sys.c: the bodies behind sys.h. */
#include "sys.h"

__asm__(".globl sys0, sys1, sys2, sys3, sys4, sys5, sys6\n"
        "sys0: mov %edi, %eax\n syscall\n ret\n"
        "sys1: mov %esi, %eax\n syscall\n ret\n"
        "sys2: mov %edx, %eax\n syscall\n ret\n"
        "sys3: mov %ecx, %eax\n syscall\n ret\n"
        "sys4: mov %rcx, %r10\n mov %r8d, %eax\n syscall\n ret\n"
        "sys5: mov %rcx, %r10\n mov %r9d, %eax\n syscall\n ret\n"
        "sys6: mov %rcx, %r10\n mov 8(%rsp), %eax\n syscall\n ret\n");

void *memcpy(void *to, const void *from, usize n) {
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}
void *memmove(void *to, const void *from, usize n) {
    if ((u64)to - (u64)from >= n) return memcpy(to, from, n);
    u8 *t = to;
    const u8 *f = from;
    while (n--) t[n] = f[n];
    return to;
}
void *memset(void *to, int byte, usize n) {
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
    return start;
}
int memcmp(const void *a, const void *b, usize n) {
    const u8 *x = a, *y = b;
    for (usize i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] - y[i];
    return 0;
}
usize strlen(const char *s) {
    usize n = 0;
    while (s[n]) n++;
    return n;
}
int streq(const char *a, const char *b) {
    usize n = strlen(a);
    return n == strlen(b) && memcmp(a, b, n) == 0;
}
void append(char *dst, usize cap, const char *src) {
    usize at = strlen(dst), n = strlen(src);
    if (n > cap - 1 - at) n = cap - 1 - at;
    memcpy(dst + at, src, n);
    dst[at + n] = 0;
}
void append_number(char *dst, usize cap, u64 value) {
    char digits[24];
    usize at = sizeof digits - 1;
    digits[at] = 0;
    do digits[--at] = '0' + value % 10;
    while (value /= 10);
    append(dst, cap, digits + at);
}

int open_file(const char *path, int flags, int mode) { return S3(open, path, flags | O_CLOEXEC, mode); }

i64 write_all(int fd, const void *data, usize n) {
    const u8 *p = data;
    while (n) {
        i64 r = S3(write, fd, p, n);
        if (r == -EINTR) continue;
        if (r < 0) return r;
        p += r;
        n -= r;
    }
    return 0;
}
i64 read_all(int fd, void *data, usize n) {
    u8 *p = data;
    usize got = 0;
    while (got < n) {
        i64 r = S3(read, fd, p + got, n - got);
        if (r == -EINTR) continue;
        if (r < 0) return r;
        if (r == 0) break;
        got += r;
    }
    return got;
}
i64 put_file(const char *path, int mode, const void *data, usize n) {
    char next[512];
    next[0] = 0;
    append(next, sizeof next, path);
    append(next, sizeof next, ".new");
    int fd = open_file(next, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (fd < 0) return fd;
    S2(fchmod, fd, mode); /* the mode at open is cut by the umask */
    i64 r = write_all(fd, data, n);
    S1(close, fd);
    return r < 0 ? r : S2(rename, next, path);
}
void make_directories(char *path) {
    for (char *p = path + 1; *p; p++)
        if (*p == '/') *p = 0, S2(mkdir, path, 0755), *p = '/';
    S2(mkdir, path, 0755);
}

i64 put_text(const char *path, const char *text) {
    int fd = open_file(path, O_WRONLY | O_TRUNC, 0);
    if (fd < 0) return fd;
    i64 e = write_all(fd, text, strlen(text));
    S1(close, fd);
    return e;
}
void sleep_ms(u32 ms) {
    struct { i64 seconds, nanoseconds; } t = {ms / 1000, (ms % 1000) * 1000000L};
    S2(nanosleep, &t, NULL);
}
int say_to_kernel;
void say(const char *what, const char *name, i64 error) {
    char line[256];
    line[0] = 0;
    if (say_to_kernel) append(line, sizeof line, "<3>");
    append(line, sizeof line, "hyperlane-init: ");
    append(line, sizeof line, what);
    if (name[0]) append(line, sizeof line, ": "), append(line, sizeof line, name);
    if (error < 0) append(line, sizeof line, " (errno "), append_number(line, sizeof line, -error), append(line, sizeof line, ")");
    append(line, sizeof line, "\n");
    write_all(2, line, strlen(line));
}
