/* A network of whole numbers, one step after the other: a photograph, of which everything is computed, or a later frame of
a video, of which only what changes reach is. Every sum is exact, so that results do not depend on how it is computed.

A map lies channels last, its channels padded to whole sixteens. What neurons have sent is a byte, k + 128. What they send
in a later frame lies in slots of each position: (group, four deltas of 8 bits) for each four channels of which one
changed. A convolution keeps its sums and adds weight * delta.

Threads claim chunks of a step and go on when all its chunks are done, whoever did them: one that waits for a processor
holds up nobody, unless it is in the middle of a chunk. */

#include "neuron.h"
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#if defined _OPENMP
#include <omp.h>
#endif

/* WIDEST: vectors of outputs that are added to together. TILE: positions of outputs that are computed together. CHUNKS: of a
layer by events for each thread, at least. LIMIT: the largest delta of an entry, such that two products with weights up to
255 fit 16 bits where the processor adds pairs in so many. */
enum { SIXTEEN = 16, WIDEST = 8, TILE = LANES == 16 ? 13 : 6, COUNTS = 3, COLUMNS = 3, CHUNKS = 4 };
#if defined __AVX512VNNI__ || !defined __AVX2__
enum { LIMIT = 127 };
#else
enum { LIMIT = 64 };
#endif
typedef uint8_t sixteen __attribute__((vector_size(SIXTEEN)));
typedef int16_t deltas __attribute__((vector_size(2 * SIXTEEN)));
typedef int8_t small __attribute__((vector_size(SIXTEEN)));
/* Maps as layers read them that are computed anew: where the processor adds four products of bytes, what was sent as it is,
elsewhere k as 16 bits, of which it adds two products. */
#if defined __AVX512VNNI__
typedef uint8_t Cell;
typedef int8_t Weight;
enum { DEPTH = 4 };
#else
typedef int16_t Cell;
typedef int16_t Weight;
enum { DEPTH = 2 };
#endif
typedef Cell cells __attribute__((vector_size(SIXTEEN * sizeof(Cell))));

/* Which positions differ from the frame before: h x w of each image. row: whether any of a row does. */
typedef struct {
    int64_t h, w;
    uint8_t *changed, *row;
} Marks;

/* What the image or a layer of neurons or pooling has sent by now. padded: the same as cells, with `edge` rows and columns of
what stands for 0 around each image, or NULL. group, delta: the entries of each position, in order of sixteen channels.
start, balance: which is the first of each sixteen, and the sum of the deltas before it, [positions, sixteens + 1], where a
position has changed. These four may be NULL. ends: where the segments of channels end that are counted apart. costs: what
each event at a position causes, [columns - 1, segments, h * w]. spent: [images, columns, COUNTS]. maps: [COUNTS, images,
segments, h * w], or NULL. entries, changes: entries and positions of this frame; overflow: whether slots were too few. */
typedef struct {
    Marks at;
    int64_t channels, stride, edge, slots, segments, columns;
    uint8_t *sent;
    Cell *padded;
    uint16_t *start, *group;
    int32_t *delta, *balance;
    const int32_t *ends, *costs;
    int64_t *spent;
    float *maps;
    int64_t entries, changes, overflow;
} Map;

/* Channels from `first` of a map that a layer reads, each position of it as often as the factors say. low, high: their
sixteens; runs: how many times DEPTH they are. map: NULL where only marks count. */
typedef struct {
    const Map *map;
    const Marks *at;
    int64_t factor_h, factor_w, first, runs, low, high;
} Part;

/* Windows over maps of in_h x in_w, of which the first begins `top` rows above and `left` columns before. */
typedef struct {
    int64_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left;
} Window;

/* Outputs whose weights lie together: `lanes` of them from `first`, weights from `at`. part: channels from there are read,
in grouped convolutions. */
typedef struct {
    int64_t first, lanes, at, channel;
} Block;

/* A convolution. weights: w + 128, [block][tap][group][out][4]; direct_weights: [block][part][tap][run][out][DEPTH], of a
depthwise one int32 [tap][channel]. merged: whether the taps of a row are one run of memory. offset: added to the sums of
cells, since not all of them stand for 0 by 0. border: added to the sums at a position, [border_row]. sums: [positions,
outs]. EVENTS is replaced by DIRECT at all positions where more than `limit` entries arrive; outside: by the caller.
by_blocks: its weights are so many that blocks of outputs, not rows, are the chunks then. */
enum { EVENTS, DIRECT, DEPTHWISE, VALUE };
typedef struct {
    Marks at;
    Window window;
    int64_t kind, outside, by_blocks, merged, parts, outs, blocks, direct_blocks;
    const Part *part;
    const Block *block, *direct_block;
    const uint8_t *weights;
    const void *direct_weights;
    const int32_t *offset, *border_row, *border;
    int32_t *sums;
    double limit, rate, dense;
} Convolution;

/* What neurons add up: the sums of a convolution, or channels of a map from `first`. */
typedef struct {
    const Convolution *convolution;
    const Map *map;
    int64_t first;
} Term;

/* Neurons, of the largest sums of a window where they are pooled. part, reach: what lets them fire anew, as of a layer.
fused: whether they compute the sums of their only term themselves. */
typedef struct {
    Map *out;
    Layer layer;
    int64_t terms, pooled, fused, parts;
    Term term[TERMS];
    const Part *part;
    Window window, reach;
} Neurons;

typedef struct {
    Map *out;
    Part part;
    Window window;
} Pooling;

/* The image: bytes [images, h, w, 3] of the caller, less `zero` of each channel. */
typedef struct {
    Map *out;
    const uint8_t *bytes;
    const int32_t *zero;
} Image;

