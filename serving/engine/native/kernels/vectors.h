/* Sixteen-wide vectors and the few operations that hardware has special instructions for.
 *
 * Everything else in this folder is plain arithmetic on these types (the vector extension that clang
 * and gcc share), so one source serves AVX-512, AVX2 and NEON; only this file knows which it is. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef float f32x16 __attribute__((vector_size(64)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint8_t u8x64 __attribute__((vector_size(64)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t s8x16 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
/* Loops over sums that must stay in registers: left to itself the compiler may keep them in memory. */
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE f32x16 splat(float x) { return x - (f32x16){0}; }
INLINE i32x16 splat_int(int32_t x) { return x - (i32x16){0}; }
INLINE f32x16 load(const float *p) { f32x16 v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, f32x16 v) { memcpy(p, &v, sizeof v); }
INLINE f32x16 fma16(f32x16 a, f32x16 b, f32x16 c) { return __builtin_elementwise_fma(a, b, c); }
/* Two halves as registers of 32 bytes, for processors that have no wider ones. */
#define LOW(v) __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)
#define HIGH(v) __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)
#define BOTH(type, low, high) \
    __builtin_shufflevector((type)(low), (type)(high), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

INLINE f32x16 max16(f32x16 a, f32x16 b) { /* not __builtin_elementwise_max, three instructions for NaN's sake */
#if defined(__AVX512F__)
    return (f32x16)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return BOTH(f32x8, _mm256_max_ps(LOW(a), LOW(b)), _mm256_max_ps(HIGH(a), HIGH(b)));
#else
    const i32x16 greater = a > b;
    return (f32x16)(((i32x16)a & greater) | ((i32x16)b & ~greater));
#endif
}
INLINE f32x16 abs16(f32x16 a) { return __builtin_elementwise_abs(a); }
INLINE f32x16 to_float(i32x16 v) { return __builtin_convertvector(v, f32x16); }

/* Always added in this order, so that a row's result never depends on its neighbours. */
INLINE float sum16(f32x16 v) {
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    return (v[0] + v[2]) + (v[1] + v[3]);
}
INLINE float largest16(f32x16 v) {
    v = max16(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    v = max16(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
    v = max16(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
    return v[0] > v[1] ? v[0] : v[1];
}

/* Nearest integer, ties to even, as a float; right for |x| < 2^22. */
INLINE f32x16 nearest(f32x16 x) { return (x + 12582912.0f) - 12582912.0f; }

/* 2^x for x <= 127, relative error below 3e-6 (what it feeds is rounded to 8 bits after); exactly 1 at 0
 * and exactly 0 from -127 down. A minimax polynomial on [-0.5, 0.5], the exponent added to its bits. */
INLINE f32x16 exp2_16(f32x16 x) {
    x = max16(x, splat(-127.0f));
    const f32x16 whole = nearest(x), f = x - whole;
    f32x16 y = splat(0.00958285258f);
    y = fma16(y, f, splat(0.0559064285f));
    y = fma16(y, f, splat(0.240240986f));
    y = fma16(y, f, splat(0.693124193f));
    y = fma16(y, f, splat(1.0f));
    return (f32x16)((i32x16)y + (__builtin_convertvector(whole, i32x16) << 23));
}

/* Four signed bytes, as the byte-dot instruction takes them; without it as two pairs of 16 bits, those of
 * the even bytes first. */
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
typedef struct { int32_t even, odd; } Quad;
#define REGISTERS 16 /* of 32 bytes; else 32 of 64 */
#else
typedef int32_t Quad;
#define REGISTERS 32
#endif

/* The sixteen numbers of `v`, which fit a byte, as four quads. */
INLINE void make_quads(i32x16 v, Quad *to) {
#if REGISTERS == 16
    typedef int16_t s16x16 __attribute__((vector_size(32)));
    const s16x16 narrow = __builtin_convertvector(v, s16x16);
    const s16x16 quads = __builtin_shufflevector(narrow, narrow, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
#else
    const s8x16 quads = __builtin_convertvector(v, s8x16);
#endif
    memcpy(to, &quads, sizeof quads);
}

/* sums[i] += the dot product of four unsigned bytes weights[4i..] with those of `quad`. */
INLINE i32x16 dot_bytes(i32x16 sums, u8x64 weights, const Quad *quad) {
#if defined(__AVX512VNNI__)
    return (i32x16)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, _mm512_set1_epi32(*quad));
#elif REGISTERS == 16
    const __m256i even = _mm256_set1_epi32(quad->even), odd = _mm256_set1_epi32(quad->odd);
    const __m256i byte = _mm256_set1_epi16(255);
    const __m256i low = (__m256i)LOW((i32x16)weights), high = (__m256i)HIGH((i32x16)weights);
    i32x8 a = LOW(sums), b = HIGH(sums);
    a += (i32x8)_mm256_madd_epi16(_mm256_and_si256(low, byte), even);
    b += (i32x8)_mm256_madd_epi16(_mm256_and_si256(high, byte), even);
    a += (i32x8)_mm256_madd_epi16(_mm256_srli_epi16(low, 8), odd);
    b += (i32x8)_mm256_madd_epi16(_mm256_srli_epi16(high, 8), odd);
    return BOTH(i32x8, a, b);
#else
    const u32x16 w = (u32x16)weights;
    for (int i = 0; i < 4; i++)
        sums += (i32x16)((w >> (8 * i)) & 255) * (int32_t)(int8_t)(*quad >> (8 * i));
    return sums;
#endif
}

/* bfloat16 is the upper half of a float; rounds to nearest even. No value here is NaN. */
INLINE uint32_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
INLINE u16x16 to_bf16_16(f32x16 x) {
#if defined(__AVX512BF16__)
    return (u16x16)_mm512_cvtneps_pbh((__m512)x);
#else
    const u32x16 bits = (u32x16)x;
    return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, u16x16);
#endif
}

/* Two numbers that meet two bfloat16: bfloat16 themselves where there is an instruction for that. */
#if defined(__AVX512BF16__)
typedef uint32_t Pair;
#else
typedef struct { float first, second; } Pair;
#endif

INLINE Pair make_pair(float first, float second) {
#if defined(__AVX512BF16__)
    return to_bf16(first) | to_bf16(second) << 16;
#else
    return (Pair){first, second};
#endif
}
INLINE void make_pairs(f32x16 v, Pair *to) {
#if defined(__AVX512BF16__)
    const u16x16 half = to_bf16_16(v);
    memcpy(to, &half, sizeof half);
#else
    memcpy(to, &v, sizeof v);
#endif
}

/* sums[i] += the dot product of two bfloat16 (a pair) in lane i with `pair`. */
INLINE f32x16 dot_pairs(f32x16 sums, u32x16 pairs, const Pair *pair) {
#if defined(__AVX512BF16__)
    return (f32x16)_mm512_dpbf16_ps((__m512)sums, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32((int)*pair));
#else
    sums = fma16((f32x16)(pairs & 0xffff0000u), splat(pair->second), sums);
    return fma16((f32x16)(pairs << 16), splat(pair->first), sums);
#endif
}

/* The upper 16 bits of the 32-bit products. */
INLINE u16x32 multiply_high(u16x32 a, u16x32 b) {
#if defined(__AVX512BW__)
    return (u16x32)_mm512_mulhi_epu16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    const i32x16 x = (i32x16)a, y = (i32x16)b;
    return (u16x32)BOTH(i32x8, _mm256_mulhi_epu16((__m256i)LOW(x), (__m256i)LOW(y)),
                        _mm256_mulhi_epu16((__m256i)HIGH(x), (__m256i)HIGH(y)));
#else
    typedef uint32_t u32x32 __attribute__((vector_size(128)));
    return __builtin_convertvector(
        (__builtin_convertvector(a, u32x32) * __builtin_convertvector(b, u32x32)) >> 16, u16x32);
#endif
}

#define PREFETCH(address) __builtin_prefetch(address, 0, 2)

#if defined(__x86_64__)
#define PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif
