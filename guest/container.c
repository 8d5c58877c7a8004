/* container.c: init as PID 1 of a container: what boot.c, net.c, volume.c and still.c do in a machine has been done by then,
 * by the container's engine and by the agent. The host listens at a socket in a directory that we may only read, where the
 * workload's log is a file to write to. */
#include "init.h"

#define HOME "/.hyperlane"
#define AF_UNIX 1
#define SOCK_FLAGS 02004001 /* SOCK_CLOEXEC | SOCK_NONBLOCK | SOCK_STREAM */

int host_leaves = 1, boot_rw = -1, rehearsing;
const char *run_dir = HOME;
static int ended;

void boot_kernel(void) {}

int host_open(void) {
    static const struct { u16 family; char path[108]; } at = {AF_UNIX, HOME "/guest.sock"};
    int fd = S3(socket, AF_UNIX, SOCK_FLAGS, 0);
    i64 e = S3(connect, fd, &at, sizeof at);
    if (e >= 0) return fd;
    S1(close, fd);
    return e;
}

int log_open(void) { return open_file(HOME "/workload.log", O_WRONLY | O_APPEND, 0); }

/* As a shell would say it, for those who look at the container itself. */
void log_closed(int fd, int status) { ended = status & 127 ? 128 + (status & 127) : status >> 8 & 255; }
void power_off(void) { S1(exit_group, ended); }

void boot_root(int system, int flags) {}
void boot_workload(void) {}
void boot_seal(void) {}
void disks_release(void) {}
void disks_idle(void) {}
void disks_take(char last) {}

i64 volume_attach(char *text) { return -EOPNOTSUPP; }
i64 volume_detach(const char *text) { return -EOPNOTSUPP; }
void volumes_freeze(int on) {}
void volumes_release(void) {}

i64 net_up(const u8 *mac) { return -EOPNOTSUPP; }
void net_down(void) {}
i64 net_address4(const u8 *address) { return -EOPNOTSUPP; }
i64 net_gateway4(const u8 *address) { return -EOPNOTSUPP; }
i64 net_address6(const u8 *address) { return -EOPNOTSUPP; }
i64 net_gateway6(const u8 *address) { return -EOPNOTSUPP; }

i64 hold_still(void) { return -EOPNOTSUPP; }
i64 rehearse(struct frame *f) { return -EOPNOTSUPP; }
void go_on(void) {}
void new_machine_id(void) {}
