/* Multiplying quantized weights by quantized activations.
 *
 * Weights have one scale per output and stay bytes all the way; activations have one per row and group
 * of 64 inputs (one per row alone costs 4 % of perplexity, see docs/performance.md). Inside a group
 * the dot products are exact integers; groups are added in order, in float32. So a row's result is the
 * same bits whichever rows it is computed with. */
#include "matrix.h"

#define RECORD8 (BLOCK * GROUP)
#define CODES (RECORD8 / 2)
#define RECORD4 (CODES + 2 * BLOCK * 2 + 2 * BLOCK)

INLINE int record_bytes(int bits) { return bits == 8 ? RECORD8 : RECORD4; }

int64_t matrix_bytes(int outputs, int inputs, int bits) {
    return (int64_t)((outputs + BLOCK - 1) / BLOCK) * groups_of(inputs) * record_bytes(bits);
}

INLINE const uint8_t *block_records(const Matrix *m, int block) {
    return m->records + (int64_t)block * groups_of(m->inputs) * record_bytes(m->bits);
}

int64_t activation_bytes(int rows, int inputs) {
    const int64_t slots = (int64_t)((rows + TILE - 1) / TILE) * TILE, groups = groups_of(inputs);
    return slots * groups * (int64_t)(GROUP / 4 * sizeof(Quad) + sizeof(float) + sizeof(int32_t)) + 64;
}

Activations activations_at(void *memory, int rows, int inputs) {
    const int64_t slots = (int64_t)((rows + TILE - 1) / TILE) * TILE, groups = groups_of(inputs);
    Activations a = {.rows = rows, .inputs = inputs, .height = tile_height(rows)};
    a.quads = memory;
    a.scales = (float *)(a.quads + slots * groups * (GROUP / 4));
    a.offsets = (int32_t *)(a.scales + slots * groups);
    return a;
}

void quantize_row(const Activations *a, int row, const float *x) {
    const int groups = groups_of(a->inputs), tile = row / a->height, slot = row % a->height;
    for (int g = 0; g < groups; g++) {
        f32x16 v[4], peak = {0};
        for (int i = 0; i < 4; i++) {
            v[i] = load(x + g * GROUP + i * LANES);
            peak = max16(peak, abs16(v[i]));
        }
        const float largest = largest16(peak), inverse = largest > 0 ? 127.0f / largest : 0;
        Quad *to = a->quads + ((int64_t)tile * groups + g) * (GROUP / 4) * TILE + slot;
        i32x16 total = {0};
        for (int i = 0; i < 4; i++) {
            const i32x16 q = __builtin_convertvector(nearest(v[i] * inverse), i32x16);
            Quad quads[4];
            make_quads(q, quads);
            total += q;
            for (int j = 0; j < 4; j++) to[(i * 4 + j) * TILE] = quads[j];
        }
        a->scales[((int64_t)tile * groups + g) * TILE + slot] = largest / 127.0f;
        a->offsets[((int64_t)tile * groups + g) * TILE + slot] = -128 * __builtin_reduce_add(total);
    }
}

/* --- four bits to eight --- */

INLINE u16x32 twice16(const uint8_t *p) { /* sixteen 16-bit numbers, each in both halves of a lane */
    u16x16 v;
    memcpy(&v, p, sizeof v);
    const u32x16 wide = __builtin_convertvector(v, u32x16);
    return (u16x32)(wide | wide << 16);
}
INLINE u8x64 four_times(const uint8_t *p) { /* sixteen bytes, each in all four of a lane */
    u8x16 v;
    memcpy(&v, p, sizeof v);
    const u32x16 wide = __builtin_convertvector(v, u32x16);
    return (u8x64)(wide * 0x01010101u);
}

/* Codes lie in 16-bit words, four a word: bits 0-3 and 8-11 belong to the first of two vectors, bits
 * 4-7 and 12-15 to the second. In each vector the low byte of the result comes from the upper code. */
INLINE u8x64 scaled(u16x32 words, u16x32 step, u8x64 zero) {
    const u16x32 high = (words & 0x000f) * step, low = multiply_high(words & 0x0f00, step);
    return (u8x64)((high & 0xff00) | low) + zero;
}

INLINE void unpack(const uint8_t *record, uint8_t *out) {
    const uint8_t *steps = record + CODES, *zeros = steps + 2 * BLOCK * 2;
    for (int half = 0; half < 2; half++)
        for (int v = 0; v < 2; v++) {
            const u16x32 step = twice16(steps + (half * 2 + v) * 32);
            const u8x64 zero = four_times(zeros + (half * 2 + v) * 16);
            for (int pair = 0; pair < 4; pair++) {
                u16x32 words;
                memcpy(&words, record + ((half * 4 + pair) * 2 + v) * 64, sizeof words);
                const u8x64 first = scaled(words, step, zero), second = scaled(words >> 4, step, zero);
                memcpy(out + ((half * 8 + pair * 2) * 2 + v) * 64, &first, 64);
                memcpy(out + ((half * 8 + pair * 2 + 1) * 2 + v) * 64, &second, 64);
            }
        }
}

/* --- the inner loop --- */

/* So many vectors of outputs are summed side by side; all sums stay in registers. */
#define ABREAST (REGISTERS == 32 ? 2 : 1)

/* Adds one group's share to sums[rows][2], and fetches the `hint` bytes that will be needed after this
 * block. `rows` is a constant where this is inlined. */
