/* What has been sent: counted, written as events, and marked; and what changes reach. */

#pragma once
#include "program.h"

typedef uint8_t sixteen __attribute__((vector_size(SIXTEEN)));
typedef int16_t deltas __attribute__((vector_size(2 * SIXTEEN)));
typedef int8_t small __attribute__((vector_size(SIXTEEN)));
typedef Cell cells __attribute__((vector_size(SIXTEEN * sizeof(Cell))));
typedef uint8_t bytes __attribute__((vector_size(BYTES)));
typedef uint64_t longs __attribute__((vector_size(BYTES)));

/* ---- counting ---- */
/* The sums of each eight bytes. */
INLINE longs sums_of(bytes x) {
#if defined __AVX512F__ || defined __AVX2__
    return (longs)SIMD(sad_epu8)((packed)x, (packed)(bytes){});
#elif defined __SSE2__
    return (longs)_mm_sad_epu8((__m128i)x, _mm_setzero_si128());
#else
    longs result = {};
    for (int i = 0; i < BYTES; i++) result[i / 8] += x[i];
    return result;
#endif
}

/* The digits of numbers: the bits of n ^ 3 n, of which the last is none, and the ninth stands for
171 or more. */
INLINE bytes digits(bytes n) {
    bytes half = n >> 1, x = (n + half) ^ half;
#if defined __AVX2__
    static const uint8_t bits[] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
    packed table = BROADCAST(_mm_loadu_si128((const void *)bits));
    bytes low = (bytes)SIMD(shuffle_epi8)(table, (packed)(x & 15));
    x = low + (bytes)SIMD(shuffle_epi8)(table, (packed)(x >> 4));
#else
    x -= x >> 1 & 0x55;
    x = (x & 0x33) + (x >> 2 & 0x33);
    x = (x + (x >> 4)) & 0x0f;
#endif
    return x - (bytes)(n > 170);
}

/* n bytes, and ZERO beyond them; nothing but ZERO of NULL. */
INLINE bytes read_bytes(const uint8_t *from, int64_t n) {
    bytes x = (bytes){} + ZERO;
    if (!from) return x;
    if (n >= BYTES) memcpy(&x, from, BYTES);
    else if (n == SIXTEEN) memcpy(&x, from, SIXTEEN);
    else if (n == 2 * SIXTEEN) memcpy(&x, from, least(2 * SIXTEEN, BYTES));
    else memcpy(&x, from, n);
    return x;
}

/* Adds the spikes, digits and messages of n bytes that were `old`, or nothing if NULL: to the
counts of one vector after the other, over and over. */
INLINE void count(const uint8_t *new, const uint8_t *old, int64_t n, int64_t vectors,
                  longs (*counts)[COUNTS]) {
    for (int64_t v = 0; v < vectors; v++) {
        longs spikes = {}, messages = {}, all_digits = {};
        for (int64_t c = v * BYTES; c < n; c += vectors * BYTES) {
            bytes a = read_bytes(new + c, n - c), b = read_bytes(old ? old + c : NULL, n - c);
            bytes more = (bytes)(a > b), size = (more & (a - b)) | (~more & (b - a));
            spikes += sums_of(size);
            all_digits += sums_of(digits(size));
            messages += sums_of((bytes)(size != 0) & 1);
        }
        counts[v][0] += spikes, counts[v][1] += all_digits, counts[v][2] += messages;
    }
}

/* What the events of some positions are, and what they cause: added to a map's when they are
known. */
typedef struct {
    int64_t spent[COLUMNS][COUNTS], entries, changes, overflow;
} Total;

/* Adds the events of a segment at a place, or at several whose costs are the same. */
INLINE void spend(const Program *p, const Map *m, int64_t image, int64_t place, int64_t segment,
                  const int64_t *n, Total *total) {
    int64_t size = m->at.h * m->at.w;
    for (int k = 0; k < COUNTS; k++) {
        total->spent[0][k] += n[k];
        if (!m->maps) continue;
        m->maps[((k * p->images + image) * m->segments + segment) * size + place] = (float)n[k];
    }
    for (int64_t i = 1; i < m->columns; i++) {
        int64_t cost = m->costs[((i - 1) * m->segments + segment) * size + place];
        for (int k = 0; k < COUNTS; k++) total->spent[i][k] += n[k] * cost;
    }
}

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

