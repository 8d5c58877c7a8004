/* discard.c: loaded into QEMU (LD_PRELOAD), so that a machine can give back memory that it shares.
 *
 * When a guest reports pages as free, QEMU 7.2 punches a hole into the file that its RAM is mapped from, and only then
 * drops its own copy of them (softmmu/physmem.c, ram_block_discard_range). The file that our machines map is sealed
 * against every change: it is everybody's. So the first step is refused, and shall be; the second is all that is needed, after
 * which the page is what the file has there. A guest counts on nothing in a page that it does not use. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <unistd.h>

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    long result = syscall(SYS_fallocate, fd, mode, offset, length);
    return result < 0 && errno == EPERM && (mode & FALLOC_FL_PUNCH_HOLE) ? 0 : result;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }
