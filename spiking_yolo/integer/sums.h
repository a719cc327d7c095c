/* The sums of a convolution: by what changed, or anew from all that was sent. */

#pragma once
#include "maps.h"

/* WIDEST: vectors of outputs that are added to together. TILE: positions of outputs that are
computed together. */
enum { WIDEST = 8, TILE = LANES == 16 ? 13 : 6 };

INLINE ints numbers(const int32_t *from) {
    ints x;
    memcpy(&x, from, sizeof x);
    return x;
}

/* ---- by events ---- */
/* Adds to each lane the products of its four weights, u8, and of four deltas, s8. */
INLINE ints dot(ints sum, const uint8_t *weights, int32_t four) {
    ints d = (ints){} + four;
#if defined __AVX512VNNI__
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_loadu_si512(weights), (__m512i)d);
#elif defined __AVX512BW__
    __m512i pairs = _mm512_maddubs_epi16(_mm512_loadu_si512(weights), (__m512i)d);
    return sum + (ints)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined __AVX2__
    __m256i pairs = _mm256_maddubs_epi16(_mm256_loadu_si256((const void *)weights), (__m256i)d);
    return sum + (ints)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
    ints w;
    memcpy(&w, weights, sizeof w);
    for (int i = 0; i < 32; i += 8) sum += (w >> i & 255) * (d << (24 - i) >> 24);
    return sum;
#endif
}

/* Adds the products of n entries to `vectors` of sums. balance: the sum of their deltas, which
weights are 128 too large for. */
INLINE void apply(int vectors, const uint8_t *weights, const uint16_t *group, const int32_t *delta,
                  int64_t n, int32_t balance, int32_t *sums) {
    ints acc[WIDEST];
    for (int i = 0; i < vectors; i++) acc[i] = numbers(sums + LANES * i) - ZERO * balance;
    for (int64_t e = 0; e < n; e++) {
        const uint8_t *w = weights + group[e] * vectors * BYTES;
        for (int i = 0; i < vectors; i++) acc[i] = dot(acc[i], w + BYTES * i, delta[e]);
    }
    for (int i = 0; i < vectors; i++) memcpy(sums + LANES * i, acc + i, sizeof *acc);
}

/* Adds what a part of a map has sent at a position to the sums of `lanes` outputs. */
INLINE void add_part(const Part *part, const Map *m, int64_t at, int64_t lanes,
                     const uint8_t *weights, int32_t *sums) {
    int64_t sixteens = at * (m->stride / SIXTEEN + 1);
    const uint16_t *start = m->start + sixteens;
    int64_t slot = at * m->slots + start[part->low], n = start[part->high] - start[part->low];
    int32_t balance = m->balance[sixteens + part->high] - m->balance[sixteens + part->low];
    const uint16_t *group = m->group + slot;
    const int32_t *delta = m->delta + slot;
    if (!n) return;
    if (lanes == 8 * LANES) apply(8, weights, group, delta, n, balance, sums);
    else if (lanes == 4 * LANES) apply(4, weights, group, delta, n, balance, sums);
    else if (lanes == 2 * LANES) apply(2, weights, group, delta, n, balance, sums);
    else apply(1, weights, group, delta, n, balance, sums);
}

/* Adds what changed to the sums of some rows, for a block of outputs. The weights of a tap stay in
the nearest cache while it is applied to all positions. */
static void add_events(const Convolution *g, const Block *b, int64_t first, int64_t last) {
    const Window w = g->reach.window;
    const uint8_t *weights = g->weights + b->at;
    const Part *end = g->reach.part + g->reach.parts;
    for (int64_t tap = 0; tap < w.kernel_h * w.kernel_w; tap++)
        for (const Part *part = g->reach.part; part < end; part++) {
            const Map m = *part->map;
            const uint8_t *own = weights - part->low * SIXTEEN * b->lanes;
            int64_t factor = part->factor_w, left = tap % w.kernel_w * w.dilation_w - w.left;
            weights += (part->high - part->low) * SIXTEEN * b->lanes;
            for (int64_t row = first; row < last; row++) {
                int64_t top = row % w.out_h * w.stride_h - w.top;
                int64_t y = top + tap / w.kernel_w * w.dilation_h;
                int64_t line = row / w.out_h * m.at.h + y / part->factor_h;
                if (y < 0 || y >= w.in_h || !m.at.row[line]) continue;
                int32_t *sums = g->sums + row * w.out_w * g->outs + b->first;
                for (int64_t x = 0; x < w.out_w; x++, sums += g->outs) {
                    int64_t column = x * w.stride_w + left;
                    if (column < 0 || column >= w.in_w) continue;
                    int64_t at = line * m.at.w + (factor == 1 ? column : column / factor);
                    if (m.at.changed[at]) add_part(part, &m, at, b->lanes, own, sums);
                }
            }
        }
}

