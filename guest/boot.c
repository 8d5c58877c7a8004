/* boot.c: from the kernel's initramfs to the machine's own root.
 *
 * boot_kernel comes first and knows nothing of the machine: a template is saved after it. boot_root follows once the
 * host has said what the machine is. /dev/vda holds the image, a read-only EROFS that all machines of the image share; /dev/vdb holds
 * this machine's writable layer, ext4. The root is an overlay of the two. Modules named in /modules
 * (one path a line, in order) are loaded first, those of /modules-folders where a folder of the host is to be
 * mounted; a kernel with all built in ships no such files. */
#include "init.h"

int boot_rw = -1, host_leaves = 0;
const char *run_dir = "/dev/hyperlane";

/* VMMs without virtio-serial (Firecracker) lead to us by a vsock: vsock(7), struct sockaddr_vm. We listen at 1024; what the
 * workload prints goes to the host's 1025, where runtimes/relay.c puts it into a file. */
static struct sockaddr_vm { u16 family, reserved; u32 port, cid, zero; } any = {40 /* AF_VSOCK */, 0, 1024, ~0u, 0};
static const struct sockaddr_vm host = {40, 0, 1025, 2, 0};

/* flags: SOCK_NONBLOCK or none. */
static int vsock(i64 call, const struct sockaddr_vm *at, int flags) {
    int fd = S3(socket, at->family, 02000001 /* SOCK_CLOEXEC | SOCK_STREAM */ | flags, 0);
    i64 e = sys3(fd, (i64)at, sizeof *at, call);
    if (e >= 0) return fd;
    S1(close, fd);
    return e;
}

static int vsock_open(void) {
    static int listener = -1;
    if (listener < 0) {
        listener = vsock(__NR_bind, &any, 04000);
        S2(listen, listener, 8);
    }
    int fd = S4(accept4, listener, NULL, NULL, 02004000);
    if (fd >= 0) host_leaves = 1;
    return fd;
}

/* By its name, where something has made a link of that; else whichever of the first devices has it. */
static int port_open(const char *named, char number, int flags) {
    char path[] = "/dev/vport0p1";
    path[12] = number;
    int fd = open_file(named, flags, 0);
    for (; path[10] < '4' && fd < 0; path[10]++) fd = open_file(path, flags, 0);
    return fd;
}

int host_open(void) {
    int fd = port_open("/dev/virtio-ports/hyperlane.0", '1', O_RDWR | O_NONBLOCK);
    return fd < 0 ? vsock_open() : fd;
}

int log_open(void) {
    int fd = port_open("/dev/virtio-ports/hyperlane.log", '2', O_WRONLY);
    return fd < 0 ? vsock(__NR_connect, &host, 0) : fd;
}

/* What is on its way by a vsock would go with the machine: after a NUL the other end closes, once it has all of it (runtimes/relay.c). */
void log_closed(int fd, int status) {
    if (other_vmm) S3(write, fd, "", 1), S3(read, fd, &status, 1);
}

static void fail(const char *what, const char *name, i64 error) {
    say(what, name, error);
    if (rehearsing) S1(exit_group, 1);
    sleep_ms(50); /* the console's last line leaves through a queue */
    power_off();
}

void power_off(void) {
    volumes_release();
    S0(sync);
    if (rehearsing) S1(exit_group, 0);
    S4(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, other_vmm == VMM_RESETS ? LINUX_REBOOT_CMD_RESTART : LINUX_REBOOT_CMD_POWER_OFF, 0);
    for (;;) sleep_ms(1000);
}

static void mount_or_fail(const char *source, const char *target, const char *type, u64 flags, const char *options) {
    i64 e = S5(mount, source, target, type, flags, options);
    if (e < 0) fail("cannot mount", target, e);
}

static void load_modules(const char *names, int wanted) {
    static char list[4096];
    int fd = open_file(names, O_RDONLY, 0);
    if (fd < 0) return;
    i64 n = read_all(fd, list, sizeof list - 1);
    list[n] = 0; /* the list before was longer */
    S1(close, fd);
    for (char *name = list, *end = list; end < list + n; name = end + 1) {
        for (end = name; *end && *end != '\n'; end++) {}
        *end = 0;
        if (!*name) continue;
        int module = wanted ? open_file(name, O_RDONLY, 0) : -1;
        i64 e = module < 0 ? module : S3(finit_module, module, "", 0);
        if (wanted && e < 0 && e != -EEXIST) say("cannot load the module", name, e);
        S1(close, module);
        S1(unlink, name); /* the initramfs is RAM */
    }
}

static void wait_for(const char *device) {
    for (int ms = 0; ms < 10000; ms++) {
        if (S2(access, device, 0) == 0) return;
        sleep_ms(1);
    }
    fail("no such disk after 10 s", device, -ENOENT);
}

