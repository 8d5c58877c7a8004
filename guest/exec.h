/* exec.h: starting one child for a stream. */
#ifndef EXEC_H
#define EXEC_H
#include "frames.h"
/* A terminal is one descriptor in both in and out. -1: that stream is not wanted. */
struct child { int pid, in, out, err, tty; };
/* f is an EXEC, RUN, READ or WRITE frame. 0, or -errno with nothing started. */
i64 exec_start(struct frame *f, struct child *c);
#endif
