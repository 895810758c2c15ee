/* A quantized weight matrix and the activations it multiplies. */
#pragma once
#include <stdint.h>

#include "vectors.h"

#define BLOCK 32 /* outputs that one work item computes: two vectors */
#define GROUP 64 /* inputs that share one activation scale */
#define TILE 4   /* rows of activations that share each load of a weight: their sums fill the registers */

/* Weights of `outputs` x `inputs`, both padded up to whole blocks and groups.
 *
 * `records` holds one record for each (block of 32 outputs, group of 64 inputs), a block's records one
 * after another, so that computing a block reads memory straight through. A record decodes to 2048
 * bytes ordered [16 quads of inputs][32 outputs][4 inputs], each byte the weight + 128: what the
 * byte-dot instruction takes. weight = (byte - 128) * scales[output].
 *
 *   bits 8: the record is those 2048 bytes.
 *   bits 4: 1216 bytes: 1024 of codes (0..15, two a byte); for each half (32 inputs) and output a
 *           16-bit step, then for each half and output an 8-bit zero.
 *           byte = zero + (code * step >> 8). (4.75 bits a weight.) */
typedef struct {
    int32_t outputs, inputs;
    int32_t bits;
    int32_t gated; /* outputs alternate, 16 at a time, between a gate and what it lets through */
    uint8_t *records;
    float *scales;
    float *bias; /* or NULL */
} Matrix;

/* Rows of activations as signed bytes with a scale for each group, in tiles of up to TILE rows:
 * quads[tile][quad of inputs][TILE], scales and offsets [tile][group][TILE]. `offsets` is what the
 * weights' + 128 adds to a group's dot product, negated. */
typedef struct {
    Quad *quads;
    float *scales;
    int32_t *offsets;
    int32_t rows, inputs, height; /* rows in a full tile; the last may have fewer */
} Activations;

INLINE int blocks_of(const Matrix *m) { return (m->outputs + BLOCK - 1) / BLOCK; }
INLINE int groups_of(int inputs) { return (inputs + GROUP - 1) / GROUP; }
INLINE int tiles_of(const Activations *a) { return (a->rows + a->height - 1) / a->height; }
INLINE int tile_height(int rows) {
    const int tiles = (rows + TILE - 1) / TILE;
    return (rows + tiles - 1) / tiles;
}

/* What becomes of a row's 32 results of one block. */
typedef enum { REPLACE, ADD } Into;

int64_t matrix_bytes(int outputs, int inputs, int bits);
int64_t activation_bytes(int rows, int inputs);
Activations activations_at(void *memory, int rows, int inputs);
void quantize_row(const Activations *a, int row, const float *x);
void multiply_block(const Matrix *m, int block, int next, const Activations *a, int first_tile, int last_tile,
                    uint8_t *scratch, float *out, int stride, Into into);
void matrix_row(const Matrix *m, int row, float *out);
void pack_rows(const Matrix *m, const float *weights, int first, int rows);