/* Adds the events of n positions that lie side by side to those of each segment. */
static void count_positions(const Map *m, const uint8_t *new, const uint8_t *old, int64_t n,
                            int64_t (*each)[COUNTS]) {
    int64_t stride = m->stride, aligned = 1, segment[stride / 8];
    /* Vectors until they begin at a first channel again; each eight of their bytes are of one
    segment, whose sums are told apart by where they are. */
    int64_t vectors = m->segments == 1 ? 1 : stride / common_divisor(stride, BYTES);
    longs counts[vectors][COUNTS];
    for (int64_t s = 0, c = 0; s < m->segments; c = m->ends[s++]) {
        aligned &= c % 8 == 0;
        for (int64_t i = c / 8; i < stride / 8; i++) segment[i] = s;
    }
    for (int64_t s = 0, c = 0; s < m->segments; c = m->ends[s++]) {
        memset(counts, 0, sizeof counts);
        if (aligned) count(new, old, n * stride, vectors, counts);
        else for (int64_t at = 0; at < n * stride; at += stride)
            count(new + at + c, old ? old + at + c : NULL, m->ends[s] - c, 1, counts);
        for (int64_t l = 0; l < vectors * BYTES / 8; l++)
            for (int k = 0; k < COUNTS; k++) {
                int64_t one = (int64_t)counts[l * 8 / BYTES][k][l % (BYTES / 8)];
                each[aligned ? segment[l % (stride / 8)] : s][k] += one;
            }
        if (aligned) break;
    }
}

/* Counts the events of n positions of a row, in order of columns. new, old: [n, stride]. Positions
of one price are counted together, in a copy where others lie between them: a layer with a stride
sees every second position more often than its neighbours. */
static void count_row(const Program *p, const Map *m, int64_t row, const int32_t *columns, int64_t n,
                      const uint8_t *new, const uint8_t *old, Total *total) {
    int64_t image = row / m->at.h, line = row % m->at.h * m->at.w, stride = m->stride;
    int64_t each[m->segments][COUNTS];
    uint8_t done[n], copy[2][n * stride];
    memset(done, 0, n);
    for (int64_t i = 0; i < n; i++) {
        if (done[i]) continue;
        int64_t place = line + columns[i], alike = 0, end = i + 1;
        int32_t member[n];
        for (int64_t j = i; j < (m->maps ? i + 1 : n); j++) {
            if (done[j] || m->price[line + columns[j]] != m->price[place]) continue;
            member[alike++] = (int32_t)j, done[j] = 1, end = j + 1;
        }
        const uint8_t *a = new + i * stride, *b = old ? old + i * stride : NULL;
        if (end - i > alike) {
            for (int64_t k = 0; k < alike; k++) {
                memcpy(copy[0] + k * stride, new + member[k] * stride, stride);
                if (old) memcpy(copy[1] + k * stride, old + member[k] * stride, stride);
            }
            a = copy[0], b = old ? copy[1] : NULL;
        }
        memset(each, 0, sizeof each);
        count_positions(m, a, b, alike, each);
        for (int64_t s = 0; s < m->segments; s++) spend(p, m, image, place, s, each[s], total);
    }
}

static void add_total(Map *m, int64_t image, const Total *total) {
    if (!total->changes) return;
    int64_t *spent = m->spent + image * m->columns * COUNTS;
    for (int64_t i = 0; i < m->columns * COUNTS; i++)
        __atomic_fetch_add(spent + i, total->spent[i / COUNTS][i % COUNTS], __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->entries, total->entries, __ATOMIC_RELAXED);
    __atomic_fetch_add(&m->changes, total->changes, __ATOMIC_RELAXED);
    if (total->overflow) __atomic_store_n(&m->overflow, 1, __ATOMIC_RELAXED);
}

/* ---- events ---- */
INLINE deltas between(deltas x, int16_t low, int16_t high) {
#if defined __AVX2__
    __m256i above = _mm256_max_epi16((__m256i)x, _mm256_set1_epi16(low));
    return (deltas)_mm256_min_epi16(above, _mm256_set1_epi16(high));
#else
    deltas a = {}, b = {};
    a += low, b += high;
    deltas below = (deltas)(x < a), above = (deltas)(x > b);
    return (below & a) | (above & b) | (~(below | above) & x);
#endif
}