/* Each chunk takes `rows` of `total` rows. nanoseconds: CPU time of all threads. OUTSIDE: by the caller. */
enum { IMAGE, SUMS, NEURONS, POOLING, OUTSIDE };
typedef struct {
    int64_t kind, rows, total, chunks;
    void *what;
    int64_t next, done, nanoseconds;
} Step;

/* fresh: whether nothing was sent before; everywhere: whether all neurons are asked, as with a smaller dead zone than in
the frame before. due: how many thresholds must be due, 0 for any. anew: whether values are rounded as in a photograph.
sums: `room` numbers of scratch for each thread. widest: of each thread the largest |sum| that its neurons have read, never
reset here. */
typedef struct {
    int64_t steps, images, threads, fresh, everywhere, anew, room;
    Step *step;
    int32_t *sums;
    float *widest, due;
} Program;

/* ---- counting ---- */
typedef uint64_t sums __attribute__((vector_size(SIXTEEN)));

/* The sums of each eight bytes. */
INLINE sums sums_of(sixteen x) {
#if defined __SSE2__
    return (sums)_mm_sad_epu8((__m128i)x, _mm_setzero_si128());
#else
    sums result = {};
    for (int i = 0; i < SIXTEEN; i++) result[i / 8] += x[i];
    return result;
#endif
}

/* The digits of numbers: the bits of n ^ 3 n, of which the last is none, and the ninth stands for 171 or more. */
INLINE sixteen digits(sixteen n) {
    sixteen half = n >> 1, x = (n + half) ^ half;
    x -= x >> 1 & 0x55;
    x = (x & 0x33) + (x >> 2 & 0x33);
    return ((x + (x >> 4)) & 0x0f) - (sixteen)(n > 170);
}

/* Adds the spikes, digits and messages of sixteen channels, each in two halves. */
INLINE void count(sixteen new, sixteen old, sums *counts) {
    sixteen more = (sixteen)(new > old), n = (more & (new - old)) | (~more & (old - new));
    counts[0] += sums_of(n);
    counts[1] += sums_of(digits(n));
    counts[2] += sums_of((sixteen)(n != 0) & 1);
}

/* Counts channels a to b alone. */
static void count_some(const uint8_t *new, const uint8_t *old, int64_t a, int64_t b, sums *counts) {
    for (int64_t c = a; c < b; c += SIXTEEN) {
        sixteen x, y;
        memcpy(&x, new + c, SIXTEEN);
        memcpy(&y, old + c, SIXTEEN);
        for (int64_t i = b - c; i < SIXTEEN; i++) x[i] = y[i];
        count(x, y, counts);
    }
}

/* What the events of some positions are, and what they cause: added to a map's when they are known. */
typedef struct {
    int64_t spent[COLUMNS][COUNTS], entries, changes, overflow;
} Total;

INLINE void spend(const Program *p, const Map *m, int64_t image, int64_t place, int64_t segment, const sums *counts, Total *total) {
    int64_t size = m->at.h * m->at.w, n[COUNTS];
    for (int k = 0; k < COUNTS; k++) {
        n[k] = (int64_t)(counts[k][0] + counts[k][1]);
        total->spent[0][k] += n[k];
        if (m->maps) m->maps[((k * p->images + image) * m->segments + segment) * size + place] = (float)n[k];
    }
    for (int64_t i = 1; i < m->columns; i++) {
        int64_t cost = m->costs[((i - 1) * m->segments + segment) * size + place];
        for (int k = 0; k < COUNTS; k++) total->spent[i][k] += n[k] * cost;
    }
}

static void add_total(Map *m, int64_t image, const Total *total) {
    if (!total->changes) return;
    for (int64_t i = 0; i < m->columns; i++)
        for (int64_t k = 0; k < COUNTS; k++)
            __atomic_fetch_add(m->spent + (image * m->columns + i) * COUNTS + k, total->spent[i][k], __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->entries, total->entries, __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->changes, total->changes, __ATOMIC_RELAXED);
    if (total->overflow) __atomic_store_n(&m->overflow, 1, __ATOMIC_RELAXED);
}

/* ---- events ---- */
INLINE deltas between(deltas x, int16_t low, int16_t high) {
#if defined __AVX2__
    return (deltas)_mm256_min_epi16(_mm256_max_epi16((__m256i)x, _mm256_set1_epi16(low)), _mm256_set1_epi16(high));
#else
    deltas a = {}, b = {};
    a += low, b += high;
    deltas below = (deltas)(x < a), above = (deltas)(x > b);
    return (below & a) | (above & b) | (~(below | above) & x);
#endif
}

/* Entries of sixteen channels of a position, from the n-th; what an entry does not hold goes to another. */
INLINE int64_t emit(const Map *m, int64_t at, int64_t c, int64_t n, sixteen new, sixteen old, Total *total) {
    uint16_t *group = m->group + at * m->slots;
    int32_t *delta = m->delta + at * m->slots;
    deltas left = __builtin_convertvector(new, deltas) - __builtin_convertvector(old, deltas);
    for (;;) {
        if (n > m->slots - 4) {
            total->overflow = 1;
            return n;
        }
        deltas part = between(left, -LIMIT, LIMIT);
        small narrow = __builtin_convertvector(part, small);
        int32_t four[4];
        memcpy(four, &narrow, sizeof four);
        for (int i = 0; i < 4; i++) {
            group[n] = (uint16_t)(c / 4 + i);
            delta[n] = four[i];
            n += four[i] != 0;
        }
        left -= part;
        uint64_t rest[4];
        memcpy(rest, &left, sizeof rest);
        if (!(rest[0] | rest[1] | rest[2] | rest[3])) return n;
    }
}

static Cell *padded_at(const Map *m, int64_t image, int64_t y, int64_t x) {
    int64_t e = m->edge;
    return m->padded + ((image * (m->at.h + 2 * e) + y + e) * (m->at.w + 2 * e) + x + e) * m->stride;
}

