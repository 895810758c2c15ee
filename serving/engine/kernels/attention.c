/* Online-softmax attention (Milakov & Gimelshein 2018; FlashAttention, Dao et al. 2022) over paged keys and
 * values, 64 tokens at a time. A row meets the tokens in one fixed order, and masked tokens add exact
 * zeros, so its result does not depend on the rows it shares loads with. */
#include "attention.h"

#define STEP 64
#define TILES (STEP / SLOTS)

INLINE uint16_t *tile_at(const LayerCache *c, const int32_t *blocks, int kv_head, int position) {
    const int tiles = c->block_size / SLOTS, in_block = position % c->block_size / SLOTS;
    const int64_t head = (int64_t)blocks[position / c->block_size] * c->kv_heads + kv_head;
    return c->memory + (head * tiles + in_block) * (2 * SLOTS * c->head_dim);
}

void cache_write(const LayerCache *c, const int32_t *blocks, int kv_head, int position, const float *key,
                 const float *value) {
    uint16_t *keys = tile_at(c, blocks, kv_head, position), *values = keys + SLOTS * c->head_dim;
    const int slot = position % SLOTS;
    for (int d = 0; d < c->head_dim; d++) {
        keys[(d / 2 * SLOTS + slot) * 2 + d % 2] = (uint16_t)to_bf16(key[d]);
        values[(slot / 2 * c->head_dim + d) * 2 + slot % 2] = (uint16_t)to_bf16(value[d]);
    }
}

/* What one call keeps for its rows. */
typedef struct {
    _Alignas(64) uint32_t queries[QUERY_ROWS][MAX_HEAD / 2]; /* bfloat16 pairs */
    float scores[QUERY_ROWS][STEP];
    uint32_t weights[QUERY_ROWS][STEP / 2]; /* bfloat16 pairs */
    float out[QUERY_ROWS][MAX_HEAD];
    float peak[QUERY_ROWS], total[QUERY_ROWS], shrink[QUERY_ROWS];
    const uint16_t *tiles[TILES];
} Rows;

/* `rows` and `wide` (tiles computed at once) are constants where this is inlined. */
INLINE void score(const int rows, const int wide, int head_dim, Rows *r) {
    for (int tile = 0; tile < TILES; tile += wide) {
        f32x16 sums[QUERY_ROWS];
        UNROLL for (int i = 0; i < rows * wide; i++) sums[i] = (f32x16){0};
        for (int pair = 0; pair < head_dim / 2; pair++)
            UNROLL for (int t = 0; t < wide; t++) {
                u32x16 keys;
                memcpy(&keys, r->tiles[tile + t] + pair * SLOTS * 2, sizeof keys);
                UNROLL for (int row = 0; row < rows; row++)
                    sums[row * wide + t] = dot_pairs(sums[row * wide + t], keys, r->queries[row][pair]);
            }
        UNROLL for (int row = 0; row < rows; row++)
            UNROLL for (int t = 0; t < wide; t++) store(r->scores[row] + (tile + t) * SLOTS, sums[row * wide + t]);
    }
}

INLINE void add_values(const int rows, const int wide, int head_dim, Rows *r) {
    for (int d = 0; d < head_dim; d += wide * LANES) {
        f32x16 sums[QUERY_ROWS];
        UNROLL for (int row = 0; row < rows; row++)
            UNROLL for (int v = 0; v < wide; v++)
                sums[row * wide + v] = load(r->out[row] + d + v * LANES) * r->shrink[row];
        for (int pair = 0; pair < STEP / 2; pair++) {
            const uint16_t *values = r->tiles[pair / (SLOTS / 2)] + SLOTS * head_dim
                                     + (pair % (SLOTS / 2) * head_dim + d) * 2;
            UNROLL for (int v = 0; v < wide; v++) {
                u32x16 both;
                memcpy(&both, values + v * LANES * 2, sizeof both);
                UNROLL for (int row = 0; row < rows; row++)
                    sums[row * wide + v] = dot_pairs(sums[row * wide + v], both, r->weights[row][pair]);
            }
        }
        UNROLL for (int row = 0; row < rows; row++)
            UNROLL for (int v = 0; v < wide; v++) store(r->out[row] + d + v * LANES, sums[row * wide + v]);
    }
}

