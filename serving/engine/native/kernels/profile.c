#include "profile.h"

#ifdef PROFILE
#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t spent[DOINGS];
static _Thread_local int64_t since;
static _Thread_local Doing current;

void now_doing(Doing doing) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const int64_t now = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    if (since) atomic_fetch_add(&spent[current], now - since);
    since = now;
    current = doing;
}

void take_profile(int64_t nanoseconds[DOINGS]) {
    for (int i = 0; i < DOINGS; i++) nanoseconds[i] = atomic_exchange(&spent[i], 0);
}
#endif
