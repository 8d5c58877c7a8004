/* sys.h: the part of a C library that init needs, on raw Linux system calls.
 *
 * init is linked with nothing, so that it is a few pages in every machine's RAM.
 * Every wrapper returns what the kernel returns: a value >= 0, or -errno. Numbers and
 * structure layouts are the x86-64 kernel ABI's (linux/uapi); the headers included are
 * the kernel's own, which hold constants and layouts and no code. */
#ifndef SYS_H
#define SYS_H

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/in.h>
#include <linux/inotify.h>
#include <linux/ipv6.h>
#include <linux/ipv6_route.h>
#include <linux/mount.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/sockios.h>
#include <linux/time.h>
#include <linux/wait.h>
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/stat.h>
#include <linux/sched.h>
#include <asm/statfs.h>
#include <asm/termios.h>
#include <asm-generic/errno.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;
typedef u64 usize;
typedef usize size_t; /* the kernel headers speak of it */

#define NULL ((void *)0)
#define countof(a) (sizeof(a) / sizeof((a)[0]))
#define TRY_EINTR(r, call) do { r = (call); } while (r == -EINTR)

/* One for each number of arguments, the call's own number last: all but that is then where the kernel looks for it. */
i64 sys0(i64 n);
i64 sys1(i64 a, i64 n);
i64 sys2(i64 a, i64 b, i64 n);
i64 sys3(i64 a, i64 b, i64 c, i64 n);
i64 sys4(i64 a, i64 b, i64 c, i64 d, i64 n);
i64 sys5(i64 a, i64 b, i64 c, i64 d, i64 e, i64 n);
i64 sys6(i64 a, i64 b, i64 c, i64 d, i64 e, i64 f, i64 n);
#define S0(n) sys0(__NR_##n)
#define S1(n, a) sys1((i64)(a), __NR_##n)
#define S2(n, a, b) sys2((i64)(a), (i64)(b), __NR_##n)
#define S3(n, a, b, c) sys3((i64)(a), (i64)(b), (i64)(c), __NR_##n)
#define S4(n, a, b, c, d) sys4((i64)(a), (i64)(b), (i64)(c), (i64)(d), __NR_##n)
#define S5(n, a, b, c, d, e) sys5((i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), __NR_##n)

/* Flat memory and strings; the compiler may also emit calls to the first three. */
void *memcpy(void *to, const void *from, usize n);
void *memmove(void *to, const void *from, usize n);
void *memset(void *to, int byte, usize n);
int memcmp(const void *a, const void *b, usize n);
usize strlen(const char *s);
int streq(const char *a, const char *b);
/* Appends src to dst, a buffer of cap bytes, always NUL-terminated; a longer text is cut. */
void append(char *dst, usize cap, const char *src);
void append_number(char *dst, usize cap, u64 value);

int open_file(const char *path, int flags, int mode);
/* Writes all n bytes, or returns -errno. */
i64 write_all(int fd, const void *data, usize n);
/* Reads until n bytes or end of file; the count read, or -errno. */
i64 read_all(int fd, void *data, usize n);
/* Makes or replaces the file at path with these bytes. 0 or -errno. */
i64 put_file(const char *path, int mode, const void *data, usize n);
/* Writes a text to a file that is there: the kernel's own, mostly. 0 or -errno. */
i64 put_text(const char *path, const char *text);
/* Cuts the text at each slash, and mends it. */
void make_directories(char *path);
void sleep_ms(u32 ms);
/* One line on stderr, "hyperlane-init: what: name (errno N)". init's own stderr is the kernel's log, which reaches the
 * console at once; what init writes to a terminal may still be on its way when the machine ends. */
extern int say_to_kernel;
void say(const char *what, const char *name, i64 error);

#endif
