/* channel.h: the queue towards the host. */
#ifndef CHANNEL_H
#define CHANNEL_H
#include "frames.h"
#define CHANNEL_RESERVE 32768
#define CHANNEL_QUEUE (131072 + CHANNEL_RESERVE)
extern int channel_fd;
int channel_pending(void);
void channel_drop(void);
void channel_raw(const void *bytes, u32 n);
void channel_flush(void);
#endif
