/* Vectors as wide as the processor's, and the neuron of neuron.py once more: scale, activation, rounding.

Compiled without contraction: a multiplication and an addition are rounded each, so that the results are those of
neuron.py to the bit. What neurons have sent is a byte, k + 128. */

#pragma once
#include <stdint.h>
#include <string.h>
#if defined __SSE2__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define LANES 16
#define SIMD(name) _mm512_##name
#define BROADCAST _mm512_broadcast_i32x4
typedef __m512i packed;
#elif defined __AVX2__
#define LANES 8
#define SIMD(name) _mm256_##name
#define BROADCAST _mm256_broadcastsi128_si256
typedef __m256i packed;
#else
#define LANES 4
#define SIMD(name) _mm_##name
#if defined __SSE2__
typedef __m128i packed;
#endif
#endif
enum { LARGEST = 127, ZERO = 128, TERMS = 3, BYTES = 4 * LANES };
/* Vectors of neurons that are computed together, at most. */
enum { TOGETHER = 4 };
typedef float floats __attribute__((vector_size(BYTES)));
typedef int32_t ints __attribute__((vector_size(BYTES)));
typedef uint8_t quarter __attribute__((vector_size(LANES)));

/* Every function of vectors is part of its caller. */
#define INLINE static inline __attribute__((always_inline))

static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE floats all(float x) { return (floats){} + x; }
INLINE floats choose(ints mask, floats a, floats b) { return (floats)((mask & (ints)a) | (~mask & (ints)b)); }

/* The larger and the smaller of each lane, and what is rounded down; lanes of bytes and of 32 bits. */
#if defined __SSE2__
INLINE floats larger(floats a, floats b) { return SIMD(max_ps)(a, b); }
INLINE floats smaller(floats a, floats b) { return SIMD(min_ps)(a, b); }
#else
INLINE floats larger(floats a, floats b) { return choose(a > b, a, b); }
INLINE floats smaller(floats a, floats b) { return choose(a < b, a, b); }
#endif
#if defined __AVX512F__
INLINE floats down(floats x) { return _mm512_floor_ps(x); }
INLINE ints widened(quarter x) { return (ints)_mm512_cvtepu8_epi32((__m128i)x); }
INLINE quarter narrowed(ints x) { return (quarter)_mm512_cvtepi32_epi8((__m512i)x); }
#elif defined __AVX2__
INLINE floats down(floats x) { return _mm256_floor_ps(x); }
INLINE ints widened(quarter x) { return (ints)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)x)); }
INLINE quarter narrowed(ints x) {
    __m256i y = (__m256i)x;
    __m128i z = _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
    return (quarter)_mm_cvtsi128_si64(_mm_packus_epi16(z, z));
}
#else
INLINE floats down(floats x) {
    floats cut = __builtin_convertvector(__builtin_convertvector(x, ints), floats);
    return cut + __builtin_convertvector(cut > x, floats);
}
INLINE ints widened(quarter x) { return __builtin_convertvector(x, ints); }
INLINE quarter narrowed(ints x) { return __builtin_convertvector(x, quarter); }
#endif

INLINE floats read(const float *from, int64_t n) {
    floats x = {};
    if (n == LANES) memcpy(&x, from, sizeof x);
    else memcpy(&x, from, n * sizeof *from);
    return x;
}

/* Digits of whole numbers below 2^14. */
INLINE ints digits_of(floats n) {
    ints x = __builtin_convertvector(larger(n, -n), ints);
    x ^= 3 * x;
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    return (x + (x >> 8)) & 0xff;
}

/* e^x for n vectors of x <= 0, in place: see neuron.exp. Each step is done for all of them before the next, because it
waits for the one before. */
INLINE void power(int n, floats *x) {
    static const float coefficients[] = {0.00123913318f, 0.00968418631f, 0.0554806302f, 0.240230454f, 0.693146933f, 1.0f};
    floats exponent[TOGETHER], sum[TOGETHER];
    for (int i = 0; i < n; i++) x[i] = larger(x[i] * 1.4426950408889634f, all(-126.0f));
    for (int i = 0; i < n; i++) exponent[i] = down(x[i]), x[i] = x[i] - exponent[i], sum[i] = all(0.000218657848f);
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < n; i++) sum[i] = sum[i] * x[i] + coefficients[k];
    for (int i = 0; i < n; i++) x[i] = sum[i] * (floats)((__builtin_convertvector(exponent[i], ints) + 127) << 23);
}

/* The segments of neuron.curve, and their width. */
enum { SEGMENTS = 32 };
#define SEGMENT_WIDTH 0.375f

