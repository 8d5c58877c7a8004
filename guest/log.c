/* log.c: what the workload prints, in the CRI's log format (kubernetes.io, "CRI log format"), one record a line:
 *
 *   2026-11-21T04:20:02.123456789Z stdout F a whole line
 *   2026-11-21T04:20:02.123456789Z stderr P the beginning of a line whose end has not come yet
 *   2026-11-21T04:20:03.000000000Z exit F code 3
 *
 * The last is ours: how the workload ended, "code N" or "signal N". It goes to the port "hyperlane.log", behind which the host has a file, so that none of it
 * depends on anybody listening. */
#include "init.h"

static int port = -1;

/* A vsock breaks when the machine goes on in another VMM, and is dialled anew; where nobody is there any more, what it prints is lost. */
static void put(const char *bytes, u32 n) {
    for (u32 tries = 0; n && tries < 500; tries++) {
        if (port < 0) port = log_open();
        i64 written = S3(write, port, bytes, n);
        if (written > 0) bytes += written, n -= written, tries = 0;
        else if (written == -ENOSPC) return;
        else S1(close, port), port = -1, sleep_ms(10);
    }
}

static char *digits(char *at, u32 value, int width) {
    for (int i = width; i--; value /= 10) at[i] = '0' + value % 10;
    return at + width;
}

/* Days since 1970 to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. */
static char *stamp(char *at) {
    struct { i64 seconds, nanoseconds; } t;
    S2(clock_gettime, 0, &t);
    u32 days = t.seconds / 86400 + 719468, second = t.seconds % 86400;
    u32 era = days / 146097, doe = days % 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    u32 doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153, month = mp < 10 ? mp + 3 : mp - 9;
    at = digits(at, yoe + era * 400 + (month <= 2), 4), *at++ = '-';
    at = digits(at, month, 2), *at++ = '-';
    at = digits(at, doy - (153 * mp + 2) / 5 + 1, 2), *at++ = 'T';
    at = digits(at, second / 3600, 2), *at++ = ':';
    at = digits(at, second / 60 % 60, 2), *at++ = ':';
    at = digits(at, second % 60, 2), *at++ = '.';
    at = digits(at, t.nanoseconds, 9), *at++ = 'Z';
    return at;
}

void log_output(int stream, const u8 *data, u32 n) {
    static char out[32768];
    char head[48], *end = stamp(head);
    *end = 0;
    append(end, 10, stream == 2 ? " stderr " : " stdout ");
    u32 length = end - head + 8, used = 0;
    for (u32 from = 0; from < n;) {
        u32 to = from;
        while (to < n && data[to] != '\n') to++;
        u32 size = to - from;
        if (used + length + 3 + size > sizeof out) put(out, used), used = 0;
        memcpy(out + used, head, length);
        memcpy(out + used + length, to < n ? "F " : "P ", 2);
        memcpy(out + used + length + 2, data + from, size);
        used += length + 2 + size;
        out[used++] = '\n';
        from = to + 1;
    }
    put(out, used);
}

void log_exit(int status) {
    char line[96], *end = stamp(line);
    int signal = status & 127;
    *end = 0;
    append(line, sizeof line, " exit F ");
    append(line, sizeof line, signal ? "signal " : "code ");
    append_number(line, sizeof line, signal ? signal : status >> 8);
    append(line, sizeof line, "\n");
    put(line, strlen(line));
    log_closed(port, status);
}