/* Entries of sixteen channels of a position, from the n-th; what an entry does not hold goes to
another. */
INLINE int64_t emit(const Map *m, int64_t at, int64_t c, int64_t n, deltas left, Total *total) {
    uint16_t *group = m->group + at * m->slots;
    int32_t *delta = m->delta + at * m->slots;
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

INLINE int32_t sum_of(deltas x) {
    int32_t sum = 0;
    for (int i = 0; i < SIXTEEN; i++) sum += x[i];
    return sum;
}

INLINE sixteen read_sixteen(const uint8_t *from) {
    sixteen x;
    memcpy(&x, from, sizeof x);
    return x;
}

/* Writes the events of a position whose bytes were `old` and are `new`. */
static void write_events(const Map *m, int64_t at, const uint8_t *new, const uint8_t *old,
                         Total *total) {
    int64_t sixteens = m->stride / SIXTEEN, n = 0;
    uint16_t *start = m->start + at * (sixteens + 1);
    int32_t *balance = m->balance + at * (sixteens + 1), sum = 0;
    for (int64_t i = 0; i < sixteens; i++) {
        sixteen a = read_sixteen(new + i * SIXTEEN), b = read_sixteen(old + i * SIXTEEN);
        start[i] = (uint16_t)n, balance[i] = sum;
        uint64_t differ[2];
        sixteen x = a ^ b;
        memcpy(differ, &x, sizeof x);
        if (!(differ[0] | differ[1])) continue;
        deltas change = __builtin_convertvector(a, deltas) - __builtin_convertvector(b, deltas);
        n = emit(m, at, i * SIXTEEN, n, change, total);
        sum += sum_of(change);
    }
    start[sixteens] = (uint16_t)n, balance[sixteens] = sum;
    total->entries += n;
}

INLINE Cell *padded_at(const Map *m, int64_t image, int64_t y, int64_t x) {
    int64_t e = m->edge, height = m->at.h + 2 * e, width = m->at.w + 2 * e;
    return m->padded + ((image * height + y + e) * width + x + e) * m->stride;
}

/* Writes n bytes as cells. */
INLINE void write_cells(Cell *to, const uint8_t *from, int64_t n) {
    if (sizeof(Cell) == 1) memcpy(to, from, n);
    else for (int64_t c = 0; c < n; c += SIXTEEN) {
        cells x = __builtin_convertvector(read_sixteen(from + c), cells) - (Cell)(ZERO - NONE);
        memcpy(to + c, &x, sizeof x);
    }
}

/* Nothing has changed in a row, as far as is known. */
static void clear_row(Marks *m, int64_t row) {
    if (!m->row[row]) return;
    m->row[row] = 0;
    memset(m->changed + row * m->w, 0, m->w);
}

/* n positions of a row have sent `new` by now, [n, stride]; old: what they had sent before. */
static void send_row(const Program *p, Map *m, int64_t row, const int32_t *columns, int64_t n,
                     const uint8_t *new, const uint8_t *old, Total *total) {
    int64_t image = row / m->at.h, y = row % m->at.h, stride = m->stride;
    if (m->segments) count_row(p, m, row, columns, n, new, old, total);
    if (p->first) {
        /* All positions, which stand in their place already. */
        if (m->padded) write_cells(padded_at(m, image, y, 0), new, n * stride);
        total->changes += n;
        return;
    }
    for (int64_t i = 0; i < n; i++, new += stride, old += stride) {
        int64_t at = row * m->at.w + columns[i];
        if (!memcmp(new, old, stride)) continue;
        m->at.changed[at] = m->at.row[row] = 1;
        total->changes++;
        if (m->start) write_events(m, at, new, old, total);
        memcpy(m->sent + at * stride, new, stride);
        if (m->padded) write_cells(padded_at(m, image, y, columns[i]), new, stride);
    }
}

/* ---- what changes reach ---- */
/* Marks the outputs of a row that see a position which changed, besides those that are marked;
returns whether any does. */
static int reach(const Reach *g, int64_t row, uint8_t *marks) {
    const Window *w = &g->window;
    int64_t image = row / w->out_h, top = row % w->out_h * w->stride_h - w->top, found = 0;
    int64_t span = (w->out_w - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
    uint8_t any[most(span, w->left + w->in_w)];
    memset(any, 0, sizeof any);
    for (int64_t k = 0; k < w->kernel_h; k++) {
        int64_t y = top + k * w->dilation_h;
        if (y < 0 || y >= w->in_h) continue;
        for (const Part *part = g->part; part < g->part + g->parts; part++) {
            const Marks *at = part->at;
            int64_t line = image * at->h + y / part->factor_h, factor = part->factor_w;
            if (!at->row[line]) continue;
            const uint8_t *changed = at->changed + line * at->w;
            found = 1;
            if (factor == 1) for (int64_t x = 0; x < at->w; x++) any[w->left + x] |= changed[x];
            else for (int64_t x = 0; x < w->in_w; x++) any[w->left + x] |= changed[x / factor];
        }
    }
    if (!found) return 0;
    for (int64_t k = 0; k < w->kernel_w; k++) {
        const uint8_t *from = any + k * w->dilation_w;
        if (w->stride_w == 1) for (int64_t x = 0; x < w->out_w; x++) marks[x] |= from[x];
        else for (int64_t x = 0; x < w->out_w; x++) marks[x] |= from[x * w->stride_w];
    }
    return memchr(marks, 1, w->out_w) != NULL;
}

/* The columns that are marked; all without marks. */
INLINE int64_t columns_of(const uint8_t *marks, int64_t w, int32_t *columns) {
    int64_t n = 0;
    for (int64_t x = 0; x < w; x++) {
        columns[n] = (int32_t)x;
        n += !marks || marks[x];
    }
    return n;
}
