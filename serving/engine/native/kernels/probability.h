/* What sampling and logprobs do to all logits of a row. */
#pragma once
#include "vectors.h"

typedef float f32x8 __attribute__((vector_size(32)));
typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t s64x8 __attribute__((vector_size(64)));

/* e^x for x <= 0, relative error below 1e-14: a Taylor series on half an octave, the exponent added to its
 * bits. */
INLINE f64x8 exp_8(f64x8 x) {
    static const double series[] = {1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
                                    1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800};
    const f64x8 round = (f64x8){0} + 0x1.8p52;
    x = __builtin_elementwise_max(x, (f64x8){0} - 700.0);
    const f64x8 whole = (x * 1.4426950408889634 + round) - round;
    const f64x8 rest = (x - whole * 0x1.62e42feep-1) - whole * 0x1.a39ef35793c76p-33; /* ln 2 in two parts */
    f64x8 y = (f64x8){0} + series[10];
    for (int i = 9; i >= 0; i--) y = y * rest + series[i];
    y = y * rest + 1.0;
    return (f64x8)((s64x8)y + (__builtin_convertvector(whole, s64x8) << 52));
}

INLINE f64x8 load_8(const float *p) { f32x8 v; memcpy(&v, p, sizeof v); return __builtin_convertvector(v, f64x8); }
INLINE double sum_8(f64x8 v) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }

INLINE float highest(const float *logits, int vocabulary) {
    f32x16 peaks = splat(-INFINITY);
    int i = 0;
    for (; i + LANES <= vocabulary; i += LANES) peaks = max16(peaks, load(logits + i));
    float peak = largest16(peaks);
    for (; i < vocabulary; i++) peak = logits[i] > peak ? logits[i] : peak;
    return peak;
}