/* Whether the sums of a layer are computed anew, and not from the sums of the frame before. */
static int is_anew(const Program *p, const Convolution *g) {
    if (p->first || g->kind != EVENTS) return 1;
    int64_t entries = 0, overflow = 0;
    for (const Part *part = g->reach.part; part < g->reach.part + g->reach.parts; part++)
        entries += part->map->entries, overflow |= part->map->overflow;
    return overflow || entries > g->limit;
}

/* ---- anew ---- */
/* Adds to each lane the products of DEPTH cells and weights. */
INLINE ints dot_cells(ints sum, ints x, ints weights) {
#if defined __AVX512VNNI__
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)weights);
#elif defined __AVX512BW__
    return sum + (ints)_mm512_madd_epi16((__m512i)x, (__m512i)weights);
#elif defined __SSE2__
    return sum + (ints)SIMD(madd_epi16)((packed)x, (packed)weights);
#else
    return sum + (x << 16 >> 16) * (weights << 16 >> 16) + (x >> 16) * (weights >> 16);
#endif
}

/* Cells of as many channels, each as the first of a run whose others are 0. */
INLINE ints cells_at(const Cell *from) {
    typedef Cell lanes __attribute__((vector_size(LANES * sizeof(Cell))));
    lanes x;
    memcpy(&x, from, sizeof x);
#if defined __AVX512VNNI__
    return widened(x);
#else
    return __builtin_convertvector(x, ints);
#endif
}

/* What a border lacks, at a position of an image; NULL inside. */
INLINE const int32_t *border_at(const Convolution *g, int64_t row, int64_t x) {
    if (!g->border_row) return NULL;
    int32_t at = g->border_row[row % g->reach.window.out_h * g->reach.window.out_w + x];
    return at < 0 ? NULL : g->border + at * g->outs;
}

INLINE int64_t divided(int64_t a, int64_t b) {
    return b == 1 ? a : (a + (b << 20)) / b - (1 << 20);
}

