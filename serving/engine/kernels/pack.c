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

static int level(Levels l, int code) { return l.zero + (code * l.step >> 8); }

/* The code whose level is nearest to `target`; levels never fall as codes rise. */
static int nearest_code(Levels l, float target) {
    int code = l.step ? (int)lrintf((target - (float)l.zero) * 256.0f / (float)l.step) : 0;
    code = code < 0 ? 0 : code > 15 ? 15 : code;
    while (code < 15 && fabsf(target - (float)level(l, code + 1)) < fabsf(target - (float)level(l, code))) code++;
    while (code > 0 && fabsf(target - (float)level(l, code - 1)) < fabsf(target - (float)level(l, code))) code--;
    return code;
}

static float squared_error(Levels l, const float *targets, float bound) {
    float error = 0;
    for (int i = 0; i < HALF && error < bound; i++) {
        const float d = targets[i] - (float)level(l, nearest_code(l, targets[i]));
        error += d * d;
    }
    return error;
}

/* Levels for 32 targets in 1..255: the range from least to greatest in fifteen steps, then the best of
 * the neighbouring whole zeros and of steps a little longer (the shift rounds down). */
static Levels fit(const float *targets) {
    float low = targets[0], high = targets[0];
    for (int i = 1; i < HALF; i++) {
        low = fminf(low, targets[i]);
        high = fmaxf(high, targets[i]);
    }
    const int step = (int)lrintf((high - low) * 256.0f / 15.0f), zero = (int)lrintf(low);
    Levels best = {step, zero};
    float least = INFINITY;
    for (int dz = -1; dz <= 1; dz++)
        for (int ds = -8; ds <= 16; ds += 4) {
            const Levels l = {step + ds, zero + dz};
            if (l.step < 0 || l.zero < 0 || level(l, 15) > 255) continue;
            const float error = squared_error(l, targets, least);
            if (error < least) {
                least = error;
                best = l;
            }
        }
    return best;
}

static void pack_half(uint8_t *record, int half, int lane, const float *targets) {
    const Levels l = fit(targets);
    const uint16_t step = (uint16_t)l.step;
    memcpy(record + CODES + (half * BLOCK + lane) * 2, &step, sizeof step);
    record[CODES + 2 * BLOCK * 2 + half * BLOCK + lane] = (uint8_t)l.zero;
    for (int i = 0; i < HALF; i++) {
        const int quad = i / 4, byte = i % 4, pair = quad / 2;
        const int code = nearest_code(l, targets[i]);
        /* The two bytes of a word change places: see scaled() in matrix.c. */
        uint8_t *to = record + ((half * 4 + pair) * 2 + lane / LANES) * 64 + (lane % LANES) * 4 + (byte ^ 1);
        *to = (uint8_t)(*to | code << (quad % 2 ? 4 : 0));
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