/* Turns a row's scores of tokens start.. into weights; those after `position` weigh nothing. */
INLINE void soften(Rows *r, int row, int start, int position) {
    const i32x16 index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const f32x16 never = splat(-INFINITY);
    f32x16 s[TILES], peak = splat(r->peak[row]), total = {0};
    for (int t = 0; t < TILES; t++) {
        const i32x16 seen = index + (start + t * SLOTS) <= position;
        s[t] = (f32x16)(((i32x16)load(r->scores[row] + t * SLOTS) & seen) | ((i32x16)never & ~seen));
        peak = max16(peak, s[t]);
    }
    const float highest = largest16(peak);
    r->shrink[row] = exp2_16(splat(r->peak[row] - highest))[0];
    r->peak[row] = highest;
    for (int t = 0; t < TILES; t++) {
        const f32x16 weight = exp2_16(s[t] - highest);
        const u16x16 half = to_bf16_16(weight);
        total += weight;
        memcpy((uint16_t *)r->weights[row] + t * SLOTS, &half, sizeof half);
    }
    r->total[row] = r->total[row] * r->shrink[row] + sum16(total);
}

/* All rows over all tokens. Row i is query i / group. */
INLINE void attend_rows(const int rows, const LayerCache *c, const int32_t *blocks, int kv_head, int first,
                        int count, int group, Rows *r) {
    const int end = first + count;
    for (int start = 0; start < end; start += STEP) {
        for (int t = 0; t < TILES; t++) { /* past the end: any tile, its scores are masked */
            const int position = start + t * SLOTS;
            r->tiles[t] = tile_at(c, blocks, kv_head, position < end ? position : start);
        }
        if (rows <= 6) score(rows, 4, c->head_dim, r);
        else score(rows, 1, c->head_dim, r);
        for (int row = 0; row < rows; row++) soften(r, row, start, first + row / group);
        if (rows <= 6 && c->head_dim % 64 == 0) add_values(rows, 4, c->head_dim, r);
        else add_values(rows, 1, c->head_dim, r);
    }
}

typedef void RowsKernel(const LayerCache *, const int32_t *, int, int, int, int, Rows *);

#define ROWS_KERNEL(ROWS)                                                                                 \
    static void rows_##ROWS(const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count, \
                            int group, Rows *r) {                                                         \
        attend_rows(ROWS, c, blocks, kv_head, first, count, group, r);                                    \
    }
ROWS_KERNEL(1) ROWS_KERNEL(2) ROWS_KERNEL(3) ROWS_KERNEL(4) ROWS_KERNEL(6) ROWS_KERNEL(8) ROWS_KERNEL(12)
ROWS_KERNEL(16) ROWS_KERNEL(24)

/* The smallest kernel for so many rows; spare rows repeat the last one and are not read. */
static RowsKernel *kernel_for(int *rows) {
    static const struct { int rows; RowsKernel *run; } kernels[] = {
        {1, rows_1}, {2, rows_2}, {3, rows_3}, {4, rows_4}, {6, rows_6},
        {8, rows_8}, {12, rows_12}, {16, rows_16}, {24, rows_24},
    };
    int i = 0;
    while (kernels[i].rows < *rows) i++;
    *rows = kernels[i].rows;
    return kernels[i].run;
}

static void begin_row(Rows *r, int row, const float *query, int head_dim) {
    for (int d = 0; d < head_dim; d += 2)
        r->queries[row][d / 2] = to_bf16(query[d]) | to_bf16(query[d + 1]) << 16;
    memset(r->out[row], 0, (size_t)head_dim * sizeof(float));
    r->peak[row] = -1e30f;
    r->total[row] = 0;
}

static void attend_heads(const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count,
                         int group, const float *queries, int query_stride, float *out, int out_stride) {
    Rows r;
    const int rows = count * group, dim = c->head_dim;
    int padded = rows;
    RowsKernel *kernel = kernel_for(&padded);
    for (int row = 0; row < padded; row++) {
        const int source = row < rows ? row : rows - 1;
        begin_row(&r, row, queries + (int64_t)(source / group) * query_stride + source % group * dim, dim);
    }
    kernel(c, blocks, kv_head, first, count, group, &r);
    for (int row = 0; row < rows; row++) {
        float *to = out + (int64_t)(row / group) * out_stride + row % group * dim;
        const float share = 1.0f / r.total[row];
        for (int d = 0; d < dim; d += LANES) store(to + d, load(r.out[row] + d) * share);
    }
}

void attend(const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count, int group,
            const float *queries, int query_stride, float *out, int out_stride) {
    for (int head = 0; head < group; head += QUERY_ROWS) {
        const int heads = group - head < QUERY_ROWS ? group - head : QUERY_ROWS, skip = head * c->head_dim;
        attend_heads(c, blocks, kv_head, first, count, heads, queries + skip, query_stride, out + skip,
                     out_stride);
    }
}
