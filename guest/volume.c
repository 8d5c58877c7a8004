/* volume.c: disks and folders of the host beside the root. Each is told as a text, its place among the slots, what it
 * is, and where it goes: SLOT FLAGS MIB PATH, like "c210240/var/lib/data".
 *
 *   SLOT    'c' and up: the disk /dev/vdc and up; 'A' and up: the folder that virtiofs calls "A" and up
 *   FLAGS   '0' plus 1 read-only, 2 new: filled with what the image has there, if it is empty
 *   MIB     how large the disk is, which the kernel may not have heard yet; nothing for a folder
 *
 * The host says what is to be there with each CONFIG; the first comes before anything of the image runs. */
#include "init.h"

#define FILLING ".hyperlane-filling" /* there while a volume is being filled: a cut-off fill is begun again */
#define RESIZE_FS _IOW('f', 16, u64) /* EXT4_IOC_RESIZE_FS, in blocks; of 4 KiB, as the host makes them */
static char mounted[64][256]; /* by SLOT - 'A': where it is; empty: nowhere */

/* Of the directory that is entered. */
static int is_empty(void) {
    char entries[512];
    int fd = open_file(".", O_RDONLY | O_DIRECTORY, 0), count = 0;
    i64 n = S3(getdents64, fd, entries, sizeof entries);
    S1(close, fd);
    for (char *p = entries; p < entries + n; p += *(u16 *)(p + 16)) count++;
    return count == 2 || S2(access, FILLING, 0) == 0;
}

/* under: the directory that the volume has come to lie over. */
static int fill(int under, const char *path) {
    int pipe[2], failed = 0;
    S1(chdir, path);
    if (is_empty()) {
        S2(mkdir, FILLING, 0700);
        S2(pipe2, pipe, O_CLOEXEC);
        if (S0(fork) == 0) {
            S1(fchdir, under);
            S1(close, pipe[0]);
            S1(exit_group, copy_out(".", pipe[1]));
        }
        S1(close, pipe[1]);
        copy_owners = 1;
        failed = copy_in(path, pipe[0]);
        copy_owners = 0;
        S1(close, pipe[0]);
        S1(rmdir, FILLING);
    }
    S1(chdir, "/");
    return failed;
}

/* A volume that was made larger gets a file system as large; one that was not stays as it is. */
static i64 grow(const char *device, const char *path, u64 mib) {
    u64 size = 0;
    int disk = open_file(device, O_RDONLY, 0), top = open_file(path, O_RDONLY | O_DIRECTORY, 0);
    for (int tries = 0; tries < 500; tries++) {
        S3(ioctl, disk, BLKGETSIZE64, &size);
        if (size >= mib << 20) break;
        sleep_ms(10);
    }
    i64 e = size < mib << 20 ? -EAGAIN : 0;
    size /= 4096;
    if (e >= 0) e = S3(ioctl, top, RESIZE_FS, &size);
    S1(close, disk), S1(close, top);
    return e;
}

i64 volume_attach(char *text) {
    char device[] = "/dev/vd?", tag[2] = {text[0]}, *at = mounted[(text[0] - 'A') & 63], *path = text + 2;
    int flags = text[1] - '0', folder = text[0] < 'a';
    u64 mib = 0;
    i64 e = 0;
    device[7] = text[0];
    if (!text[0] || !text[1]) return -EINVAL;
    for (; *path >= '0' && *path <= '9'; path++) mib = mib * 10 + *path - '0';
    if (*path != '/') return -EINVAL;
    if (!at[0]) {
        if (!folder) disks_take(text[0]);
        int there = S2(access, path, 0) == 0;
        make_directories(path);
        int under = open_file(path, O_RDONLY | O_DIRECTORY, 0);
        u64 mode = MS_NOATIME | (flags & 1 ? MS_RDONLY : 0);
        for (int tries = 0; tries < 200; tries++) { /* the kernel may still be learning of the disk */
            e = S5(mount, folder ? tag : device, path, folder ? "virtiofs" : "ext4", mode, flags & 1 && !folder ? "noload" : "");
            if (e >= 0 || e == -EBUSY) break;
            sleep_ms(10);
        }
        if (e >= 0) append(at, 256, path);
        if (e >= 0 && there && flags & 2 && fill(under, path)) e = -EIO;
        S1(close, under);
    }
    if (e >= 0 && !folder && !(flags & 1)) e = grow(device, path, mib);
    if (e < 0) say("cannot mount the volume", path, e);
    return e;
}

i64 volume_detach(const char *text) {
    char *at = mounted[(text[0] - 'A') & 63];
    i64 e = at[0] ? S2(umount2, at, 0) : 0;
    if (e >= 0) at[0] = 0;
    return e;
}

void volumes_freeze(int on) {
    for (u32 i = 0; i < countof(mounted); i++) {
        if (!mounted[i][0]) continue;
        int top = open_file(mounted[i], O_RDONLY | O_DIRECTORY, 0);
        S3(ioctl, top, on ? FIFREEZE : FITHAW, 0);
        S1(close, top);
    }
}

/* So that a disk holds all that was written, with an empty journal. */
void volumes_release(void) {
    for (u32 i = 0; i < countof(mounted); i++)
        if (mounted[i][0] && S2(umount2, mounted[i], 0) < 0) S5(mount, "", mounted[i], "", MS_REMOUNT | MS_RDONLY, "");
}