/* A position has sent `new` by now: its events, what they cost, its marks. */
INLINE void commit(const Program *p, Map *m, int64_t row, int64_t x, const uint8_t *new, Total *total) {
    int64_t at = row * m->at.w + x, image = row / m->at.h, y = row % m->at.h, n = 0, stride = m->stride;
    uint8_t *old = m->sent + at * stride;
    int events = m->start && !p->fresh, whole = m->segments == 1;
    sums counts[COUNTS] = {};
    if (p->fresh) memset(old, ZERO, stride);
    for (int64_t s = 0, a = 0; !whole && s < m->segments; a = m->ends[s++]) {
        sums each[COUNTS] = {};
        count_some(new, old, a, m->ends[s], each);
        if (each[0][0] + each[0][1]) spend(p, m, image, y * m->at.w + x, s, each, total);
    }
    int changed = 0;
    int32_t balance = 0;
    int64_t of_sixteens = at * (stride / SIXTEEN + 1);
    for (int64_t c = 0; c < stride; c += SIXTEEN) {
        if (events) m->start[of_sixteens] = (uint16_t)n, m->balance[of_sixteens++] = balance;
        sixteen a, b;
        memcpy(&a, new + c, SIXTEEN);
        memcpy(&b, old + c, SIXTEEN);
        sums differ = (sums)(a ^ b);
        if (!(differ[0] | differ[1])) continue;
        changed = 1;
        if (whole) count(a, b, counts);
        if (events) {
            n = emit(m, at, c, n, a, b, total);
            sums more = sums_of(a) - sums_of(b);
            balance += (int32_t)(more[0] + more[1]);
        }
        memcpy(old + c, &a, SIXTEEN);
    }
    m->at.changed[at] = (uint8_t)(changed |= p->fresh);
    if (!changed) return;
    if (events) m->start[of_sixteens] = (uint16_t)n, m->balance[of_sixteens] = balance;
    if (whole) spend(p, m, image, y * m->at.w + x, 0, counts, total);
    Cell *padded = m->padded ? padded_at(m, image, y, x) : NULL;
    for (int64_t c = 0; padded && c < stride; c += SIXTEEN) {
        sixteen a;
        memcpy(&a, new + c, SIXTEEN);
        cells b = __builtin_convertvector(a, cells) - (sizeof(Cell) == 1 ? 0 : ZERO);
        memcpy(padded + c, &b, sizeof b);
    }
    m->at.row[row] = 1;
    total->entries += n;
    total->changes++;
}

/* Nothing has changed in a row, as far as is known. */
static void rest(Map *m, int64_t row) {
    if (!m->at.row[row]) return;
    m->at.row[row] = 0;
    memset(m->at.changed + row * m->at.w, 0, m->at.w);
}

/* ---- what changes reach ---- */
/* Marks the windows of a row of outputs that see a position which changed; returns whether any does. */
static int reach(const Window *g, int64_t parts, const Part *part, int64_t row, uint8_t *marks) {
    int64_t image = row / g->out_h, top = row % g->out_h * g->stride_h - g->top, found = 0;
    int64_t span = (g->out_w - 1) * g->stride_w + (g->kernel_w - 1) * g->dilation_w + 1;
    uint8_t any[most(span, g->left + g->in_w)];
    memset(any, 0, sizeof any);
    for (int64_t k = 0; k < g->kernel_h; k++) {
        int64_t y = top + k * g->dilation_h;
        if (y < 0 || y >= g->in_h) continue;
        for (int64_t i = 0; i < parts; i++) {
            const Marks *at = part[i].at;
            int64_t line = image * at->h + y / part[i].factor_h, factor = part[i].factor_w;
            if (!at->row[line]) continue;
            const uint8_t *changed = at->changed + line * at->w;
            found = 1;
            if (factor == 1) for (int64_t x = 0; x < at->w; x++) any[g->left + x] |= changed[x];
            else for (int64_t x = 0; x < g->in_w; x++) any[g->left + x] |= changed[x / factor];
        }
    }
    memset(marks, 0, g->out_w);
    if (!found) return 0;
    for (int64_t k = 0; k < g->kernel_w; k++) {
        const uint8_t *from = any + k * g->dilation_w;
        if (g->stride_w == 1) for (int64_t x = 0; x < g->out_w; x++) marks[x] |= from[x];
        else for (int64_t x = 0; x < g->out_w; x++) marks[x] |= from[x * g->stride_w];
    }
    return memchr(marks, 1, g->out_w) != NULL;
}

/* ---- sums: events ---- */
INLINE ints numbers(const int32_t *from) {
    ints x;
    memcpy(&x, from, sizeof x);
    return x;
}

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

/* Adds the products of n entries to `vectors` of sums. balance: the sum of their deltas, which weights are 128 too large for. */
INLINE void apply(int vectors, const uint8_t *weights, const uint16_t *group, const int32_t *delta, int64_t n, int32_t balance, int32_t *sums) {
    ints acc[WIDEST];
    for (int i = 0; i < vectors; i++) acc[i] = numbers(sums + LANES * i) - ZERO * balance;
    for (int64_t e = 0; e < n; e++) {
        const uint8_t *w = weights + group[e] * vectors * BYTES;
        for (int i = 0; i < vectors; i++) acc[i] = dot(acc[i], w + BYTES * i, delta[e]);
    }
    for (int i = 0; i < vectors; i++) memcpy(sums + LANES * i, acc + i, sizeof *acc);
}

