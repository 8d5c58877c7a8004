/* still.c: a machine that is about to be saved as a template, and one that has been made from it.
 *
 * Without a root yet, it lets go of its disks. With an image's own init running, all of it is frozen but us: those who
 * are made from the template run nothing before the kernel's random generator has been given entropy of their own
 * (config.c), and what the image's system has drawn from it, its ids, is drawn anew. */
#include "init.h"
#include "channel.h"

#define CGROUPS "/sys/fs/cgroup/"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
static int still;
int rehearsing;

static i64 frozen_file(char *path, u32 cap, const char *group, const char *name) {
    path[0] = 0;
    append(path, cap, CGROUPS), append(path, cap, group), append(path, cap, name);
    return S2(access, path, 0);
}

static int is_frozen(const char *group) {
    char path[300], text[64];
    frozen_file(path, sizeof path, group, "/cgroup.events");
    int fd = open_file(path, O_RDONLY, 0);
    i64 n = read_all(fd, text, sizeof text);
    S1(close, fd);
    return n > 2 && text[n - 2] == '1'; /* its last line: frozen 1 */
}

/* All but us, who move to the top, which cannot be frozen. */
static i64 freeze_all(const char *to) {
    char entries[4096], path[300];
    i64 e = put_text(CGROUPS "cgroup.procs", "0");
    int top = open_file(CGROUPS, O_RDONLY | O_DIRECTORY, 0);
    for (i64 n; e >= 0 && (n = S3(getdents64, top, entries, sizeof entries)) > 0;)
        for (char *p = entries; p < entries + n; p += *(u16 *)(p + 16)) {
            if (p[19] == '.' || frozen_file(path, sizeof path, p + 19, "/cgroup.freeze") < 0) continue;
            if (put_text(path, to) < 0) e = -EIO;
            for (int ms = 0; to[0] == '1' && !is_frozen(p + 19); ms++) {
                if (ms == 5000) return -EBUSY;
                sleep_ms(1);
            }
        }
    S1(close, top);
    return e;
}

i64 hold_still(void) {
    S0(sync);
    still = 1;
    if (!has_root) return disks_release(), 0;
    i64 e = is_pid1 ? 0 : freeze_all("1");
    if (e < 0) freeze_all("0");
    return e;
}

static void hex(char *to, const u8 *bytes, u32 n) {
    for (u32 i = 0; i < 2 * n; i++) to[i] = "0123456789abcdef"[bytes[i / 2] >> (i & 1 ? 0 : 4) & 15];
}

void new_machine_id(void) {
    char id[34] = {[32] = '\n'};
    u8 random[16];
    S3(getrandom, random, sizeof random, 0);
    hex(id, random, 16);
    put_text("/etc/machine-id", id);
}

/* The kernel has told its boot id to others before it told us: a new one is laid over it (as systemd-nspawn does). */
static void renew(void) {
    char boot[38] = {[8] = '-', [13] = '-', [18] = '-', [23] = '-', [36] = '\n'}, path[64] = "";
    u8 random[16];
    new_machine_id();
    S3(getrandom, random, sizeof random, 0);
    random[6] = (random[6] & 0x0f) | 0x40, random[8] = (random[8] & 0x3f) | 0x80; /* RFC 9562: version 4 */
    hex(boot, random, 4), hex(boot + 9, random + 4, 2), hex(boot + 14, random + 6, 2), hex(boot + 19, random + 8, 2);
    hex(boot + 24, random + 10, 6);
    append(path, sizeof path, run_dir), append(path, sizeof path, "/boot_id");
    put_file(path, 0444, boot, 37);
    S5(mount, path, BOOT_ID, "", MS_BIND, "");
}

/* It files what it takes under both ids, which it has learned when it began: systemd starts it again. */
static void renew_journal(void) {
    char text[16] = "";
    int fd = open_file(CGROUPS "system.slice/systemd-journald.service/cgroup.procs", O_RDONLY, 0), pid = 0;
    read_all(fd, text, sizeof text - 1);
    S1(close, fd);
    for (char *p = text; *p >= '0' && *p <= '9'; p++) pid = pid * 10 + *p - '0';
    if (pid) S2(kill, pid, SIGTERM);
}

/* Under emulation a path through the kernel is slow the first time it is met in a VMM, and fast from then on. So a child
 * of ours, with mounts of its own, becomes some machine, root, network and workload, and comes to its end (power_off);
 * then no trace is left but in the emulator's memory. payload: 3, then length:u32 of CONFIG's records, those, and RUN's payload. */
i64 rehearse(struct frame *f) {
    u32 length = f->length > 5 ? get32(f->payload + 1) : ~0u;
    if (!still || has_root || length > f->length - 5) return -EINVAL;
    int status = 0;
    i64 pid = S5(clone, SIGCHLD | CLONE_NEWNS | CLONE_NEWUTS, 0, 0, 0, 0);
    if (pid == 0) {
        struct frame config = {length, 1, F_CONFIG, f->payload + 5}, run = {f->length - 5 - length, 2, F_RUN, f->payload + 5 + length};
        rehearsing = 1;
        channel_fd = -1;
        streams_request(&config);
        streams_request(&run);
        return 0;
    }
    S4(wait4, pid, &status, 0, NULL);
    net_down();
    disks_idle();
    disks_release();
    return pid < 0 ? pid : status ? -EIO : 0;
}

void go_on(void) {
    if (!still) return;
    still = 0;
    if (is_pid1) return;
    renew();
    renew_journal();
    freeze_all("0");
}