/* `count` sums of a row, in the given columns, for a block of `vectors`. */
INLINE void tile(int count, int vectors, const Convolution *g, const Block *b, int64_t row,
                 const int32_t *columns, int32_t *sums) {
    const Window *w = &g->reach.window;
    const Weight *weights = (const Weight *)g->direct_weights + b->at;
    const Cell *from[TILE] = {};
    int64_t image = row / w->out_h, top = row % w->out_h * w->stride_h - w->top;
    int64_t taps = g->merged ? 1 : w->kernel_w;
    ints acc[TILE][2];
    for (int t = 0; t < count; t++)
        for (int v = 0; v < vectors; v++) acc[t][v] = numbers(g->offset + b->first + v * LANES);
    for (const Part *part = g->reach.part; part < g->reach.part + g->reach.parts; part++) {
        const Map *m = part->map;
        int64_t stride = m->stride, line = (m->at.w + 2 * m->edge) * stride;
        int64_t channel = part->first + b->channel;
        int repeated = part->factor_h > 1 || part->factor_w > 1;
        const Cell *first = repeated ? NULL : padded_at(m, image, top, -w->left) + channel;
        for (int t = 0; t < count && !repeated; t++)
            from[t] = first + columns[t] * w->stride_w * stride;
        for (int64_t ky = 0; ky < w->kernel_h; ky++)
            for (int64_t kx = 0; kx < taps; kx++) {
                int64_t y = ky * w->dilation_h, x = kx * w->dilation_w, i = y * line + x * stride;
                if (repeated) {
                    int64_t up = divided(top + y, part->factor_h);
                    first = padded_at(m, image, up, 0) + channel - i;
                    for (int t = 0; t < count; t++) {
                        int64_t column = columns[t] * w->stride_w - w->left + x;
                        from[t] = first + divided(column, part->factor_w) * stride;
                    }
                }
                for (int64_t end = i + DEPTH * part->runs; i < end; i += DEPTH) {
                    ints of[2];
                    for (int v = 0; v < vectors; v++, weights += DEPTH * LANES)
                        memcpy(of + v, weights, sizeof *of);
                    for (int t = 0; t < count; t++) {
                        int32_t run;
                        memcpy(&run, from[t] + i, sizeof run);
                        ints x = (ints){} + run;
                        for (int v = 0; v < vectors; v++)
                            acc[t][v] = dot_cells(acc[t][v], x, of[v]);
                    }
                }
            }
    }
    for (int t = 0; t < count; t++) {
        const int32_t *border = border_at(g, row, columns[t]);
        int32_t *to = sums + columns[t] * g->outs + b->first, sum[2 * LANES];
        if (!border && b->lanes == vectors * LANES) {
            for (int v = 0; v < vectors; v++) memcpy(to + v * LANES, &acc[t][v], sizeof **acc);
            continue;
        }
        memcpy(sum, acc[t], vectors * sizeof **acc);
        for (int64_t i = 0; border && i < b->lanes; i++) sum[i] += border[b->first + i];
        memcpy(to, sum, b->lanes * sizeof *to);
    }
}

#define CASE(n) \
    case n: \
        if (b->lanes > LANES) tile(n, 2, g, b, row, columns, sums); \
        else tile(n, 1, g, b, row, columns, sums); \
        break;
static void tiles(const Convolution *g, const Block *b, int64_t row, const int32_t *columns,
                  int64_t n, int32_t *sums) {
    /* Tiles of about the same size: those of few positions wait for each product. */
    for (int64_t left = (n + TILE - 1) / TILE, count; left; left--, columns += count, n -= count) {
        count = (n + left - 1) / left;
        switch (count) {
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if LANES == 16
            CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
#endif
        }
    }
}

static void depthwise(const Convolution *g, int64_t row, const int32_t *columns, int64_t n,
                      int32_t *sums) {
    const Window *w = &g->reach.window;
    const Map *m = g->reach.part->map;
    const int32_t *weights = (const int32_t *)g->direct_weights;
    int64_t image = row / w->out_h, top = row % w->out_h * w->stride_h - w->top;
    int64_t line = (m->at.w + 2 * m->edge) * m->stride * w->dilation_h;
    int64_t next = w->dilation_w * m->stride;
    for (int64_t i = 0; i < n; i++) {
        const Cell *from = padded_at(m, image, top, columns[i] * w->stride_w - w->left);
        const int32_t *border = border_at(g, row, columns[i]);
        from += g->reach.part->first;
        for (int64_t c = 0; c < g->outs; c += LANES) {
            ints sum = numbers(g->offset + c);
            if (border) sum += numbers(border + c);
            for (int64_t ky = 0, k = 0; ky < w->kernel_h; ky++)
                for (int64_t kx = 0; kx < w->kernel_w; kx++, k++) {
                    ints x = cells_at(from + ky * line + kx * next + c);
                    sum += dot_cells((ints){}, x, numbers(weights + k * g->outs + c));
                }
            memcpy(sums + columns[i] * g->outs + c, &sum, sizeof sum);
        }
    }
}

/* The sums of a row in some columns, of blocks of outputs from first to last. */
static void compute_row(const Convolution *g, int64_t row, const int32_t *columns, int64_t n,
                        int64_t first, int64_t last, int32_t *sums) {
    if (g->kind == DEPTHWISE) depthwise(g, row, columns, n, sums);
    else for (int64_t b = first; b < last; b++)
        tiles(g, g->direct_block + b, row, columns, n, sums);
}
