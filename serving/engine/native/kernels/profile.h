/* What threads spend their time on. Only a library built with -DPROFILE counts; in any other nothing of
 * this is left. */
#pragma once
#include <stdint.h>

typedef enum { IDLE, BEGIN, QUANTIZE, QKV, ATTENTION, OUT, GATE_UP, DOWN, HEAD, SAMPLE, WAIT, DOINGS } Doing;

#ifdef PROFILE
void now_doing(Doing doing);                  /* of the thread that calls it, until it says otherwise */
void take_profile(int64_t nanoseconds[DOINGS]); /* all threads' together since it was last taken */
#else
static inline void now_doing(Doing doing) { (void)doing; }
#endif
