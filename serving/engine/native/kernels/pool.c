/* The whole pool is one barrier: helpers wait at it between runs, and everybody meets there between the
 * phases of a run. Waiting spins for a moment (phases are microseconds apart), then sleeps: an idle pool
 * uses no processor, and a thread that waits for one the system has put aside gives it its own core. */
#include "pool.h"

#include <stdlib.h>
#include <time.h>

#include "vectors.h"

#define SPIN_IN_RUN_NS 30000
#define SPIN_BETWEEN_RUNS_NS 200000

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int spun_past(Pool *pool, unsigned phase, int64_t spin_ns) {
    const int64_t end = now() + spin_ns;
    do
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool->phase, memory_order_acquire) != phase) return 1;
            PAUSE();
        }
    while (now() < end);
    return 0;
}

static void wait_for(Pool *pool, int64_t spin_ns) {
    const unsigned phase = atomic_load(&pool->phase);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == pool->threads) {
        atomic_store(&pool->arrived, 0);
        atomic_store(&pool->next, 0);
        atomic_store(&pool->phase, phase + 1);
        if (atomic_load(&pool->sleeping)) { /* either it sees the new phase, or we see it asleep */
            pthread_mutex_lock(&pool->lock);
            pthread_cond_broadcast(&pool->passed);
            pthread_mutex_unlock(&pool->lock);
        }
        return;
    }
    if (spun_past(pool, phase, spin_ns)) return;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->phase) == phase) pthread_cond_wait(&pool->passed, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
}

void pool_barrier(Pool *pool) {
    if (pool->threads > 1) wait_for(pool, SPIN_IN_RUN_NS);
    else atomic_store(&pool->next, 0);
}

typedef struct { Pool *pool; int thread; } Helper;

static void *help(void *argument) {
    const Helper helper = *(Helper *)argument;
    free(argument);
    for (;;) {
        wait_for(helper.pool, SPIN_BETWEEN_RUNS_NS);
        if (atomic_load(&helper.pool->stop)) return NULL;
        helper.pool->work(helper.pool->argument, helper.thread);
    }
}

/* NULL when memory or threads cannot be had. */
Pool *pool_start(int threads, Work *work, void *argument) {
    Pool *pool = calloc(1, sizeof *pool + sizeof(pthread_t) * (size_t)threads);
    if (!pool) return NULL;
    *pool = (Pool){.threads = 1, .work = work, .argument = argument};
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->passed, NULL);
    pool->threads = threads;
    for (int thread = 1; thread < threads; thread++) {
        Helper *helper = malloc(sizeof *helper);
        if (!helper) return NULL;
        *helper = (Helper){pool, thread};
        if (pthread_create(&pool->handles[thread], NULL, help, helper)) return NULL;
    }
    return pool;
}

/* Runs work(argument, thread) on all threads, this one as number 0; returns when all are done, provided
 * that the work ends with a barrier. */
void pool_run(Pool *pool) {
    pool_barrier(pool);
    pool->work(pool->argument, 0);
}

void pool_stop(Pool *pool) {
    atomic_store(&pool->stop, 1);
    pool_barrier(pool);
    for (int thread = 1; thread < pool->threads; thread++) pthread_join(pool->handles[thread], NULL);
    pthread_cond_destroy(&pool->passed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
