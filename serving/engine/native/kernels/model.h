/* A Llama-shaped model, the batch it is given, and the run that turns one into the other. */
#pragma once
#include <stdint.h>

#include "attention.h"
#include "logprobs.h"
#include "matrix.h"
#include "pool.h"
#include "sampling.h"

typedef struct {
    const float *attention_norm, *mlp_norm;
    const float *query_norm, *key_norm; /* over each head (Qwen3), or NULL */
    Matrix qkv, out, gate_up, down;
} Layer;

typedef struct {
    int32_t hidden, intermediate, heads, kv_heads, head_dim, vocabulary, layers;
    float epsilon;
    float attention_scaling; /* multiplies cosines and sines */
    const float *frequencies; /* [head_dim / 2], radians a position */
    const float *final_norm;
    Matrix embedding, head;
    const Layer *layer;
} Model;

/* Where to put the sum of the hidden states behind the final norm of rows [first, first + count) of a slice. */
typedef struct {
    int32_t first, count;
    float *sum; /* [hidden] */
} Pooled;

/* One sequence's share of a step: `length` tokens from position `start` on. */
typedef struct {
    int32_t start, length;
    const int32_t *blocks;
    int32_t samples;
    int32_t token; /* result, if `samples` */
    Choice choice;
    Report report;
    Pooled pooled;
} Slice;

typedef struct {
    int32_t slices, rows;
    Slice *slice;
    const int32_t *tokens; /* [rows] */
    float *logits;         /* NULL, or [rows][vocabulary]: all rows' logits instead of tokens */
} Batch;

/* So many rows' logits are held at once: a prompt whose every token is reported has thousands of rows. */
#define HEAD_ROWS 128

/* Up to so many rows each thread prepares all of them for itself: cheaper than meeting at a barrier. */
#define ALONE_ROWS 2

typedef struct {
    uint8_t *block; /* a matrix block unpacked to bytes */
    float *row;     /* a normalised row */
    void *few;      /* activations of up to ALONE_ROWS rows */
} Own;

typedef struct {
    const Model *model;
    Pool *pool;
    Batch *batch;
    uint16_t *cache;
    int cache_blocks, block_size;
    int threads, qkv_width, logits_width;
    int sampled, pooled; /* of the step: rows that need logits, slices that need their hidden states */
    int capacity; /* rows that the buffers below have room for */
    int32_t *positions, *slice_of, *sampled_rows;
    float *x, *qkv, *mixed, *gated, *angles, *logits;
    void *activations;
    Own *own;
} Runner;

void forward(void *runner, int thread); /* the Work of the runner's pool */

Runner *runner_new(const Model *model, int threads);
void runner_set_cache(Runner *runner, uint16_t *memory, int blocks, int block_size);
int runner_run(Runner *runner, Batch *batch); /* 0, or -1: out of memory, nothing was done */
void runner_free(Runner *runner);
