/* Online-softmax attention (Milakov & Gimelshein 2018; FlashAttention, Dao et al. 2022) over paged keys and
 * values, 64 tokens at a time. A row meets the tokens in one fixed order, and masked tokens add exact
 * zeros, so its result does not depend on the rows it shares loads with. */
#include "attention.h"

#define STEP 64
#define TILES (STEP / SLOTS)
#define SLOTTED_ROWS ((QUERY_ROWS + LANES - 1) / LANES * LANES)

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

/* What one call keeps for its rows. Where an inner loop reads down a column, rows are one element longer
 * than they need be: else all its loads would want the same bank of the first-level cache. */
typedef struct {
    _Alignas(64) Pair queries[QUERY_ROWS][MAX_HEAD / 2 + 1];
    Pair weights[QUERY_ROWS][STEP / 2 + 1];
    _Alignas(64) float scores[QUERY_ROWS][STEP];
    float out[QUERY_ROWS][MAX_HEAD];
    f32x16 total[QUERY_ROWS]; /* lane by lane */
    float peak[SLOTTED_ROWS], shrink[SLOTTED_ROWS];
    const uint16_t *tiles[TILES];
} Rows;

/* Rows and vectors of one strip: sums that stay in registers, 24 of them for ten loads, or four in two halves each. */
#if REGISTERS == 32
#define STRIP 6
#define WIDE 4
#else
#define STRIP 4
#define WIDE 1
#endif

/* Scores of rows [first, first + rows) for the tokens of WIDE tiles from `tile` on. */
INLINE void score_tiles(const int rows, Rows *r, int first, int tile, int head_dim) {
    f32x16 sums[STRIP][WIDE];
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int t = 0; t < WIDE; t++) sums[row][t] = (f32x16){0};
    for (int pair = 0; pair < head_dim / 2; pair++) {
        u32x16 keys[WIDE];
        UNROLL for (int t = 0; t < WIDE; t++) memcpy(&keys[t], r->tiles[tile + t] + pair * SLOTS * 2, sizeof keys[t]);
        UNROLL for (int row = 0; row < rows; row++)
            UNROLL for (int t = 0; t < WIDE; t++)
                sums[row][t] = dot_pairs(sums[row][t], keys[t], &r->queries[first + row][pair]);
    }
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int t = 0; t < WIDE; t++) store(r->scores[first + row] + (tile + t) * SLOTS, sums[row][t]);
}

/* Their scores for all 64 tokens. `rows` is a constant where this is inlined. */
INLINE void score(const int rows, Rows *r, int first, int head_dim) {
    for (int tile = 0; tile < TILES; tile += WIDE) score_tiles(rows, r, first, tile, head_dim);
}

/* Adds 64 tokens' values to `wide` vectors, from dimension `d` on, of rows [first, first + rows). */
INLINE void add_values(const int rows, const int wide, Rows *r, int first, int d, int head_dim) {
    f32x16 sums[STRIP][WIDE];
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int v = 0; v < wide; v++)
            sums[row][v] = load(r->out[first + row] + d + v * LANES) * r->shrink[first + row];
    for (int pair = 0; pair < STEP / 2; pair++) {
        const uint16_t *values = r->tiles[pair / (SLOTS / 2)] + SLOTS * head_dim
                                 + (pair % (SLOTS / 2) * head_dim + d) * 2;
        u32x16 both[WIDE];
        UNROLL for (int v = 0; v < wide; v++) memcpy(&both[v], values + v * LANES * 2, sizeof both[v]);
        UNROLL for (int row = 0; row < rows; row++)
            UNROLL for (int v = 0; v < wide; v++)
                sums[row][v] = dot_pairs(sums[row][v], both[v], &r->weights[first + row][pair]);
    }
    UNROLL for (int row = 0; row < rows; row++)
        UNROLL for (int v = 0; v < wide; v++) store(r->out[first + row] + d + v * LANES, sums[row][v]);
}

INLINE void add_all_values(const int rows, Rows *r, int first, int head_dim) {
    int d = 0;
    for (; d + WIDE * LANES <= head_dim; d += WIDE * LANES) add_values(rows, WIDE, r, first, d, head_dim);
    for (; d < head_dim; d += LANES) add_values(rows, 1, r, first, d, head_dim);
}

typedef void StripKernel(Rows *r, int first, int head_dim);

