/* Threads that run one function together, phase by phase. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct Pool Pool;
typedef void Work(void *argument, int thread);

/* A number that threads wait to see changed. */
typedef struct {
    _Atomic unsigned value;
    _Atomic int sleepers; /* waiting threads that gave up spinning */
    pthread_cond_t changed;
} Signal;

/* Where a thread is. */
typedef struct {
    _Alignas(64) unsigned phase;
    int taken; /* items of that phase */
    pthread_t handle;
} Member;

struct Pool {
    int threads;
    Work *work;
    void *argument;
    unsigned first_phase;  /* of the run under way */
    _Atomic uint64_t turn; /* the phase under way << 32 | how many of its items are taken */
    _Atomic int done;      /* of its items */
    Signal phase;          /* the phase under way */
    Signal run;            /* odd during one */
    Signal helping;        /* helpers inside the run */
    _Atomic int stop;
    pthread_mutex_t lock;
    Member member[];
};

Pool *pool_start(int threads, Work *work, void *argument);
void pool_run(Pool *pool);
void pool_stop(Pool *pool);

/* Whether the phase that this thread has come to is still under way. */
static inline int pool_in_time(Pool *pool, int thread) {
    return (unsigned)(atomic_load(&pool->turn) >> 32) == pool->member[thread].phase;
}

/* The next free one of this phase's `items`, or -1: a thread that the system runs slowly takes fewer. */
static inline int pool_take(Pool *pool, int thread, int items) {
    Member *member = &pool->member[thread];
    uint64_t turn = atomic_load(&pool->turn);
    do
        if ((unsigned)(turn >> 32) != member->phase || (int)(uint32_t)turn >= items) return -1;
    while (!atomic_compare_exchange_weak(&pool->turn, &turn, turn + 1));
    member->taken++;
    return (int)(uint32_t)turn;
}

/* Ends this thread's part of a phase; returns when all of its `items`, one at least, are done. */
void pool_barrier(Pool *pool, int thread, int items);
