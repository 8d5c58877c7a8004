/* frames.h: the byte protocol between init in a machine and the agent on its host.
 *
 * It runs over one reliable byte stream (a virtio-serial port named "hyperlane.0").
 * The TypeScript side is contract/wire/frames.ts; both are held to the same vectors,
 * contract/wire/frames.vectors.json. All integers are little-endian.
 *
 *   frame   := length:u32 stream:u32 type:u8 zero:u8[3] payload:u8[length]     length <= 32768
 *   SYNC    := 8 bytes "\xFF" "HLSYNC1" then nonce:u8[8]
 *
 * SYNC. The host may vanish in the middle of a frame and come back. On every connect it sends
 * FRAME_MAX + 24 zero bytes, then SYNC. Zeros finish whatever frame was cut off; a zero header is
 * no valid frame, so the guest falls into its scanning state, drops all streams, finds SYNC and
 * answers with the same 16 bytes. The host drops what comes before that answer. Any malformed
 * frame puts the guest into the scanning state as well.
 *
 * STREAMS. Each request is a stream, its number chosen by the host, never 0, reused only after EXIT.
 * It begins with a request frame and ends with one EXIT from the guest. Stream 0 carries READY.
 *
 *   host -> guest                                guest -> host
 *    1 EXEC    flags:u8 rows:u16 cols:u16         16 STDOUT  bytes
 *              then strings, see below            17 STDERR  bytes
 *    2 STDIN   bytes                              18 EXIT    kind:u8 value:u8 then text
 *    3 EOF     stdin ends                         19 CREDIT  bytes:u32, stdin room made
 *    4 CREDIT  bytes:u32, output room made        20 READY   stage:u8, 0 it waits for its first CONFIG or boots on, 1 it is up
 *    5 SIGNAL  number:u8
 *    6 RESIZE  rows:u16 cols:u16
 *    7 CONFIG  records, see config.c
 *    8 STOP    mode:u8 (0 power off, 1 reboot) signal:u8 seconds:u16, both for a workload
 *    9 FREEZE  mode:u8 (1 freeze the writable layer, 0 thaw, 2 all stands still until the next CONFIG, 3 rehearse, see still.c)
 *   10 STATS   nothing, or one byte: 1 its processes, 2 its open connections
 *   11 READ    path: send it as a tar stream
 *   12 WRITE   path NUL: unpack a tar stream there; "owners" NUL after it: keep its owners
 *   13 RUN     as EXEC: the workload; its end is the machine's. Answered at once; a second one changes nothing
 *   14 ATTACH  rows:u16 cols:u16, the workload's stdin and terminal; EXIT is the workload's
 *   15 KILL    signal:u8, to the workload
 *
 * EXEC strings, each NUL-terminated: working directory, user, argc as decimal, argv..., env...
 * EXEC flags: 1 a terminal, 2 stdin is used. EXIT kind: 0 exited with code value, 1 killed by signal
 * value, 2 the request failed with errno value. STATS answers on STDOUT with 6 u64: uptime s, RAM total,
 * RAM free (bytes), load 1 min (1/65536), disk total, disk free (bytes); of processes with one record each:
 * length:u32 of what follows, uid:u32, length:u32 of the first text, then /proc/PID/stat and /proc/PID/cmdline (proc(5)).
 * Of connections: how many TCP ones are open or half open to others, u32.
 *
 * WORKLOAD. What it prints goes to the port "hyperlane.log" and not through streams, so that it is kept while
 * nobody is connected. See log.c.
 *
 * CREDIT. Each side may have at most WINDOW bytes unacknowledged per stream and direction (output
 * counts stdout and stderr together), so one slow reader never blocks the others. */
#ifndef FRAMES_H
#define FRAMES_H
#include "sys.h"

#define FRAME_MAX 32768
#define FRAME_HEAD 12
#define WINDOW 65536
#define SYNC_MAGIC "\xFF" "HLSYNC1"

enum { F_EXEC = 1, F_STDIN, F_EOF, F_CREDIT, F_SIGNAL, F_RESIZE, F_CONFIG, F_STOP, F_FREEZE, F_STATS, F_READ, F_WRITE, F_RUN, F_ATTACH, F_KILL,
       F_STDOUT = 16, F_STDERR, F_EXIT, F_CREDIT_BACK, F_READY };
enum { EXEC_TTY = 1, EXEC_STDIN = 2 };
enum { EXIT_CODE = 0, EXIT_SIGNAL = 1, EXIT_ERRNO = 2 };

struct frame { u32 length, stream; u8 type; u8 *payload; };

/* Takes bytes as they come, in pieces of any size, and hands out whole frames. */
struct parser {
    int synced;        /* false: scanning for SYNC */
    u32 have;          /* bytes held */
    u8 held[FRAME_HEAD + FRAME_MAX];
};
enum { PARSE_MORE, PARSE_FRAME, PARSE_SYNC, PARSE_LOST };

/* Consumes from *data, *n bytes. PARSE_FRAME fills f (valid until the next call); PARSE_SYNC leaves the
 * nonce in p->held + 8; PARSE_LOST says that a malformed frame ended the session. */
int parse(struct parser *p, const u8 **data, usize *n, struct frame *f);
u32 get32(const u8 *p);
u16 get16(const u8 *p);
void put32(u8 *p, u32 v);
#endif
