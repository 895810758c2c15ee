/* One step of the model: every thread runs forward() and meets the others at barriers. */
#include "model.h"

#include "profile.h"

#define LOG2_E 1.44269504f

static const float *normalised(const Model *m, const float *x, const float *weight, float *to) {
    f32x16 squares = {0};
    for (int i = 0; i < m->hidden; i += LANES) squares = fma16(load(x + i), load(x + i), squares);
    const float scale = 1.0f / sqrtf(sum16(squares) / (float)m->hidden + m->epsilon);
    for (int i = 0; i < m->hidden; i += LANES) store(to + i, load(x + i) * scale * load(weight + i));
    return to;
}

static void prepare_row(Runner *r, const Activations *a, int row, const float *x, const float *norm, Own *own) {
    quantize_row(a, row, norm ? normalised(r->model, x, norm, own->row) : x);
}

/* Quantizes rows of `x` (rows[i] if given), normalised first if `norm` is given. */
static Activations prepare(Runner *r, int thread, const float *x, int stride, const int32_t *rows, int count,
                           int inputs, const float *norm) {
    Own *own = &r->own[thread];
    const int alone = count <= ALONE_ROWS;
    const Activations a = activations_at(alone ? own->few : r->activations, count, inputs);
    now_doing(QUANTIZE);
    if (alone) {
        for (int i = 0; i < count && pool_in_time(r->pool, thread); i++)
            prepare_row(r, &a, i, x + (int64_t)(rows ? rows[i] : i) * stride, norm, own);
        return a;
    }
    for (int i; (i = pool_take(r->pool, thread, count)) >= 0;)
        prepare_row(r, &a, i, x + (int64_t)(rows ? rows[i] : i) * stride, norm, own);
    pool_barrier(r->pool, thread, count);
    return a;
}

/* Blocks x spans of tiles are the work items: enough of them that all threads end together. */
static void multiply(Runner *r, int thread, Doing which, const Matrix *m, const Activations *a, float *out, int stride,
                     Into into) {
    const int blocks = blocks_of(m), tiles = tiles_of(a);
    const int wanted = (8 * r->pool->threads + blocks - 1) / blocks, spans = wanted < tiles ? wanted : tiles;
    const int items = blocks * spans;
    now_doing(which);
    /* The next item is taken before this one is done, so that its weights can be on their way. */
    for (int item = pool_take(r->pool, thread, items), next; item >= 0; item = next) {
        next = pool_take(r->pool, thread, items);
        const int block = item / spans, span = item % spans, after = next >= 0 ? next / spans : block;
        multiply_block(m, block, after, a, span * tiles / spans, (span + 1) * tiles / spans, r->own[thread].block, out,
                       stride, into);
    }
    pool_barrier(r->pool, thread, items);
}

static void begin_rows(Runner *r, int thread) {
    const Model *m = r->model;
    const int half = m->head_dim / 2;
    now_doing(BEGIN);
    for (int row; (row = pool_take(r->pool, thread, r->batch->rows)) >= 0;) {
        matrix_row(&m->embedding, r->batch->tokens[row], r->x + (int64_t)row * m->hidden);
        float *angles = r->angles + (int64_t)row * m->head_dim;
        for (int i = 0; i < half; i++) {
            const float angle = (float)r->positions[row] * m->frequencies[i];
            angles[i] = cosf(angle) * m->attention_scaling;
            angles[half + i] = sinf(angle) * m->attention_scaling;
        }
    }
    pool_barrier(r->pool, thread, r->batch->rows);
}

/* Normalises (if asked) and rotates one head in place; halves of the head are the pairs, as in transformers. */
static void turn_head(const Model *m, float *head, const float *angles, const float *norm, float scale) {
    const int half = m->head_dim / 2;
    if (norm) {
        float squares = 0;
        for (int i = 0; i < m->head_dim; i++) squares += head[i] * head[i];
        const float root = 1.0f / sqrtf(squares / (float)m->head_dim + m->epsilon);
        for (int i = 0; i < m->head_dim; i++) head[i] *= root * norm[i];
    }
    for (int i = 0; i < half; i++) {
        const float a = head[i] * scale, b = head[half + i] * scale;
        head[i] = a * angles[i] - b * angles[half + i];
        head[half + i] = b * angles[i] + a * angles[half + i];
    }
}

