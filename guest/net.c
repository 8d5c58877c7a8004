/* net.c: a machine's addresses and routes, set through the classic ioctls (netdevice(7)). */
#include "init.h"

/* linux/if.h and linux/route.h pull in a C library, so the three things needed of them stand here. */
#define IFF_UP 1
struct sockaddr { u16 family; char data[14]; };
struct rtentry { u64 pad1; struct sockaddr rt_dst, rt_gateway, rt_genmask; u16 rt_flags; u16 pad2; u64 pad3; void *pad4; u16 rt_metric; char *rt_dev; u64 rt_mtu, rt_window; u16 rt_irtt; };
struct request { char name[16]; union { struct sockaddr_in address; short flags; int index; char pad[24]; }; };

static int set4(int fd, int what, const u8 *address) {
    struct request r = {.name = "eth0", .address = {.sin_family = AF_INET}};
    memcpy(&r.address.sin_addr, address, 4);
    return S3(ioctl, fd, what, &r);
}

static int set_up(int fd, const char *name, int on) {
    struct request r = {0};
    append(r.name, sizeof r.name, name);
    i64 e = S3(ioctl, fd, SIOCGIFFLAGS, &r);
    if (e < 0) return e;
    r.flags = (r.flags & ~IFF_UP) | on;
    return S3(ioctl, fd, SIOCSIFFLAGS, &r);
}

/* A machine made from a template has that one's address until it hears of its own. A driver may refuse the same again while it is up. */
static i64 set_mac(int fd, const u8 *mac) {
    struct request r = {.name = "eth0"};
    struct sockaddr *address = (void *)&r.address;
    i64 e = S3(ioctl, fd, SIOCGIFHWADDR, &r);
    if (e < 0 || !memcmp(address->data, mac, 6)) return e;
    memcpy(address->data, mac, 6);
    return S3(ioctl, fd, SIOCSIFHWADDR, &r);
}

/* Its IPv6 addresses and all routes go with it. */
void net_down(void) {
    int fd = S3(socket, AF_INET, SOCK_DGRAM_, 0);
    set_up(fd, "eth0", 0);
    set4(fd, SIOCSIFADDR, (u8[4]){0});
    S1(close, fd);
}

/* Loopback and eth0 up. Addresses are unique by construction, so duplicate detection would only cost a second. */
i64 net_up(const u8 *mac) {
    put_text("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0");
    put_text("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0");
    int fd = S3(socket, AF_INET, SOCK_DGRAM_, 0);
    if (fd < 0) return fd;
    set_up(fd, "lo", IFF_UP);
    i64 e = set_mac(fd, mac);
    if (e >= 0) e = set_up(fd, "eth0", IFF_UP);
    S1(close, fd);
    return e;
}

/* address: 4 bytes, then the prefix length in bits. */
i64 net_address4(const u8 *a) {
    int fd = S3(socket, AF_INET, SOCK_DGRAM_, 0);
    u32 mask = a[4] ? ~0u << (32 - a[4]) : 0;
    u8 bytes[4] = {mask >> 24, mask >> 16, mask >> 8, mask};
    i64 e = set4(fd, SIOCSIFADDR, a);
    if (e >= 0) e = set4(fd, SIOCSIFNETMASK, bytes);
    S1(close, fd);
    return e;
}

i64 net_gateway4(const u8 *gateway) {
    struct rtentry route = {.rt_flags = RTF_UP_ | RTF_GATEWAY_};
    struct sockaddr_in *to = (void *)&route.rt_dst, *by = (void *)&route.rt_gateway, *mask = (void *)&route.rt_genmask;
    to->sin_family = by->sin_family = mask->sin_family = AF_INET;
    memcpy(&by->sin_addr, gateway, 4);
    int fd = S3(socket, AF_INET, SOCK_DGRAM_, 0);
    i64 e = S3(ioctl, fd, SIOCADDRT, &route);
    S1(close, fd);
    return e == -EEXIST ? 0 : e;
}

static int index_of_eth0(int fd) {
    struct request r = {.name = "eth0"};
    i64 e = S3(ioctl, fd, SIOCGIFINDEX, &r);
    return e < 0 ? e : r.index;
}

/* address: 16 bytes, then the prefix length in bits. */
i64 net_address6(const u8 *a) {
    int fd = S3(socket, AF_INET6, SOCK_DGRAM_, 0);
    struct in6_ifreq r = {.ifr6_prefixlen = a[16], .ifr6_ifindex = index_of_eth0(fd)};
    memcpy(&r.ifr6_addr, a, 16);
    i64 e = S3(ioctl, fd, SIOCSIFADDR, &r);
    S1(close, fd);
    return e == -EEXIST ? 0 : e;
}

i64 net_gateway6(const u8 *gateway) {
    int fd = S3(socket, AF_INET6, SOCK_DGRAM_, 0);
    struct in6_rtmsg r = {.rtmsg_metric = 1, .rtmsg_flags = RTF_UP_ | RTF_GATEWAY_, .rtmsg_ifindex = index_of_eth0(fd)};
    memcpy(&r.rtmsg_gateway, gateway, 16);
    i64 e = S3(ioctl, fd, SIOCADDRT, &r);
    S1(close, fd);
    return e == -EEXIST ? 0 : e;
}
