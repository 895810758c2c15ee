/* A phase ends when its work items are done, whoever did them: a helper that the system has put aside, for
 * milliseconds where others want the cores too, is waited for only when that was in the middle of an item.
 * When it is back it finds the phases it has missed done, and joins the one under way.
 *
 * Waiting spins for a moment (phases are microseconds apart), then sleeps: an idle pool uses no processor,
 * and a thread that waits for one put aside gives it its own core. It sleeps in naps, for Linux moves that
 * one only to a core that has just become idle, and not in the first half millisecond. */
#include "pool.h"

#include <stdlib.h>
#include <time.h>

#include "profile.h"
#include "vectors.h"

#define SPIN_IN_RUN_NS 30000
#define SPIN_BETWEEN_RUNS_NS 200000
#define NAP_NS 600000
#define SECOND_NS INT64_C(1000000000)

static int64_t nanoseconds(struct timespec t) { return t.tv_sec * SECOND_NS + t.tv_nsec; }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return nanoseconds(t);
}

static void nap(Pool *pool, Signal *signal) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const int64_t end = nanoseconds(t) + NAP_NS;
    t = (struct timespec){end / SECOND_NS, end % SECOND_NS};
    pthread_cond_timedwait(&signal->changed, &pool->lock, &t);
}

/* Returns when the signal is no longer `old`. */
static void await_change(Pool *pool, Signal *signal, unsigned old, int in_run) {
    const int64_t end = now() + (in_run ? SPIN_IN_RUN_NS : SPIN_BETWEEN_RUNS_NS);
    do
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&signal->value, memory_order_acquire) != old) return;
            PAUSE();
        }
    while (now() < end);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&signal->sleepers, 1);
    while (atomic_load(&signal->value) == old)
        if (in_run) nap(pool, signal);
        else pthread_cond_wait(&signal->changed, &pool->lock);
    atomic_fetch_sub(&signal->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* After a change of the value: either a waiting thread sees it, or we see that it sleeps. */
static void wake(Pool *pool, Signal *signal) {
    if (!atomic_load(&signal->sleepers)) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&signal->changed);
    pthread_mutex_unlock(&pool->lock);
}

void pool_barrier(Pool *pool, int thread, int items) {
    Member *member = &pool->member[thread];
    const unsigned phase = member->phase++;
    const int taken = member->taken;
    now_doing(WAIT);
    member->taken = 0;
    if (taken && atomic_fetch_add(&pool->done, taken) + taken == items) {
        atomic_store(&pool->done, 0);
        atomic_store(&pool->turn, (uint64_t)(phase + 1) << 32);
        atomic_store(&pool->phase.value, phase + 1);
        wake(pool, &pool->phase);
    } else
        await_change(pool, &pool->phase, phase, 1);
}

typedef struct { Pool *pool; int thread; } Helper;

static void *help(void *argument) {
    const Helper helper = *(Helper *)argument;
    Pool *pool = helper.pool;
    free(argument);
    for (unsigned run = 0; !atomic_load(&pool->stop);) {
        await_change(pool, &pool->run, run, 0);
        atomic_fetch_add(&pool->helping.value, 1);
        run = atomic_load(&pool->run.value); /* from here on it cannot end without us */
        if (run % 2) {
            pool->member[helper.thread].phase = pool->first_phase;
            pool->work(pool->argument, helper.thread);
        }
        atomic_fetch_sub(&pool->helping.value, 1);
        wake(pool, &pool->helping);
    }
    return NULL;
}

/* NULL when memory or threads cannot be had. */
Pool *pool_start(int threads, Work *work, void *argument) {
    const size_t bytes = sizeof(Pool) + sizeof(Member) * (size_t)threads;
    Pool *pool = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!pool) return NULL;
    memset(pool, 0, bytes);
    pool->threads = threads;
    pool->work = work;
    pool->argument = argument;
    pthread_mutex_init(&pool->lock, NULL);
    Signal *signals[] = {&pool->phase, &pool->run, &pool->helping};
    for (int i = 0; i < 3; i++) pthread_cond_init(&signals[i]->changed, NULL);
    for (int thread = 1; thread < threads; thread++) {
        Helper *helper = malloc(sizeof *helper);
        if (!helper) return NULL;
        *helper = (Helper){pool, thread};
        if (pthread_create(&pool->member[thread].handle, NULL, help, helper)) return NULL;
    }
    return pool;
}

/* Runs work(argument, thread) on all threads that come in time, this one as number 0; returns when all of
 * them have left it. */
void pool_run(Pool *pool) {
    pool->first_phase = pool->member[0].phase;
    atomic_fetch_add(&pool->run.value, 1);
    wake(pool, &pool->run);
    pool->work(pool->argument, 0);
    atomic_fetch_add(&pool->run.value, 1);
    for (unsigned helping; (helping = atomic_load(&pool->helping.value));)
        await_change(pool, &pool->helping, helping, 1);
}

void pool_stop(Pool *pool) {
    atomic_store(&pool->stop, 1);
    atomic_fetch_add(&pool->run.value, 2);
    wake(pool, &pool->run);
    for (int thread = 1; thread < pool->threads; thread++) pthread_join(pool->member[thread].handle, NULL);
    pthread_cond_destroy(&pool->phase.changed);
    pthread_cond_destroy(&pool->run.changed);
    pthread_cond_destroy(&pool->helping.changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