/* Adds what a part of a map has sent at a position to the sums of `lanes` outputs. */
INLINE void add_part(const Part *part, const Map *m, int64_t at, int64_t lanes, const uint8_t *weights, int32_t *sums) {
    int64_t sixteens = at * (m->stride / SIXTEEN + 1);
    const uint16_t *start = m->start + sixteens, *group = m->group + at * m->slots + start[part->low];
    const int32_t *before = m->balance + sixteens, *delta = m->delta + at * m->slots + start[part->low];
    int64_t n = start[part->high] - start[part->low];
    int32_t balance = before[part->high] - before[part->low];
    if (!n) return;
    if (lanes == 8 * LANES) apply(8, weights, group, delta, n, balance, sums);
    else if (lanes == 4 * LANES) apply(4, weights, group, delta, n, balance, sums);
    else if (lanes == 2 * LANES) apply(2, weights, group, delta, n, balance, sums);
    else apply(1, weights, group, delta, n, balance, sums);
}

/* Adds what changed to the sums of some rows, for a block of outputs. The weights of a tap stay in the nearest cache while it
is applied to all positions. */
static void add_events(const Convolution *g, const Block *b, int64_t first, int64_t last) {
    const Window w = g->window;
    const uint8_t *weights = g->weights + b->at;
    for (int64_t tap = 0; tap < w.kernel_h * w.kernel_w; tap++)
        for (const Part *part = g->part; part < g->part + g->parts; part++) {
            const Map m = *part->map;
            const uint8_t *own = weights - part->low * SIXTEEN * b->lanes;
            int64_t factor = part->factor_w, left = tap % w.kernel_w * w.dilation_w - w.left;
            weights += (part->high - part->low) * SIXTEEN * b->lanes;
            for (int64_t row = first; row < last; row++) {
                int64_t y = row % w.out_h * w.stride_h - w.top + tap / w.kernel_w * w.dilation_h;
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

/* ---- sums: computed anew from what was sent ---- */
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
static const int32_t *border_at(const Convolution *g, int64_t place) {
    if (!g->border_row || g->border_row[place] < 0) return NULL;
    return g->border + g->border_row[place] * g->outs;
}

INLINE int64_t divided(int64_t a, int64_t b) { return b == 1 ? a : (a + (b << 20)) / b - (1 << 20); }

/* `count` sums of a row, in the given columns, for a block of `vectors`. */
INLINE void tile(int count, int vectors, const Convolution *g, const Block *b, int64_t row, const int32_t *columns, int32_t *sums) {
    const Window *w = &g->window;
    const Weight *weights = (const Weight *)g->direct_weights + b->at;
    const Cell *from[TILE] = {};
    int64_t image = row / w->out_h, top = row % w->out_h * w->stride_h - w->top, taps = g->merged ? 1 : w->kernel_w;
    ints acc[TILE][2];
    for (int t = 0; t < count; t++)
        for (int v = 0; v < vectors; v++) acc[t][v] = numbers(g->offset + b->first + v * LANES);
    for (const Part *part = g->part; part < g->part + g->parts; part++) {
        const Map *m = part->map;
        int64_t stride = m->stride, line = (m->at.w + 2 * m->edge) * stride, channel = part->first + b->channel;
        int repeated = part->factor_h > 1 || part->factor_w > 1;
        const Cell *first = repeated ? NULL : padded_at(m, image, top, -w->left) + channel;
        for (int t = 0; t < count && !repeated; t++) from[t] = first + columns[t] * w->stride_w * stride;
        for (int64_t ky = 0; ky < w->kernel_h; ky++)
            for (int64_t kx = 0; kx < taps; kx++) {
                int64_t y = ky * w->dilation_h, x = kx * w->dilation_w, i = y * line + x * stride;
                if (repeated) {
                    first = padded_at(m, image, divided(top + y, part->factor_h), 0) + channel - i;
                    for (int t = 0; t < count; t++) from[t] = first + divided(columns[t] * w->stride_w - w->left + x, part->factor_w) * stride;
                }
                for (int64_t end = i + DEPTH * part->runs; i < end; i += DEPTH, weights += DEPTH * LANES * vectors) {
                    ints of[2];
                    for (int v = 0; v < vectors; v++) memcpy(of + v, weights + DEPTH * LANES * v, sizeof *of);
                    for (int t = 0; t < count; t++) {
                        int32_t run;
                        memcpy(&run, from[t] + i, sizeof run);
                        ints everywhere = (ints){} + run;
                        for (int v = 0; v < vectors; v++) acc[t][v] = dot_cells(acc[t][v], everywhere, of[v]);
                    }
                }
            }
    }
    for (int t = 0; t < count; t++) {
        int64_t at = row * w->out_w + columns[t];
        const int32_t *border = border_at(g, at - image * w->out_h * w->out_w);
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

#define CASE(n) case n: if (wide) tile(n, 2, g, b, row, columns, sums); else tile(n, 1, g, b, row, columns, sums); break;
static void tiles(const Convolution *g, const Block *b, int64_t row, const int32_t *columns, int64_t n, int32_t *sums) {
    int wide = b->lanes > LANES;
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

static void depthwise(const Convolution *g, int64_t row, const int32_t *columns, int64_t n, int32_t *sums) {
    const Window *w = &g->window;
    const Part *part = g->part;
    int64_t image = row / w->out_h, top = row % w->out_h * w->stride_h - w->top, line = padded_at(part->map, 0, 1, 0) - padded_at(part->map, 0, 0, 0);
    const int32_t *weights = (const int32_t *)g->direct_weights;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = row * w->out_w + columns[i];
        const Cell *from = padded_at(part->map, image, top, columns[i] * w->stride_w - w->left) + part->first;
        const int32_t *border = border_at(g, at - image * w->out_h * w->out_w);
        for (int64_t c = 0; c < g->outs; c += LANES) {
            ints sum = numbers(g->offset + c);
            if (border) sum += numbers(border + c);
            for (int64_t ky = 0, k = 0; ky < w->kernel_h; ky++)
                for (int64_t kx = 0; kx < w->kernel_w; kx++, k++) {
                    ints x = cells_at(from + ky * w->dilation_h * line + kx * w->dilation_w * part->map->stride + c);
                    sum += dot_cells((ints){}, x, numbers(weights + k * g->outs + c));
                }
            memcpy(sums + columns[i] * g->outs + c, &sum, sizeof sum);
        }
    }
}

/* Whether the sums of a layer are computed everywhere, not by events. */
static int dense(const Program *p, const Convolution *g) {
    if (p->fresh) return 1;
    if (g->kind != EVENTS) return 0;
    int64_t entries = 0, overflow = 0;
    for (int64_t i = 0; i < g->parts; i++) entries += g->part[i].map->entries, overflow |= g->part[i].map->overflow;
    return overflow || entries > g->limit;
}

static int by_events(const Program *p, const Convolution *g) { return g->kind == EVENTS && !dense(p, g); }

/* The sums of a row of outputs where marked, of some blocks. */
static void anew(const Convolution *g, const uint8_t *marks, int64_t row, int64_t first, int64_t last, int32_t *sums) {
    int64_t w = g->window.out_w, n = 0;
    int32_t columns[w];
    for (int64_t x = 0; x < w; x++)
        if (!marks || marks[x]) columns[n++] = (int32_t)x;
    if (g->kind == DEPTHWISE) depthwise(g, row, columns, n, sums);
    else for (int64_t b = first; b < last; b++) tiles(g, g->direct_block + b, row, columns, n, sums);
}

/* Computes the sums that a layer keeps. */
static void renew(const Convolution *g, int everywhere, int64_t row, int64_t first, int64_t last) {
    const uint8_t *marks = everywhere ? NULL : g->at.changed + row * g->window.out_w;
    anew(g, marks, row, first, last, g->sums + row * g->window.out_w * g->outs);
}

/* ---- steps, by rows ---- */
static int mark(const Program *p, const Convolution *g, int64_t row) {
    uint8_t *marks = g->at.changed + row * g->window.out_w;
    if (!p->fresh) return g->at.row[row] = reach(&g->window, g->parts, g->part, row, marks);
    memset(marks, 1, g->window.out_w);
    return g->at.row[row] = 1;
}

typedef uint8_t pixel __attribute__((vector_size(4)));
typedef Cell padded_pixel __attribute__((vector_size(4 * sizeof(Cell))));

static void image_row(const Program *p, const Image *g, int64_t row) {
    Map *m = g->out;
    int64_t w = m->at.w, image = row / m->at.h, place = row % m->at.h * w, values = 0, spent = 0;
    const uint8_t *new = g->bytes + row * w * 3;
    uint8_t *old = m->sent + row * w * 3, *changed = m->at.changed + row * w;
    Cell *padded = m->padded ? padded_at(m, image, row % m->at.h, 0) : NULL;
    padded_pixel zero = {};
    for (int i = 0; i < 3 && sizeof(Cell) > 1; i++) zero[i] = (Cell)g->zero[i];
    m->at.row[row] = p->fresh || memcmp(new, old, w * 3);
    if (!m->at.row[row]) {
        memset(changed, 0, w);
        return;
    }
    int64_t changes = 0;
    for (int64_t x = 0; x < w; x++) {
        uint32_t a = 0, b = 0;
        /* Four bytes where there are: the last of them has no weight. */
        if (x < w - 1) memcpy(&a, new + 3 * x, 4), memcpy(&b, old + 3 * x, 4);
        else memcpy(&a, new + 3 * x, 3), memcpy(&b, old + 3 * x, 3);
        uint32_t differs = (a ^ b) & 0xffffff;
        int64_t n = !!(differs & 0xff) + !!(differs & 0xff00) + !!(differs & 0xff0000);
        changed[x] = p->fresh || n;
        changes += changed[x];
        values += n;
        spent += n * m->costs[place + x];
        if (!padded) continue;
        pixel bytes;
        memcpy(&bytes, &a, sizeof bytes);
        padded_pixel c = __builtin_convertvector(bytes, padded_pixel) - zero;
        memcpy(padded + 4 * x, &c, sizeof c);
    }
    memcpy(old, new, w * 3);
    Total total = {.changes = changes};
    for (int k = 0; k < COUNTS && !p->fresh; k++) total.spent[0][k] = values, total.spent[1][k] = spent;
    add_total(m, image, &total);
}

INLINE floats sums_at(const int32_t *sums) {
    ints sum;
    memcpy(&sum, sums, sizeof sum);
    return __builtin_convertvector(sum, floats);
}

/* Rows of sums in a window of neurons, from the first, and its first and last columns at a position. */
enum { ROWS = 64 };
typedef struct {
    const int32_t *row[ROWS];
    int64_t rows;
} Rows;

static Rows rows_of(const Window *w, int64_t row, const int32_t *sums, int64_t outs) {
    int64_t image = row / w->out_h, y = row % w->out_h * w->stride_h - w->top;
    Rows result = {.rows = 0};
    for (int64_t j = most(y, 0); j < least(y + w->kernel_h, w->in_h); j++)
        result.row[result.rows++] = sums + (image * w->in_h + j) * w->in_w * outs;
    return result;
}

/* The sums of the layer that neurons with these marks read, which keeps none: rows of scratch. */
static Rows fused(const Neurons *g, int64_t row, const uint8_t *marks, int32_t *scratch) {
    const Convolution *from = g->term[0].convolution;
    const Window *w = &g->window;
    int64_t image = row / w->out_h, y = row % w->out_h * w->stride_h - w->top;
    uint8_t needed[w->in_w];
    memset(needed, 0, w->in_w);
    for (int64_t x = 0; x < w->out_w; x++)
        for (int64_t i = most(x * w->stride_w - w->left, 0); marks[x] && i < least(x * w->stride_w - w->left + w->kernel_w, w->in_w); i++)
            needed[i] = 1;
    Rows result = {.rows = 0};
    for (int64_t j = most(y, 0); j < least(y + w->kernel_h, w->in_h); j++) {
        int32_t *sums = scratch + result.rows * w->in_w * from->outs;
        anew(from, needed, image * w->in_h + j, 0, from->direct_blocks, sums);
        result.row[result.rows++] = sums;
    }
    return result;
}

/* Keeps the largest |x| of each lane in `widest`; returns x. */
INLINE floats seen(floats x, floats *widest) {
    *widest = larger(*widest, (floats)((ints)x & INT32_MAX));
    return x;
}

/* The first n lanes; the others are 0. */
INLINE floats first_lanes(floats x, int64_t n) {
    ints lane = {};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return (floats)((ints)x & (lane < (int32_t)n));
}

/* The largest sums of a window. */
INLINE floats largest_at(const Rows *rows, const Window *w, int64_t x, int64_t outs, int64_t c, floats *widest) {
    int64_t left = x * w->stride_w - w->left;
    floats result = all(-__builtin_inff());
    if (w->kernel_w == 2 && left >= 0 && left + 2 <= w->in_w && rows->rows == 2) {
        const int32_t *a = rows->row[0] + left * outs + c, *b = rows->row[1] + left * outs + c;
        floats upper = larger(seen(sums_at(a), widest), seen(sums_at(a + outs), widest));
        return larger(upper, larger(seen(sums_at(b), widest), seen(sums_at(b + outs), widest)));
    }
    for (int64_t j = 0; j < rows->rows; j++)
        for (int64_t i = most(left, 0); i < least(left + w->kernel_w, w->in_w); i++)
            result = larger(result, seen(sums_at(rows->row[j] + i * outs + c), widest));
    return result;
}

INLINE floats sent_at(const uint8_t *from) {
    quarter x;
    memcpy(&x, from, LANES);
    return __builtin_convertvector(widened(x) - ZERO, floats);
}

/* What n vectors of neurons from channel c have sent by now. widest: the largest |sum| that each lane has read. */
INLINE void ask_some(int n, const Program *p, const Neurons *g, const Layer *layer, const Rounding *r, const Rows *rows, int64_t x, int64_t at,
                     int64_t c, uint8_t *new, floats *widest) {
    const Convolution *from = g->term[0].convolution;
    const uint8_t *old = g->out->sent + at * g->out->stride;
    floats v[TOGETHER], before[TOGETHER];
    ints k[TOGETHER];
    for (int i = 0; i < n; i++, c += LANES) {
        floats own = {};
        if (g->terms == 1 && from && !g->pooled) v[i] = seen(sums_at(rows->row[0] + x * from->outs + c), &own) * read(layer->scales[0] + c, LANES);
        else for (int64_t k = 0; k < g->terms; k++) {
            const Term *t = g->term + k;
            floats term;
            if (t->map) term = seen(sent_at(t->map->sent + at * t->map->stride + t->first + c), &own);
            else if (g->pooled) term = largest_at(rows, &g->window, x, from->outs, c, &own);
            else term = seen(sums_at(t->convolution->sums + at * t->convolution->outs + c), &own);
            term = term * read(layer->scales[k] + c, LANES);
            v[i] = k ? v[i] + term : term;
        }
        v[i] = v[i] + read(layer->bias + c, LANES);
        before[i] = all(0);
        if (!p->fresh && !p->anew) before[i] = sent_at(old + c);
        /* Lanes beyond the channels hold anything. */
        if (c + LANES > g->out->channels) own = first_lanes(own, g->out->channels - c);
        *widest = larger(*widest, own);
    }
    c -= n * LANES;
    fire(n, layer, r, c, v, before, p->fresh ? 0 : p->due, k);
    for (int i = 0; i < n; i++) {
        quarter byte = narrowed(k[i]);
        memcpy(new + c + i * LANES, &byte, LANES);
    }
}

/* What the neurons of a position have sent by now. */
INLINE void ask(const Program *p, const Neurons *g, const Layer *layer, const Rounding *r, const Rows *rows, int64_t x, int64_t at, uint8_t *new,
                floats *widest) {
    int64_t c = 0, stride = g->out->stride;
    for (; c + 4 * LANES <= stride; c += 4 * LANES) ask_some(4, p, g, layer, r, rows, x, at, c, new, widest);
    if (c + 2 * LANES <= stride) ask_some(2, p, g, layer, r, rows, x, at, c, new, widest), c += 2 * LANES;
    if (c < stride) ask_some(1, p, g, layer, r, rows, x, at, c, new, widest);
}

static void neurons_row(const Program *p, const Neurons *g, const Rounding *r, int64_t row, int64_t thread) {
    Map *m = g->out;
    int64_t w = m->at.w;
    uint8_t marks[w], new[m->stride + SIXTEEN];
    Total total = {};
    rest(m, row);
    if (p->everywhere) memset(marks, 1, w);
    else if (!reach(&g->reach, g->parts, g->part, row, marks)) return;
    const Convolution *from = g->term[0].convolution;
    const Layer layer = g->layer;
    floats widest = {};
    Rows rows = {};
    if (g->fused) rows = fused(g, row, marks, p->sums + thread * p->room);
    else if (from) rows = rows_of(&g->window, row, from->sums, from->outs);
    for (int64_t x = 0; x < w; x++) {
        if (!marks[x]) continue;
        ask(p, g, &layer, r, &rows, x, row * w + x, new, &widest);
        commit(p, m, row, x, new, &total);
    }
    float *own = p->widest + thread;
    for (int i = 0; i < LANES; i++)
        if (widest[i] > *own) *own = widest[i];
    add_total(m, row / m->at.h, &total);
}

static void pooling_row(const Program *p, const Pooling *g, int64_t row) {
    Map *m = g->out;
    const Map *from = g->part.map;
    const Window *w = &g->window;
    int64_t image = row / w->out_h, y = row % w->out_h * w->stride_h - w->top;
    uint8_t marks[m->at.w], new[m->stride + SIXTEEN];
    Total total = {};
    rest(m, row);
    if (p->fresh) memset(marks, 1, m->at.w);
    else if (!reach(w, 1, &g->part, row, marks)) return;
    memset(new, ZERO, m->stride);
    for (int64_t x = 0; x < m->at.w; x++) {
        int64_t left = x * w->stride_w - w->left;
        if (!marks[x]) continue;
        for (int64_t c = 0; c < m->channels; c += SIXTEEN) {
            sixteen best = {};
            for (int64_t j = most(y, 0); j < least(y + w->kernel_h, w->in_h); j++)
                for (int64_t i = most(left, 0); i < least(left + w->kernel_w, w->in_w); i++) {
                    sixteen bytes;
                    memcpy(&bytes, from->sent + ((image * w->in_h + j) * w->in_w + i) * from->stride + g->part.first + c, SIXTEEN);
                    sixteen more = (sixteen)(bytes > best);
                    best = (more & bytes) | (~more & best);
                }
            memcpy(new + c, &best, least(m->channels - c, SIXTEEN));
        }
        commit(p, m, row, x, new, &total);
    }
    add_total(m, image, &total);
}

/* ---- a frame ---- */
/* Into how many runs the rows of a layer by events are divided, for each block of its outputs. */
static int64_t bands(const Program *p, const Step *s) {
    const Convolution *g = s->what;
    return p->threads == 1 ? 1 : least(s->total, 1 + CHUNKS * p->threads / g->blocks);
}

static int64_t chunks(const Program *p, const Step *s) {
    const Convolution *g = s->what;
    if (s->kind == OUTSIDE) return 0;
    if (s->kind == SUMS && by_events(p, g)) return g->blocks * bands(p, s);
    return s->kind == SUMS && g->by_blocks ? g->direct_blocks : s->chunks;
}

static void layer_chunk(const Program *p, const Step *s, int64_t k) {
    const Convolution *g = s->what;
    int events = by_events(p, g), everywhere = dense(p, g);
    int64_t first = k * s->rows, last = least(first + s->rows, s->total), block = 0, blocks = g->direct_blocks;
    if (events) {
        int64_t n = bands(p, s);
        block = k / n, first = s->total * (k % n) / n, last = s->total * (k % n + 1) / n;
    } else if (g->by_blocks) block = k, blocks = k + 1, first = 0, last = s->total;
    for (int64_t row = first; row < last; row++) {
        int changed = block ? everywhere : mark(p, g, row);
        if (changed && !events) renew(g, everywhere, row, block, blocks);
    }
    if (events) add_events(g, g->block + block, first, last);
}

static void chunk(const Program *p, const Step *s, int64_t k, int64_t thread) {
    if (s->kind == SUMS) {
        layer_chunk(p, s, k);
        return;
    }
    Rounding r;
    if (s->kind == NEURONS) r = rounding(((const Neurons *)s->what)->layer.slack);
    for (int64_t row = k * s->rows, last = least(row + s->rows, s->total); row < last; row++) {
        if (s->kind == IMAGE) image_row(p, s->what, row);
        else if (s->kind == NEURONS) neurons_row(p, s->what, &r, row, thread);
        else pooling_row(p, s->what, row);
    }
}

/* Whether the caller computes a step. */
static int outside(const Program *p, const Step *s) {
    if (s->kind == OUTSIDE) return 1;
    return s->kind == SUMS && ((const Convolution *)s->what)->outside && dense(p, s->what);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1000000000 * (int64_t)t.tv_sec + t.tv_nsec;
}

static void work(const Program *p, int64_t from, int64_t thread) {
    for (int64_t i = from; i < p->steps && !outside(p, p->step + i); i++) {
        Step *s = p->step + i;
        int64_t total = chunks(p, s), k, start = now();
        while ((k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < total) {
            chunk(p, s, k, thread);
            __atomic_fetch_add(&s->done, 1, __ATOMIC_RELEASE);
        }
        __atomic_fetch_add(&s->nanoseconds, now() - start, __ATOMIC_RELAXED);
        for (int64_t turns = 0; __atomic_load_n(&s->done, __ATOMIC_ACQUIRE) < total; turns++)
            if (turns > 100) sched_yield();
    }
}

/* Learns from what the steps took how many entries are worth computing a layer everywhere. */
static void learn(const Program *p, int64_t from, int64_t end) {
    for (int64_t i = from; i < end; i++) {
        if (p->step[i].kind != SUMS) continue;
        Convolution *g = p->step[i].what;
        if (g->kind != EVENTS) continue;
        double spent = p->step[i].nanoseconds;
        int64_t entries = 0;
        for (int64_t k = 0; k < g->parts; k++) entries += g->part[k].map->entries;
        if (dense(p, g)) {
            if (!g->dense || spent < g->dense) g->dense = spent;
        } else if (entries > 64 * g->window.out_h && (!g->rate || spent / entries < g->rate)) g->rate = spent / entries;
        if (g->dense && g->rate) g->limit = g->dense / g->rate;
    }
}

/* Nothing has been sent in this frame. */
static void clear(const Program *p, Map *m) {
    m->entries = m->changes = m->overflow = 0;
    if (m->segments) memset(m->spent, 0, p->images * m->columns * COUNTS * sizeof *m->spent);
}

/* Runs the steps from one on, to the first that the caller computes, which is returned, or to the end. */
int64_t run(Program *p, int64_t from) {
    if (!from)
        for (int64_t i = 0; i < p->steps; i++) {
            Step *s = p->step + i;
            s->next = s->done = s->nanoseconds = 0;
            /* The map is the first that these have. */
            if (s->kind == IMAGE || s->kind == NEURONS || s->kind == POOLING) clear(p, *(Map **)s->what);
        }
#pragma omp parallel num_threads(p->threads)
    {
#if defined _OPENMP
        work(p, from, omp_get_thread_num());
#else
        work(p, from, 0);
#endif
    }
    int64_t end = from;
    while (end < p->steps && !outside(p, p->step + end)) end++;
    learn(p, from, end);
    return end;
}

/* Whole numbers [positions, channels] become the sums of a value. */
void absorb(Convolution *g, const float *values, int64_t positions, int64_t channels) {
    for (int64_t i = 0; i < positions; i++)
        for (int64_t c = 0; c < channels; c++) g->sums[i * g->outs + c] = (int32_t)values[i * channels + c];
}

/* Bytes [positions, channels] of the caller become what a map has sent. */
void receive(const Program *p, Map *m, const uint8_t *bytes) {
    uint8_t new[m->stride + SIXTEEN];
    memset(new, ZERO, m->stride);
    clear(p, m);
    for (int64_t row = 0; row < p->images * m->at.h; row++) {
        Total total = {};
        m->at.row[row] = 0;
        for (int64_t x = 0; x < m->at.w; x++) {
            memcpy(new, bytes + (row * m->at.w + x) * m->channels, m->channels);
            commit(p, m, row, x, new, &total);
        }
        add_total(m, row / m->at.h, &total);
    }
}

/* What remains of a row of n numbers from one on, in TOGETHER vectors at most; `rest` beyond its end. */
INLINE void part_of(const float *row, int64_t n, float rest, floats *x) {
    for (int i = 0; i < TOGETHER; i++) x[i] = all(rest);
    memcpy(x, row, least(n, TOGETHER * LANES) * sizeof *row);
}

/* Neurons whose activation is a softmax of each row of sums, [images, heads, rows, tokens]. layer: of heads. old: the k
before. Writes k, and adds what is sent to `counts`, [images, COUNTS]. */
void softmax(const Program *p, const Layer *layer, const int64_t *size, const float *sums, const float *old, float *k, int64_t *counts) {
    enum { WIDTH = TOGETHER * LANES };
    int64_t heads = size[1], rows = size[2], tokens = size[3];
    floats v[(tokens + WIDTH - 1) / WIDTH][TOGETHER];
    /* e^x is rounded to whole numbers, so many at most that their sum is exact: see neuron.softmax. */
    float room = 1 << 24;
    for (int64_t i = tokens - 1; i > 0; i /= 2) room /= 2;
    Rounding r = rounding(layer->slack);
    for (int64_t row = 0; row < size[0] * heads * rows; row++, sums += tokens, old += tokens, k += tokens) {
        int64_t head = row / rows % heads, *sent = counts + row / rows / heads * COUNTS;
        float offset[WIDTH], ceiling[WIDTH], sum = 0;
        for (int i = 0; i < WIDTH; i++) offset[i] = layer->offset[head], ceiling[i] = layer->ceiling[head];
        Layer own = {.offset = offset, .ceiling = ceiling, .slope = 1};
        floats top = all(-__builtin_inff()), total = {};
        ints events[COUNTS] = {};
        for (int64_t c = 0; c < tokens; c += WIDTH) {
            floats *x = v[c / WIDTH];
            part_of(sums + c, tokens - c, -__builtin_inff(), x);
            for (int i = 0; i < TOGETHER; i++) x[i] = x[i] * layer->scales[0][head] + layer->bias[head], top = larger(top, x[i]);
        }
        for (int i = 1; i < LANES; i++) top[0] = top[i] > top[0] ? top[i] : top[0];
        for (int64_t c = 0; c < tokens; c += WIDTH) {
            floats *x = v[c / WIDTH];
            for (int i = 0; i < TOGETHER; i++) x[i] = x[i] - top[0];
            power(TOGETHER, x);
            /* Added to 2^23, a number is rounded. */
            for (int i = 0; i < TOGETHER; i++) x[i] = (x[i] * room + 8388608) - 8388608, total += x[i];
        }
        for (int i = 0; i < LANES; i++) sum += total[i];
        for (int64_t c = 0; c < tokens; c += WIDTH) {
            floats *x = v[c / WIDTH], before[TOGETHER], none[TOGETHER] = {};
            ints now[TOGETHER];
            part_of(old + c, tokens - c, 0, before);
            for (int i = 0; i < TOGETHER; i++) x[i] = x[i] / sum * layer->per_value[head];
            fire(TOGETHER, &own, &r, 0, x, p->anew ? none : before, p->fresh ? 0 : p->due, now);
            for (int i = 0; i < TOGETHER; i++) {
                x[i] = __builtin_convertvector(now[i] - ZERO, floats);
                floats n = first_lanes(x[i] - before[i], tokens - c - i * LANES);
                events[0] += __builtin_convertvector(larger(n, -n), ints);
                events[1] += digits_of(n);
                events[2] -= n != 0;
            }
            memcpy(k + c, x, least(tokens - c, WIDTH) * sizeof *k);
        }
        for (int i = 0; i < COUNTS; i++)
            for (int j = 0; j < LANES; j++) sent[i] += events[i][j];
    }
}

/* Outputs whose weights lie together at most, LANES, the largest delta of an entry, and DEPTH. */
void layout(int64_t *sizes) { sizes[0] = WIDEST * LANES, sizes[1] = LANES, sizes[2] = LIMIT, sizes[3] = DEPTH; }

/* The state of the sources that the library was made of; setup.py gives it. */
int source(void) { return SOURCE; }
