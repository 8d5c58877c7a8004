/* channel.c: what init sends, queued until the host takes it. The queue is bounded: when it is
 * full, children's output waits in their pipes (streams_blocked), and what init itself says fits
 * in the reserve. */
#include "init.h"
#include "channel.h"

static u8 queue[CHANNEL_QUEUE];
static u32 queued;
int channel_fd = -1;

u32 channel_room(void) { return queued + CHANNEL_RESERVE > CHANNEL_QUEUE ? 0 : CHANNEL_QUEUE - CHANNEL_RESERVE - queued; }
int channel_pending(void) { return queued > 0; }
void channel_drop(void) { queued = 0; }

void channel_raw(const void *bytes, u32 n) {
    if (queued + n > CHANNEL_QUEUE) return; /* only a host that has stopped reading gets here, and it will SYNC anew */
    memcpy(queue + queued, bytes, n);
    queued += n;
}

void channel_flush(void) {
    while (queued) {
        i64 n = S3(write, channel_fd, queue, queued);
        if (n <= 0) return;
        memmove(queue, queue + n, queued - n);
        queued -= n;
    }
}

void channel_send(u32 stream, u8 type, const void *payload, u32 length) {
    u8 head[FRAME_HEAD] = {0};
    put32(head, length);
    put32(head + 4, stream);
    head[8] = type;
    if (queued + FRAME_HEAD + length > CHANNEL_QUEUE) return;
    channel_raw(head, FRAME_HEAD);
    channel_raw(payload, length);
    channel_flush();
}

void channel_exit(u32 stream, u8 kind, u8 value, const char *text) {
    u8 payload[256] = {kind, value};
    u32 n = strlen(text);
    if (n > sizeof payload - 2) n = sizeof payload - 2;
    memcpy(payload + 2, text, n);
    channel_send(stream, F_EXIT, payload, n + 2);
}
