/* Threads that run one function together, and the barrier they meet at. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

typedef struct Pool Pool;
typedef void Work(void *argument, int thread);

struct Pool {
    int threads;
    Work *work;
    void *argument;
    _Atomic int next;       /* the next free work item of this phase */
    _Atomic int arrived;    /* threads waiting at the barrier */
    _Atomic int sleeping;   /* of them, how many gave up spinning */
    _Atomic unsigned phase; /* counts barriers passed */
    _Atomic int stop;
    pthread_mutex_t lock;
    pthread_cond_t passed;
    pthread_t handles[];
};

Pool *pool_start(int threads, Work *work, void *argument);
void pool_run(Pool *pool);
void pool_stop(Pool *pool);
void pool_barrier(Pool *pool);

/* Work items of a phase are taken one by one, so that a thread which the system runs slowly takes fewer.
 * The count starts again at each barrier. */
static inline int pool_take(Pool *pool) { return atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed); }
