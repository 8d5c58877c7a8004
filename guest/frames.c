/* frames.c: bytes in, whole frames out. See frames.h for the format. No system calls. */
#include "frames.h"

u16 get16(const u8 *p) { return p[0] | p[1] << 8; }
u32 get32(const u8 *p) { return get16(p) | (u32)get16(p + 2) << 16; }
void put32(u8 *p, u32 v) { p[0] = v, p[1] = v >> 8, p[2] = v >> 16, p[3] = v >> 24; }

static int known(u8 type) { return type >= F_EXEC && type <= F_KILL; }

static int scan(struct parser *p, const u8 **data, usize *n) {
    while (*n) {
        u8 byte = *(*data)++;
        --*n;
        p->held[p->have++] = byte;
        /* 0xFF stands only at the start of the magic, so a mismatch can begin a new one only there. */
        if (p->have <= 8 && byte != (u8)SYNC_MAGIC[p->have - 1]) p->held[0] = byte, p->have = byte == 0xFF;
        if (p->have == 16) {
            p->synced = 1, p->have = 0;
            return PARSE_SYNC;
        }
    }
    return PARSE_MORE;
}

static void take(struct parser *p, u32 upto, const u8 **data, usize *n) {
    u32 want = upto > p->have ? upto - p->have : 0;
    if (want > *n) want = *n;
    memcpy(p->held + p->have, *data, want);
    p->have += want, *data += want, *n -= want;
}

int parse(struct parser *p, const u8 **data, usize *n, struct frame *f) {
    if (!p->synced) return scan(p, data, n);
    take(p, FRAME_HEAD, data, n);
    if (p->have < FRAME_HEAD) return PARSE_MORE;
    u32 length = get32(p->held);
    if (length > FRAME_MAX || !known(p->held[8]) || get32(p->held + 4) == 0 || p->held[9] | p->held[10] | p->held[11]) {
        p->synced = 0, p->have = 0;
        return PARSE_LOST;
    }
    take(p, FRAME_HEAD + length, data, n);
    if (p->have < FRAME_HEAD + length) return PARSE_MORE;
    *f = (struct frame){length, get32(p->held + 4), p->held[8], p->held + FRAME_HEAD};
    p->have = 0;
    return PARSE_FRAME;
}