static LayerCache layer_cache(const Runner *r, int layer) {
    const Model *m = r->model;
    const int64_t elements = (int64_t)r->cache_blocks * r->block_size * m->kv_heads * m->head_dim * 2;
    return (LayerCache){r->cache + layer * elements, r->block_size, m->kv_heads, m->head_dim};
}

/* Rotates a row's queries and key of one kv head and puts key and value into the cache. */
static void place(Runner *r, const Layer *layer, const LayerCache *cache, int row, int kv_head) {
    const Model *m = r->model;
    const int dim = m->head_dim, group = m->heads / m->kv_heads;
    float *qkv = r->qkv + (int64_t)row * r->qkv_width;
    float *key = qkv + (m->heads + kv_head) * dim, *value = key + m->kv_heads * dim;
    const float *angles = r->angles + (int64_t)row * dim;
    for (int h = kv_head * group; h < (kv_head + 1) * group; h++)
        turn_head(m, qkv + h * dim, angles, layer->query_norm, LOG2_E / sqrtf((float)dim));
    turn_head(m, key, angles, layer->key_norm, 1.0f);
    cache_write(cache, r->batch->slice[r->slice_of[row]].blocks, kv_head, r->positions[row], key, value);
}

static int queries_at_once(const Model *m) {
    const int queries = QUERY_ROWS * m->kv_heads / m->heads;
    return queries > 1 ? queries : 1;
}

/* Attention of queries [first, first + count) of a slice whose rows begin at `row`. */
static void attend_part(Runner *r, const LayerCache *cache, const Slice *s, int row, int kv_head, int first, int count) {
    const Model *m = r->model;
    const int group = m->heads / m->kv_heads, width = m->heads * m->head_dim, skip = kv_head * group * m->head_dim;
    attend(cache, s->blocks, kv_head, s->start + first, count, group,
           r->qkv + (int64_t)(row + first) * r->qkv_width + skip, r->qkv_width,
           r->mixed + (int64_t)(row + first) * width + skip, width);
}

static int parts_of(const Slice *s, int at_once) { return (s->length + at_once - 1) / at_once; }

static int attention_items(const Runner *r, int at_once) {
    int parts = 0;
    for (int i = 0; i < r->batch->slices; i++) parts += parts_of(&r->batch->slice[i], at_once);
    return parts * r->model->kv_heads;
}

/* Work items are kv heads of parts of slices. A slice of one token needs nobody else's keys, so that it is
 * placed and attended in one go; longer ones are placed in a phase before. */
static void attention(Runner *r, int thread, const Layer *layer, const LayerCache *cache) {
    const int kv_heads = r->model->kv_heads, at_once = queries_at_once(r->model);
    const int all = attention_items(r, at_once);
    now_doing(ATTENTION);
    int item = pool_take(r->pool, thread, all), base = 0, row = 0;
    for (int i = 0; i < r->batch->slices && item >= 0; row += r->batch->slice[i++].length) {
        const Slice *s = &r->batch->slice[i];
        const int parts = parts_of(s, at_once), items = parts * kv_heads;
        for (; item >= 0 && item < base + items; item = pool_take(r->pool, thread, all)) {
            const int kv_head = (item - base) % kv_heads, part = parts - 1 - (item - base) / kv_heads;
            const int first = part * at_once, left = s->length - first;
            if (s->length == 1) place(r, layer, cache, row, kv_head);
            attend_part(r, cache, s, row, kv_head, first, left < at_once ? left : at_once);
        }
        base += items;
    }
    pool_barrier(r->pool, thread, all);
}

static void place_long_slices(Runner *r, int thread, const Layer *layer, const LayerCache *cache) {
    const int kv_heads = r->model->kv_heads, items = r->batch->rows * kv_heads;
    if (r->batch->rows == r->batch->slices) return;
    now_doing(ATTENTION);
    for (int item; (item = pool_take(r->pool, thread, items)) >= 0;) {
        const int row = item / kv_heads;
        if (r->batch->slice[r->slice_of[row]].length > 1) place(r, layer, cache, row, item % kv_heads);
    }
    pool_barrier(r->pool, thread, items);
}