INLINE void add_group(const int rows, const uint8_t *record, const uint8_t *ahead, int hint, const Quad *quads,
                      const float *scales, const int32_t *offsets, f32x16 *sums) {
    for (int first = 0; first < 2; first += ABREAST) {
        i32x16 dots[TILE][ABREAST];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < ABREAST; v++) dots[r][v] = splat_int(offsets[r]);
        _Pragma("clang loop unroll_count(2)") for (int quad = 0; quad < GROUP / 4; quad++) {
            u8x64 w[ABREAST];
            memcpy(w, record + quad * 128 + first * 64, sizeof w);
            UNROLL for (int v = 0; v < ABREAST; v++)
                PREFETCH(ahead + ((first + v) * (GROUP / 4) + quad) * (hint / (GROUP / 2)));
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int v = 0; v < ABREAST; v++)
                    dots[r][v] = dot_bytes(dots[r][v], w[v], &quads[quad * TILE + r]);
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < ABREAST; v++)
                sums[r * 2 + first + v] =
                    fma16(to_float(dots[r][v]), splat(scales[r]), sums[r * 2 + first + v]);
    }
}

/* All groups of one block for one tile. Records are bytes, or are unpacked one by one on the way. */
INLINE void multiply_tile(const int rows, const uint8_t *records, int bits, const uint8_t *ahead, int hint,
                          int groups, const Quad *quads, const float *scales, const int32_t *offsets, f32x16 *sums) {
    _Alignas(64) uint8_t unpacked[RECORD8];
    for (int i = 0; i < rows * 2; i++) sums[i] = (f32x16){0};
    for (int g = 0; g < groups; g++) {
        const uint8_t *record = records + (int64_t)g * record_bytes(bits);
        if (bits == 4) {
            unpack(record, unpacked);
            record = unpacked;
        }
        add_group(rows, record, ahead + (int64_t)g * hint, hint, quads + g * (GROUP / 4) * TILE, scales + g * TILE, offsets + g * TILE,
                  sums);
    }
}

typedef void TileKernel(const uint8_t *, int, const uint8_t *, int, int, const Quad *, const float *, const int32_t *, f32x16 *);

#define TILE_KERNEL(ROWS)                                                                              \
    static void tile_##ROWS(const uint8_t *records, int bits, const uint8_t *ahead, int hint,          \
                            int groups, const Quad *quads, const float *scales,                        \
                            const int32_t *offsets, f32x16 *sums) {                                    \
        multiply_tile(ROWS, records, bits, ahead, hint, groups, quads, scales, offsets, sums);         \
    }
TILE_KERNEL(1) TILE_KERNEL(2) TILE_KERNEL(3) TILE_KERNEL(4)
static TileKernel *const tile_kernels[TILE + 1] = {0, tile_1, tile_2, tile_3, tile_4};

/* --- what to do with a block's sums --- */

INLINE f32x16 silu(f32x16 x) { return x / (1.0f + exp2_16(x * -1.44269504f)); }

INLINE void finish_row(const Matrix *m, int block, const f32x16 *sums, float *out, Into into) {
    f32x16 v[2];
    for (int i = 0; i < 2; i++) {
        const int at = block * BLOCK + i * LANES;
        v[i] = sums[i] * load(m->scales + at);
        if (m->bias) v[i] += load(m->bias + at);
    }
    if (m->gated) {
        store(out + block * LANES, silu(v[0]) * v[1]);
        return;
    }
    for (int i = 0; i < 2; i++) {
        float *to = out + block * BLOCK + i * LANES;
        store(to, into == ADD ? load(to) + v[i] : v[i]);
    }
}

/* Computes 32 outputs for the rows of tiles [first_tile, last_tile) into out[row * stride ...].
 * `next` is the block that will be asked for next, `scratch` has room for one block of bytes. */
void multiply_block(const Matrix *m, int block, int next, const Activations *a, int first_tile, int last_tile,
                    uint8_t *scratch, float *out, int stride, Into into) {
    const int groups = groups_of(m->inputs);
    const uint8_t *records = block_records(m, block), *ahead = block_records(m, next);
    int bits = m->bits;
    if (bits == 4 && last_tile - first_tile > 1) {
        for (int g = 0; g < groups; g++) unpack(records + (int64_t)g * RECORD4, scratch + g * RECORD8);
        records = scratch;
        bits = 8;
    }
    for (int tile = first_tile; tile < last_tile; tile++) {
        const int first = tile * a->height, left = a->rows - first;
        const int rows = left < a->height ? left : a->height;
        const int64_t at = (int64_t)tile * groups;
        f32x16 sums[TILE * 2];
        tile_kernels[rows](records, bits, ahead, record_bytes(m->bits), groups, a->quads + at * (GROUP / 4) * TILE, a->scales + at * TILE,
                           a->offsets + at * TILE, sums);
        for (int r = 0; r < rows; r++)
            finish_row(m, block, sums + r * 2, out + (int64_t)(first + r) * stride, into);
    }
}

/* One row of the matrix as floats (an embedding). */
void matrix_row(const Matrix *m, int row, float *out) {
    const int groups = groups_of(m->inputs), lane = row % BLOCK;
    const uint8_t *records = block_records(m, row / BLOCK);
    _Alignas(64) uint8_t unpacked[RECORD8];
    for (int g = 0; g < groups; g++) {
        const uint8_t *record = records + (int64_t)g * record_bytes(m->bits);
        if (m->bits == 4) {
            unpack(record, unpacked);
            record = unpacked;
        }
        for (int i = 0; i < GROUP; i++)
            out[g * GROUP + i] = m->scales[row] * (record[(i / 4) * 128 + lane * 4 + i % 4] - 128);
    }
}
