/* config.c: who this machine is. A CONFIG frame holds records, each tag:u8 length:u16 bytes:
 *
 *   1 hostname            2 IPv6 address[16] prefix:u8    3 IPv6 gateway[16]
 *   4 IPv4 address[4] prefix:u8       5 IPv4 gateway[4]   6 text of /etc/resolv.conf
 *   7 wall clock, u64 ns since 1970   8 entropy for the kernel's random generator
 *   9 a file below run_dir: mode:u16 name NUL bytes
 *  10 a volume that is to be there, 11 one that is not: text NUL, see volume.c
 *  12 the root: 1 where folders of the host come, plus 2 where the disk was another machine's, plus 4 where a workload may not write to it, path of the image's own init NUL, "" where there is none
 *  13 MAC address[6], without which there is no network
 *  14 what it was called in a network before is forgotten: it has come from another node
 *
 * Entropy comes first, then the root; the network's records after 13. Applying a configuration twice changes nothing, so the host
 * sends it again on every connect. */
#include "init.h"

static i64 set_clock(const u8 *p) {
    u64 want = get32(p) | (u64)get32(p + 4) << 32;
    struct { i64 seconds, nanoseconds; } now, next = {want / 1000000000, want % 1000000000};
    S2(clock_gettime, 0, &now);
    i64 off = (i64)(want - ((u64)now.seconds * 1000000000 + now.nanoseconds));
    /* Below a quarter of a second the machine's own time daemon does better than a message can. */
    return off < 250000000 && off > -250000000 ? 0 : S2(clock_settime, 0, &next);
}

static i64 add_entropy(const u8 *p, u32 n) {
    struct { int bits, size; u8 bytes[64]; } pool;
    if (n > sizeof pool.bytes) n = sizeof pool.bytes;
    pool.bits = n * 8, pool.size = n;
    memcpy(pool.bytes, p, n);
    int fd = open_file("/dev/urandom", O_RDWR, 0);
    i64 e = fd < 0 ? fd : S3(ioctl, fd, RNDADDENTROPY, &pool);
    if (e >= 0) S2(ioctl, fd, RNDRESEEDCRNG);
    S1(close, fd);
    return e;
}

/* The name may not leave run_dir: one component, no leading dot. */
static i64 put_run_file(const u8 *p, u32 n) {
    char path[128] = "";
    u32 end = 2;
    append(path, sizeof path, run_dir), append(path, sizeof path, "/");
    while (end < n && p[end]) end++;
    if (n < 4 || end == n || end == 2 || end > 66 || p[2] == '.') return -EINVAL;
    for (u32 i = 2; i < end; i++)
        if (p[i] == '/') return -EINVAL;
    append(path, sizeof path, (const char *)p + 2);
    return put_file(path, get16(p), p + end + 1, n - end - 1);
}

static char *system_init;

static i64 make_root(u8 *p, u32 n) {
    if (n < 2 || p[n - 1]) return -EINVAL;
    if (has_root) return 0;
    if (p[1]) system_init = (char *)p + 1;
    boot_root(p[1], p[0]);
    has_root = 1;
    return 0;
}

static i64 apply(u8 tag, u8 *p, u32 n) {
    static const u8 fixed[] = {[2] = 17, [3] = 16, [4] = 5, [5] = 4, [7] = 8, [13] = 6};
    if (tag < countof(fixed) && fixed[tag] && n != fixed[tag]) return -EINVAL;
    switch (tag) {
    case 1: return S2(sethostname, p, n);
    case 2: return net_address6(p);
    case 3: return net_gateway6(p);
    case 4: return net_address4(p);
    case 5: return net_gateway4(p);
    case 6: return put_file("/etc/resolv.conf", 0644, p, n);
    case 7: return set_clock(p);
    case 8: return add_entropy(p, n);
    case 9: return put_run_file(p, n);
    case 10: return n < 4 || p[n - 1] ? -EINVAL : volume_attach((char *)p);
    case 11: return n < 2 || p[n - 1] ? -EINVAL : volume_detach((const char *)p);
    case 12: return make_root(p, n);
    case 13: return net_up(p);
    case 14: net_down(); return 0;
    default: return 0; /* a newer host knows more than we do */
    }
}

/* 0, or the first -errno; the later records are applied all the same. */
i64 configure(u8 *p, u32 length) {
    i64 first = 0;
    int had_root = has_root;
    while (length >= 3) {
        u32 n = get16(p + 1);
        if (n > length - 3) return -EINVAL;
        i64 e = apply(p[0], p + 3, n);
        if (e < 0) say("cannot apply configuration", (char[]){'0' + p[0], 0}, e); /* ':' is a volume, ';' one that goes, '<' the root, '=' the network */
        if (e < 0 && !first) first = e;
        p += 3 + n, length -= 3 + n;
    }
    if (length) return -EINVAL;
    go_on();
    if (system_init) hand_over(system_init), system_init = NULL;
    if (!had_root && has_root) announce();
    return first;
}