#define STRIP_KERNELS(ROWS)                                                                                  \
    static void score_##ROWS(Rows *r, int first, int head_dim) { score(ROWS, r, first, head_dim); }         \
    static void values_##ROWS(Rows *r, int first, int head_dim) { add_all_values(ROWS, r, first, head_dim); }
STRIP_KERNELS(1) STRIP_KERNELS(2) STRIP_KERNELS(3) STRIP_KERNELS(4)
#if STRIP == 6
STRIP_KERNELS(5) STRIP_KERNELS(6)
#define FOR_ALL_ROWS(name) {0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6}
#else
#define FOR_ALL_ROWS(name) {0, name##_1, name##_2, name##_3, name##_4}
#endif
static StripKernel *const score_kernels[STRIP + 1] = FOR_ALL_ROWS(score);
static StripKernel *const value_kernels[STRIP + 1] = FOR_ALL_ROWS(values);

static void by_strips(StripKernel *const *kernels, int rows, Rows *r, int head_dim) {
    for (int first = 0; first < rows; first += STRIP)
        kernels[rows - first < STRIP ? rows - first : STRIP](r, first, head_dim);
}

/* Scores of tokens after `position` become minus infinity. `start` is the first one's token. */
INLINE f32x16 masked(f32x16 scores, int start, int position) {
    const i32x16 index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const i32x16 seen = index + start <= position;
    return (f32x16)(((i32x16)scores & seen) | ((i32x16)splat(-INFINITY) & ~seen));
}

INLINE float find_peak(Rows *r, int row, int start, int position) {
    f32x16 peaks = splat(r->peak[row]);
    for (int t = 0; t < TILES; t++) {
        f32x16 s = load(r->scores[row] + t * SLOTS);
        if (start + STEP > position) {
            s = masked(s, start + t * SLOTS, position);
            store(r->scores[row] + t * SLOTS, s);
        }
        peaks = max16(peaks, s);
    }
    return largest16(peaks);
}

INLINE void weigh(Rows *r, int row) {
    f32x16 total = {0};
    for (int t = 0; t < TILES; t++) {
        const f32x16 weight = exp2_16(load(r->scores[row] + t * SLOTS) - r->peak[row]);
        total += weight;
        make_pairs(weight, r->weights[row] + t * SLOTS / 2);
    }
    r->total[row] = fma16(r->total[row], splat(r->shrink[row]), total);
}

/* Turns the rows' scores of tokens start.. into weights. */
static void soften(int rows, Rows *r, int start, int first, int group) {
    _Alignas(64) float peaks[SLOTTED_ROWS] = {0};
    for (int row = 0; row < rows; row++) peaks[row] = find_peak(r, row, start, first + row / group);
    for (int row = 0; row < rows; row += LANES) {
        store(r->shrink + row, exp2_16(load(r->peak + row) - load(peaks + row)));
        store(r->peak + row, load(peaks + row));
    }
    for (int row = 0; row < rows; row++) weigh(r, row);
}

/* All rows over all tokens. Row i is query i / group. */
static void attend_rows(int rows, const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count,
                        int group, Rows *r) {
    const int end = first + count;
    for (int start = 0; start < end; start += STEP) {
        for (int t = 0; t < TILES; t++) { /* past the end: any tile, its scores are masked */
            const int position = start + t * SLOTS;
            r->tiles[t] = tile_at(c, blocks, kv_head, position < end ? position : start);
        }
        by_strips(score_kernels, rows, r, c->head_dim);
        soften(rows, r, start, first, group);
        by_strips(value_kernels, rows, r, c->head_dim);
    }
}

static void begin_row(Rows *r, int row, const float *query, int head_dim) {
    for (int d = 0; d < head_dim; d += 2) r->queries[row][d / 2] = make_pair(query[d], query[d + 1]);
    memset(r->out[row], 0, (size_t)head_dim * sizeof(float));
    r->peak[row] = -1e30f;
    r->total[row] = (f32x16){0};
}

static void attend_heads(const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count,
                         int group, const float *queries, int query_stride, float *out, int out_stride) {
    Rows r;
    const int rows = count * group, dim = c->head_dim;
    memset(r.peak, 0, sizeof r.peak);
    for (int row = 0; row < rows; row++)
        begin_row(&r, row, queries + (int64_t)(row / group) * query_stride + row % group * dim, dim);
    attend_rows(rows, c, blocks, kv_head, first, count, group, &r);
    for (int row = 0; row < rows; row++) {
        float *to = out + (int64_t)(row / group) * out_stride + row % group * dim;
        const float share = 1.0f / sum16(r.total[row]);
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
