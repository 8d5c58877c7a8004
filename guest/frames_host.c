/* frames_host.c: frames.c as an ordinary program, for its tests. Each line of stdin is a session: pieces of hex,
 * as they might arrive, separated by spaces. For each it prints what the parser made of them, in one line:
 * S<nonce> for a SYNC, F<stream>:<type>:<payload> for a frame, L for a session lost. Built with sanitizers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define SYS_H
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long usize;
#include "frames.c"

static void hex(const u8 *p, u32 n) { while (n--) printf("%02x", *p++); }

static void feed(struct parser *p, const u8 *data, usize n) {
    struct frame f;
    for (;;) switch (parse(p, &data, &n, &f)) {
        case PARSE_MORE: if (!n) return; break;
        case PARSE_SYNC: printf(" S"), hex(p->held + 8, 8); break;
        case PARSE_LOST: printf(" L"); break;
        case PARSE_FRAME: printf(" F%u:%u:", f.stream, f.type), hex(f.payload, f.length); break;
    }
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        struct parser *p = calloc(1, sizeof *p);
        for (char *piece = strtok(line, " \n"); piece; piece = strtok(NULL, " \n")) {
            usize n = strlen(piece) / 2;
            /* A block of exactly this size, so that reading past it is noticed. */
            u8 *bytes = malloc(n);
            for (usize i = 0; i < n; i++) {
                unsigned value;
                sscanf(piece + 2 * i, "%2x", &value);
                bytes[i] = value;
            }
            feed(p, bytes, n);
            free(bytes);
        }
        free(p);
        printf("\n");
    }
    free(line);
    return 0;
}