void boot_kernel(void) {
    mount_or_fail("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
    int console = open_file("/dev/console", O_RDWR, 0);
    for (int fd = 0; console >= 0 && fd < 3; fd++) S2(dup2, console, fd);
    say_to_kernel = S2(dup2, open_file("/dev/kmsg", O_WRONLY, 0), 2) == 2;
    mount_or_fail("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    mount_or_fail("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    load_modules("/modules", 1);
    load_modules("/modules-vsock", other_vmm);
}

/* A template is made without its disks: its driver lets go of them, and finds others, of other sizes, when it takes them again. */
#define DRIVER "/sys/bus/virtio/drivers/virtio_blk/"
static char disks[24][16]; /* by their letter: what the bus calls them */

void disks_idle(void) {
    char disk[] = "/dev/vda";
    for (int ms = 0; disk[7] <= 'b' && ms < 2000;) {
        int fd = open_file(disk, O_RDONLY | O_EXCL, 0);
        S1(close, fd);
        if (fd == -EBUSY) ms++, sleep_ms(1);
        else disk[7]++;
    }
}

void disks_release(void) {
    for (u32 i = 0; i < countof(disks); i++) {
        char path[] = "/sys/block/vd?/device", target[64];
        path[13] = 'a' + i;
        i64 n = S3(readlink, path, target, sizeof target - 1);
        if (n < 0) break;
        target[n] = 0;
        char *name = target + n;
        while (name > target && name[-1] != '/') name--;
        disks[i][0] = 0;
        append(disks[i], sizeof disks[i], name);
    }
    for (u32 i = 0; i < countof(disks); i++)
        if (disks[i][0]) put_text(DRIVER "unbind", disks[i]);
}

/* In their order, since the kernel gives out letters. */
void disks_take(char last) {
    for (u32 i = 0; i < countof(disks) && i <= (u32)(last - 'a'); i++)
        if (disks[i][0]) put_text(DRIVER "bind", disks[i]), disks[i][0] = 0;
}

static int read_only;

void boot_root(int system, int flags) {
    read_only = flags & 4;
    load_modules("/modules-folders", flags & 1);
    disks_take('b');
    wait_for("/dev/vda");
    wait_for("/dev/vdb");
    mount_or_fail("/dev/vda", "/image", "erofs", MS_RDONLY, "");
    mount_or_fail("/dev/vdb", "/rw", "ext4", MS_NOATIME, "noinit_itable"); /* a new disk is all zeros */
    S2(mkdir, "/rw/upper", 0755);
    S2(mkdir, "/rw/work", 0755);
    boot_rw = open_file("/rw", O_RDONLY | O_DIRECTORY, 0);
    mount_or_fail("root", "/root", "overlay", MS_NOATIME, "lowerdir=/image,upperdir=/rw/upper,workdir=/rw/work");
    static const char *const moved[] = {"/dev", "/proc", "/sys"};
    for (u32 i = 0; i < countof(moved); i++) {
        char to[16] = "/root";
        append(to, sizeof to, moved[i]);
        S2(mkdir, to, 0755);
        mount_or_fail(moved[i], to, "", MS_MOVE, "");
    }
    S1(chdir, "/root");
    mount_or_fail("/root", "/", "", MS_MOVE, "");
    S1(chroot, ".");
    S1(chdir, "/");
    if (flags & 2) {
        new_machine_id();
        S1(unlink, "/var/lib/systemd/random-seed");
    }
    if (system) {
        run_dir = "/run/hyperlane";
        S2(mkdir, "/run", 0755);
        mount_or_fail("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=20%");
    }
    S2(mkdir, run_dir, 0755);
    S2(mkdir, "/dev/pts", 0755);
    S5(mount, "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
}

void boot_seal(void) {
    if (read_only) mount_or_fail("", "/", "", MS_REMOUNT | MS_RDONLY, "");
}

void boot_workload(void) {
    static const char *const links[] = {"/proc/self/fd", "/dev/fd", "/proc/self/fd/0", "/dev/stdin", "/proc/self/fd/1", "/dev/stdout",
                                        "/proc/self/fd/2", "/dev/stderr", "/proc/kcore", "/dev/core"};
    static const char *const files[] = {"/hosts", "/hostname", "/resolv.conf"};
    struct { u64 soft, hard; } many = {1048576, 1048576};
    for (u32 i = 0; i < countof(links); i += 2) S2(symlink, links[i], links[i + 1]);
    S2(mkdir, "/dev/shm", 01777), S2(mkdir, "/dev/mqueue", 0755), S2(mkdir, "/etc", 0755);
    S5(mount, "shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m");
    S5(mount, "mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    S5(mount, "cgroup", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    for (u32 i = 0; i < countof(files); i++) {
        char from[64] = "", to[32] = "/etc";
        append(from, sizeof from, run_dir), append(from, sizeof from, files[i]), append(to, sizeof to, files[i]);
        S1(close, open_file(to, O_WRONLY | O_CREAT, 0644));
        S5(mount, from, to, "", MS_BIND, "");
    }
    S4(prlimit64, 0, 7 /* RLIMIT_NOFILE */, &many, NULL); /* as container engines set it */
}
