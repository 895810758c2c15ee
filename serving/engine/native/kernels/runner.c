/* What a Runner owns, and the one call that Python makes for each step. */
#include <stdlib.h>

#include "model.h"

static int larger(int a, int b) { return a > b ? a : b; }
static int padded(int n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }
static void *reserve(int64_t bytes) { return aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64); }

static int widest_input(const Model *m) {
    return larger(m->hidden, larger(m->intermediate, m->heads * m->head_dim));
}

static int make_own(Runner *r) {
    const Model *m = r->model;
    const int widest = widest_input(m);
    for (int i = 0; i < r->threads; i++) {
        Own *own = &r->own[i];
        own->block = reserve((int64_t)widest * BLOCK);
        own->row = reserve((int64_t)m->hidden * (int64_t)sizeof(float));
        own->few = reserve(activation_bytes(ALONE_ROWS, widest));
        if (!own->block || !own->row || !own->few) return 0;
    }
    return 1;
}

/* NULL when memory or threads cannot be had. The model must outlive the runner. */
Runner *runner_new(const Model *model, int threads) {
    Runner *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->model = model;
    r->threads = threads;
    r->qkv_width = padded((model->heads + 2 * model->kv_heads) * model->head_dim);
    r->logits_width = padded(model->vocabulary);
    r->own = calloc((size_t)threads, sizeof *r->own);
    r->logits = reserve((int64_t)HEAD_ROWS * r->logits_width * (int64_t)sizeof(float));
    if (r->own && r->logits && make_own(r)) r->pool = pool_start(threads, forward, r);
    if (r->pool) return r;
    runner_free(r);
    return NULL;
}

/* `memory` has room for layers x blocks x block_size tokens' keys and values, and is all zeros. */
void runner_set_cache(Runner *r, uint16_t *memory, int blocks, int block_size) {
    r->cache = memory;
    r->cache_blocks = blocks;
    r->block_size = block_size;
}

static void free_buffers(Runner *r) {
    void *buffers[] = {r->positions, r->slice_of, r->sampled_rows, r->x, r->qkv, r->mixed, r->gated, r->angles,
                       r->activations};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]);
    r->capacity = 0;
}

static int make_buffers(Runner *r, int rows) {
    const Model *m = r->model;
    if (rows <= r->capacity) return 1;
    free_buffers(r);
    const int64_t floats = (int64_t)rows * (int64_t)sizeof(float);
    r->positions = reserve(floats);
    r->slice_of = reserve(floats);
    r->sampled_rows = reserve(floats);
    r->x = reserve(floats * m->hidden);
    r->qkv = reserve(floats * r->qkv_width);
    r->mixed = reserve(floats * m->heads * m->head_dim);
    r->gated = reserve(floats * m->intermediate);
    r->angles = reserve(floats * m->head_dim);
    r->activations = reserve(activation_bytes(rows, widest_input(m)));
    if (!r->positions || !r->slice_of || !r->sampled_rows || !r->x || !r->qkv || !r->mixed || !r->gated || !r->angles ||
        !r->activations)
        return 0;
    r->capacity = rows;
    return 1;
}

/* Whether row `at` of a slice is of use beyond the cache. */
static int needs_logits(const Slice *s, int at) {
    const Report *report = &s->report;
    return (s->samples && at == s->length - 1) || (at >= report->first && at < report->first + report->count);
}

static void index_rows(Runner *r, const Batch *b) {
    int row = 0;
    r->sampled = r->pooled = 0;
    for (int i = 0; i < b->slices; i++) {
        r->pooled += b->slice[i].pooled.count > 0;
        for (int j = 0; j < b->slice[i].length; j++, row++) {
            r->slice_of[row] = i;
            r->positions[row] = b->slice[i].start + j;
            if (b->logits || needs_logits(&b->slice[i], j)) r->sampled_rows[r->sampled++] = row;
        }
    }
}

int runner_run(Runner *r, Batch *batch) {
    if (!make_buffers(r, batch->rows)) return -1;
    r->batch = batch;
    index_rows(r, batch);
    pool_run(r->pool);
    return 0;
}

void runner_free(Runner *r) {
    if (r->pool) pool_stop(r->pool);
    for (int i = 0; r->own && i < r->threads; i++) {
        free(r->own[i].block);
        free(r->own[i].row);
        free(r->own[i].few);
    }
    free_buffers(r);
    free(r->logits);
    free(r->own);
    free(r);
}