static void run_layer(Runner *r, int thread, const Layer *layer, const LayerCache *cache) {
    const Model *m = r->model;
    const int rows = r->batch->rows, width = m->heads * m->head_dim;
    Activations a = prepare(r, thread, r->x, m->hidden, NULL, rows, m->hidden, layer->attention_norm);
    multiply(r, thread, QKV, &layer->qkv, &a, r->qkv, r->qkv_width, REPLACE);
    place_long_slices(r, thread, layer, cache);
    attention(r, thread, layer, cache);
    a = prepare(r, thread, r->mixed, width, NULL, rows, width, NULL);
    multiply(r, thread, OUT, &layer->out, &a, r->x, m->hidden, ADD);
    a = prepare(r, thread, r->x, m->hidden, NULL, rows, m->hidden, layer->mlp_norm);
    multiply(r, thread, GATE_UP, &layer->gate_up, &a, r->gated, m->intermediate, REPLACE);
    a = prepare(r, thread, r->gated, m->intermediate, NULL, rows, m->intermediate, NULL);
    multiply(r, thread, DOWN, &layer->down, &a, r->x, m->hidden, ADD);
}

static void report(const Slice *s, int at, const int32_t *tokens, const float *logits, int vocabulary) {
    const Report *to = &s->report;
    if (at < to->first || at >= to->first + to->count) return;
    const int32_t last = s->samples ? s->token : to->next, token = at < s->length - 1 ? tokens[at + 1] : last;
    const int64_t place = (int64_t)(at - to->first) * (1 + to->top);
    rank_logprobs(logits, vocabulary, token, to->top, to->ids + place, to->logprobs + place);
}

/* What rows [first, first + count) of those sampled were computed for. */
static void use_logits(Runner *r, int thread, int first, int count) {
    const int vocabulary = r->model->vocabulary;
    now_doing(SAMPLE);
    for (int i; (i = pool_take(r->pool, thread, count)) >= 0;) {
        const int row = r->sampled_rows[first + i];
        Slice *s = &r->batch->slice[r->slice_of[row]];
        const int at = r->positions[row] - s->start;
        const float *logits = r->logits + (int64_t)i * r->logits_width;
        if (r->batch->logits) {
            memcpy(r->batch->logits + (int64_t)row * vocabulary, logits, (size_t)vocabulary * sizeof(float));
            continue;
        }
        if (s->samples && at == s->length - 1) s->token = choose(logits, vocabulary, &s->choice);
        report(s, at, r->batch->tokens + row - at, logits, vocabulary);
    }
    pool_barrier(r->pool, thread, count);
}

/* Rows are added in order by one thread, so that a sum never depends on the others. */
static void sum_hidden(const Runner *r, const Pooled *to, const float *x, Own *own) {
    const Model *m = r->model;
    memset(to->sum, 0, (size_t)m->hidden * sizeof(float));
    for (int row = to->first; row < to->first + to->count; row++) {
        const float *hidden = normalised(m, x + (int64_t)row * m->hidden, m->final_norm, own->row);
        for (int i = 0; i < m->hidden; i += LANES) store(to->sum + i, load(to->sum + i) + load(hidden + i));
    }
}

static void pool_slices(Runner *r, int thread) {
    const int slices = r->batch->slices;
    int item = pool_take(r->pool, thread, slices), row = 0;
    for (int i = 0; i < slices; row += r->batch->slice[i++].length) {
        if (i != item) continue;
        const Pooled *to = &r->batch->slice[i].pooled;
        if (to->count) sum_hidden(r, to, r->x + (int64_t)row * r->model->hidden, &r->own[thread]);
        item = pool_take(r->pool, thread, slices);
    }
    pool_barrier(r->pool, thread, slices);
}

void forward(void *runner, int thread) {
    Runner *r = runner;
    const Model *m = r->model;
    begin_rows(r, thread);
    for (int i = 0; i < m->layers; i++) {
        const LayerCache cache = layer_cache(r, i);
        run_layer(r, thread, &m->layer[i], &cache);
    }
    if (r->pooled) pool_slices(r, thread);
    for (int first = 0; first < r->sampled; first += HEAD_ROWS) {
        const int left = r->sampled - first, count = left < HEAD_ROWS ? left : HEAD_ROWS;
        const Activations a =
            prepare(r, thread, r->x, m->hidden, r->sampled_rows + first, count, m->hidden, m->final_norm);
        multiply(r, thread, HEAD, &m->head, &a, r->logits, r->logits_width, REPLACE);
        use_logits(r, thread, first, count);
    }
    now_doing(IDLE);
}
