/* Attention over keys and values that lie in blocks. */
#pragma once
#include "vectors.h"

#define SLOTS 16       /* tokens in one tile of the cache: one vector of scores */
#define MAX_HEAD 256   /* largest head dimension */
#define QUERY_ROWS 24  /* (query, head) rows that share each load of keys and values */

/* One layer's part of the cache: [block][kv head][tile of 16 tokens][keys, values], bfloat16.
 * Keys of a tile: [pair of dimensions][16 tokens][2]; values: [pair of tokens][dimension][2]. So both
 * dot products run down a tile without a horizontal sum. */
typedef struct {
    uint16_t *memory;
    int block_size, kv_heads, head_dim;
} LayerCache;

void cache_write(const LayerCache *c, const int32_t *blocks, int kv_head, int position, const float *key,
                 const float *value);

/* `count` queries of one sequence at positions first, first + 1, ..., each `group` heads that share
 * `kv_head`; count * group <= QUERY_ROWS or count == 1. query(q, h) and out(q, h) are at
 * base + q * stride + h * head_dim. Queries are scaled already, for 2^score. */
void attend(const LayerCache *c, const int32_t *blocks, int kv_head, int first, int count, int group,
            const float *queries, int query_stride, float *out, int out_stride);
