/* init.h: what the files of init offer each other. */
#ifndef INIT_H
#define INIT_H
#include "frames.h"

/* Names that the kernel's own headers leave to a C library. */
#define SOCK_DGRAM_ 2
#define AF_INET 2
#define AF_INET6 10
#define RTF_UP_ 1
#define RTF_GATEWAY_ 2
#define SIGRTMIN_LIBC 34 /* what systemd counts its SIGRTMIN+n from: the C library keeps 32 and 33 */

#define SFD_NONBLOCK_ 04000
#define READY_UNIT "/etc/systemd/system/hyperlane-ready.service" /* makes this file: */
#define READY_FILE "/run/hyperlane/ready" /* an image whose own init boots on makes it when ssh listens */

/* boot.c, or container.c where we are PID 1 of a container */
void boot_kernel(void);             /* what is the same in every machine */
int host_open(void);                /* the descriptor that leads to the host; below 0: not yet */
extern int host_leaves;             /* whether it can come to an end, and be opened anew */
int log_open(void);                 /* what the workload prints goes there */
void log_closed(int fd, int status); /* the workload has ended so, and its log is written */
void boot_root(int system, int flags);  /* initramfs -> the machine's root; reports and powers off on failure */
void disks_release(void);           /* so that others may be found in their place */
void disks_idle(void);              /* waits until nothing is mounted from them */
void disks_take(char last);         /* /dev/vda to /dev/vdLAST, if they were let go of */
void boot_workload(void);           /* what a workload finds beside its image: /dev, /etc/hosts and the like */
void boot_seal(void);               /* from here on nobody writes to the root, where that was asked for */
void power_off(void);
extern const char *run_dir;         /* where the host's files go, on no disk */
extern int boot_rw;                 /* the writable layer's directory, kept open for FREEZE */
/* volume.c */
i64 volume_attach(char *text);
i64 volume_detach(const char *text);
void volumes_freeze(int on);
void volumes_release(void);
/* net.c */
i64 net_up(const u8 *mac);
void net_down(void);
i64 net_address4(const u8 *);
i64 net_gateway4(const u8 *);
i64 net_address6(const u8 *);
i64 net_gateway6(const u8 *);
/* config.c */
i64 configure(u8 *records, u32 length);
/* still.c: what is saved as a template */
i64 hold_still(void);
i64 rehearse(struct frame *f);      /* returns twice, like fork: */
#define REHEARSAL "/proc/self/exe"  /* run as a workload by this name, we only say that we were */
extern int rehearsing;              /* we are the child that only pretends */
void go_on(void);
void new_machine_id(void);          /* so that two machines of one disk are not one */
/* stream.c */
struct stream;
void streams_request(struct frame *f);
void streams_reset(void);
u32 streams_poll(struct pollfd *fds, u32 at);
void streams_ready(struct pollfd *fds);
void streams_reaped(int pid, int status);
int streams_blocked(void);          /* output waits for the host to read: take nothing more from children */
/* channel.c */
void channel_send(u32 stream, u8 type, const void *payload, u32 length);
void channel_exit(u32 stream, u8 kind, u8 value, const char *text);
u32 channel_room(void);
/* log.c */
void log_output(int stream, const u8 *data, u32 n);   /* 1 stdout, 2 stderr */
void log_exit(int status);                            /* the last of it */
/* stream.c, the workload */
i64 workload_stop(u8 signal, u32 seconds);            /* -ESRCH: there is none */
int workload_timeout(void);                           /* ms until something is due, -1: nothing */
/* copy.c: run in a child; the result is its exit code */
int copy_out(const char *path, int out);
int copy_in(const char *path, int in);
extern int copy_owners;             /* copy_in keeps owners and set-uid bits too */
/* main.c */
extern int is_pid1;
extern char other_vmm;              /* the first letter of what the kernel's command line hands us: 0 in QEMU, else one of */
#define VMM_RESETS 'r'              /* one that ends with a reset, and knows no power-off (Firecracker) */
#define VMM_VSOCK 'v'               /* one that leads to us by a vsock, as that one does too (Cloud Hypervisor) */
extern int has_root;                /* boot_root is done */
void announce(void);
void hand_over(char *init);         /* the image's own init becomes PID 1, and we its child */
void stop(int mode, u8 signal, u32 seconds); /* signal and seconds: for a workload */
#endif