/* The entries of a table of SEGMENTS that lanes of segments name. */
INLINE floats entries(const float *table, ints segment) {
#if defined __AVX512F__
    __m512 low = _mm512_loadu_ps(table), high = _mm512_loadu_ps(table + LANES);
    return (floats)_mm512_permutex2var_ps(low, (__m512i)segment, high);
#elif defined __AVX2__
    __m256 found[4];
    for (int i = 0; i < 4; i++) found[i] = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8 * i), (__m256i)segment);
    __m256 bit3 = (__m256)(segment << 28), bit4 = (__m256)(segment << 27);
    __m256 low = _mm256_blendv_ps(found[0], found[1], bit3), high = _mm256_blendv_ps(found[2], found[3], bit3);
    return (floats)_mm256_blendv_ps(low, high, bit4);
#else
    floats found;
    for (int i = 0; i < LANES; i++) found[i] = table[segment[i]];
    return found;
#endif
}

/* SiLU or mish of n vectors, in place: see neuron.curve. table: coefficients, of `halves` signs of x. */
INLINE void curve(int n, const float *table, int64_t halves, floats *x) {
    for (int i = 0; i < n; i++) {
        floats size = (floats)((ints)x[i] & INT32_MAX), c[3];
        ints segment = __builtin_convertvector(smaller(size * (1 / SEGMENT_WIDTH), all(SEGMENTS - 1)), ints);
        for (int k = 0; k < 3; k++) {
            c[k] = entries(table + k * halves * SEGMENTS, segment);
            if (halves > 1) c[k] = choose(x[i] < 0, entries(table + (2 * k + 1) * SEGMENTS, segment), c[k]);
        }
        size = size - __builtin_convertvector(segment, floats) * SEGMENT_WIDTH;
        x[i] = (c[2] * size + c[1]) * size + c[0] + x[i] * 0.5f;
    }
}

/* The fraction from which a number is rounded up, by the last four bits of the one below: the number after some has a
digit less, after others a digit more (counting.py). */
typedef struct {
    floats cut[16 / LANES];
} Rounding;

INLINE Rounding rounding(float slack) {
    Rounding r = {};
    for (int i = 0; i < 16; i++) r.cut[i / LANES][i % LANES] = 0.5f + slack * ((0x1115 >> i & 1) - (0xa888 >> i & 1));
    return r;
}

INLINE floats cut_of(const Rounding *r, ints number) {
#if LANES == 16
    return __builtin_shuffle(r->cut[0], number);
#elif LANES == 8
    return __builtin_shuffle(r->cut[0], r->cut[1], number);
#else
    floats cut;
    for (int i = 0; i < LANES; i++) cut[i] = ((const float *)r->cut)[number[i] & 15];
    return cut;
#endif
}

/* Per channel, each padded to whole vectors: see WholeLayer. scales: of each term; ceiling: NULL without a cap.
slope: 0 to 1; slack: less than 1/2; table: of SiLU, 1 half, or mish, 2 halves; NULL for others. */
typedef struct {
    const float *scales[TERMS], *bias, *per_value, *offset, *ceiling, *table;
    int64_t halves;
    float slope, slack;
} Layer;

/* The new k of n vectors of neurons, + ZERO. c: the first channel of each; v: their potentials;
before: the k from which the change is rounded; least: how many thresholds must be due, 0 for any. */
INLINE void fire(int n, const Layer *g, const Rounding *r, const int64_t *c, floats *v,
                 const floats *before, float least, ints *k) {
    if (g->table) {
        if (g->halves == 1) curve(n, g->table, 1, v);
        else curve(n, g->table, 2, v);
        for (int i = 0; i < n; i++) v[i] = v[i] * read(g->per_value + c[i], LANES);
    } else for (int i = 0; i < n; i++) v[i] = larger(v[i], v[i] * g->slope);
    for (int i = 0; i < n; i++) {
        if (g->ceiling) v[i] = smaller(v[i], read(g->ceiling + c[i], LANES));
        v[i] = v[i] + read(g->offset + c[i], LANES);
        /* No more than LARGEST is sent: a whole number is not rounded up, since slack is below 1/2. */
        floats due = smaller(larger(v[i], all(-LARGEST)), all(LARGEST)) - before[i];
        floats base = down(due);
        ints low = __builtin_convertvector(base, ints);
        ints change = low - (due - base >= cut_of(r, low));
        if (least > 0) change &= larger(v[i] - before[i], before[i] - v[i]) >= least;
        k[i] = __builtin_convertvector(before[i], ints) + ZERO + change;
    }
}
