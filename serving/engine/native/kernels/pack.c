/* Quantizing float weights into a Matrix. Runs once, at load. */
#include <stdlib.h>

#include "matrix.h"

#define CODES (BLOCK * GROUP / 2)
#define HALF 32

/* A row's weight as a byte around 128 is at most 127 away from it. */
static float row_scale(const float *w, int n) {
    float peak = 0;
    for (int i = 0; i < n; i++) peak = fmaxf(peak, fabsf(w[i]));
    return peak > 0 ? peak / 127.0f : 1.0f;
}

/* --- four bits: byte = zero + (code * step >> 8) --- */

typedef struct { int step, zero; } Levels;

static i32x16 nearest_codes(Levels l, f32x16 targets) {
    const f32x16 codes = nearest((targets - (float)l.zero) * (256.0f / (float)(l.step ? l.step : 1)));
    const i32x16 whole = __builtin_convertvector(codes, i32x16), above = whole > 15, negative = whole < 0;
    return ((whole & ~above) | (15 & above)) & ~negative;
}

static float squared_error(Levels l, const f32x16 *targets) {
    f32x16 error = {0};
    for (int i = 0; i < HALF / LANES; i++) {
        const f32x16 d = targets[i] - to_float((nearest_codes(l, targets[i]) * l.step >> 8) + l.zero);
        error = fma16(d, d, error);
    }
    return sum16(error);
}

/* Levels for 32 targets in 1..255: the range from least to greatest in fifteen steps, then the best of
 * the neighbouring whole zeros and of steps a little longer (the shift rounds down). */
static Levels fit(const f32x16 *targets) {
    const float high = largest16(max16(targets[0], targets[1])), low = -largest16(max16(-targets[0], -targets[1]));
    const int step = (int)lrintf((high - low) * 256.0f / 15.0f), zero = (int)lrintf(low);
    Levels best = {step, zero};
    float least = INFINITY;
    for (int dz = -1; dz <= 1; dz++)
        for (int ds = -8; ds <= 16; ds += 4) {
            const Levels l = {step + ds, zero + dz};
            if (l.step < 0 || l.zero < 0 || l.zero + (15 * l.step >> 8) > 255) continue;
            const float error = squared_error(l, targets);
            if (error < least) {
                least = error;
                best = l;
            }
        }
    return best;
}

static void pack_half(uint8_t *record, int half, int lane, const float *targets) {
    const f32x16 both[2] = {load(targets), load(targets + LANES)};
    const Levels l = fit(both);
    const i32x16 codes[2] = {nearest_codes(l, both[0]), nearest_codes(l, both[1])};
    const uint16_t step = (uint16_t)l.step;
    memcpy(record + CODES + (half * BLOCK + lane) * 2, &step, sizeof step);
    record[CODES + 2 * BLOCK * 2 + half * BLOCK + lane] = (uint8_t)l.zero;
    for (int i = 0; i < HALF; i++) {
        const int quad = i / 4, byte = i % 4, pair = quad / 2;
        /* The two bytes of a word change places: see scaled() in matrix.c. */
        uint8_t *to = record + ((half * 4 + pair) * 2 + lane / LANES) * 64 + (lane % LANES) * 4 + (byte ^ 1);
        *to = (uint8_t)(*to | codes[i / LANES][i % LANES] << (quad % 2 ? 4 : 0));
    }
}

static void pack_group(const Matrix *m, uint8_t *record, int lane, const float *targets) {
    if (m->bits == 4) {
        pack_half(record, 0, lane, targets);
        pack_half(record, 1, lane, targets + HALF);
        return;
    }
    for (int i = 0; i < GROUP; i++) record[(i / 4) * 128 + lane * 4 + i % 4] = (uint8_t)lrintf(targets[i]);
}

/* Packs `rows` rows of `weights` as the outputs first, first + 1, ...; records start as zeros. */
void pack_rows(const Matrix *m, const float *weights, int first, int rows) {
    const int groups = groups_of(m->inputs), record = (int)matrix_bytes(BLOCK, GROUP, m->bits);
    for (int row = 0; row < rows; row++) {
        const float *w = weights + (int64_t)row * m->inputs;
        const int output = first + row;
        m->scales[output] = row_scale(w, m->inputs);
        for (int g = 0; g < groups; g++) {
            float targets[GROUP];
            for (int i = 0; i < GROUP; i++) {
                const int at = g * GROUP + i;
                targets[i] = 128.0f + (at < m->inputs ? w[at] / m->scales[output] : 0);
            }
            pack_group(m, m->records + ((int64_t)(output / BLOCK) * groups + g) * record, output % BLOCK, targets);
        }
    }
}
