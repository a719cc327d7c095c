/* A network of whole numbers, one step after the other: a photograph, of which everything is
computed, or a later frame of a video, of which only what changes reach is. Every sum is exact, so
that results do not depend on how it is computed.

A step works on bands of rows: sums of a row, then the neurons that read them while they are in the
cache. Sums that only these neurons read are kept in a video alone, and only where events are added
to them in later frames.

Threads claim chunks of a step and go on when all its chunks are done, whoever did them: one that
waits for a processor holds up nobody, unless it is in the middle of a chunk. */

#include "sums.h"
#include <sched.h>
#include <time.h>
#if defined _OPENMP
#include <omp.h>
#endif

/* CHUNKS: of a step for each thread, at least, where there are several. STRIP: sums of a strip. */
enum { CHUNKS = 8, STRIP = 4096 };

/* ---- the image ---- */
static void image_row(const Program *p, const Image *g, int64_t row) {
    Map *m = g->out;
    int64_t w = m->at.w, image = row / m->at.h, place = row % m->at.h * w;
    const uint8_t *new = g->bytes + row * w * 3;
    uint8_t *old = m->sent + row * w * 3, *changed = m->at.changed + row * w;
    m->at.row[row] = p->first || memcmp(new, old, w * 3);
    memset(changed, p->first, w);
    if (!m->at.row[row]) return;
    Total total = {.changes = p->first ? w : 0};
    for (int64_t x = 0; x < w && !p->first; x++) {
        const uint8_t *a = new + 3 * x, *b = old + 3 * x;
        int64_t n = (a[0] != b[0]) + (a[1] != b[1]) + (a[2] != b[2]);
        changed[x] = n > 0;
        total.changes += changed[x];
        for (int k = 0; k < COUNTS; k++)
            total.spent[0][k] += n, total.spent[1][k] += n * m->costs[place + x];
    }
    if (m->padded) {
        Cell *padded = padded_at(m, image, row % m->at.h, 0);
        for (int64_t x = 0; x < w; x++)
            for (int c = 0; c < 3; c++)
                padded[4 * x + c] = (Cell)(new[3 * x + c] - (NONE ? 0 : g->zero[c]));
    }
    memcpy(old, new, w * 3);
    add_total(m, image, &total);
}

/* ---- what a row reads ---- */
static int64_t clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return 1000000000 * (int64_t)t.tv_sec + t.tv_nsec;
}

/* What computing sums took, by which a layer chooses between events and computing anew. */
static void add_time(Convolution *g, int64_t start, int64_t positions) {
    int64_t took = clock_of(CLOCK_MONOTONIC) - start;
    __atomic_fetch_add(&g->nanoseconds, took, __ATOMIC_RELAXED);
    __atomic_fetch_add(&g->computed, positions, __ATOMIC_RELAXED);
}

/* The rows of sums in a window, from its first. */
typedef struct {
    const int32_t *row[ROWS];
    int64_t rows;
} Rows;

/* The sums that a term reads for n columns of a row, computed here where it is fused. scratch: for
sums that are not kept, moved on behind them. */
static void read_sums(const Program *p, const Term *t, const Window *w, int64_t row,
                      const int32_t *columns, int64_t n, int32_t **scratch, Rows *rows) {
    Convolution *g = t->convolution;
    int64_t image = row / w->out_h, y = row % w->out_h * w->stride_h - w->top;
    int compute = t->fused && is_anew(p, g), kept = !t->fused || (p->kept && g->kind == EVENTS);
    int32_t window[w->in_w];
    if (compute && w->kernel_w > 1) {
        int64_t next = 0, count = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t x = columns[i] * w->stride_w - w->left, end = least(x + w->kernel_w, w->in_w);
            for (x = most(x, next); x < end; x++) window[count++] = (int32_t)x;
            next = most(next, end);
        }
        columns = window, n = count;
    }
    rows->rows = 0;
    for (int64_t j = most(y, 0); j < least(y + w->kernel_h, w->in_h); j++) {
        int64_t line = image * w->in_h + j;
        int32_t *sums = kept ? g->sums + line * w->in_w * g->outs : *scratch;
        if (!kept) *scratch += w->in_w * g->outs;
        /* A strip begins at the same place as the one before. */
        if (!kept && w->kernel_w == 1) sums -= columns[0] * g->outs;
        rows->row[rows->rows++] = sums;
        if (!compute) continue;
        int timed = p->kept && g->kind == EVENTS;
        int64_t start = timed ? clock_of(CLOCK_MONOTONIC) : 0;
        compute_row(g, line, columns, n, 0, g->direct_blocks, sums);
        if (timed) add_time(g, start, n);
    }
}

/* Adds the events that arrive at the sums of some rows of neurons, where a term is fused. */
static void add_events_to(const Program *p, const Term *t, const Window *w, int64_t row,
                          int64_t end) {
    Convolution *g = t->convolution;
    if (!t->fused || is_anew(p, g)) return;
    int64_t start = clock_of(CLOCK_MONOTONIC), last = end - 1;
    int64_t from = row / w->out_h * w->in_h + row % w->out_h * w->stride_h - w->top;
    int64_t to = last / w->out_h * w->in_h + last % w->out_h * w->stride_h - w->top + w->kernel_h;
    to = least(to, (last / w->out_h + 1) * w->in_h);
    from = most(from, row / w->out_h * w->in_h);
    for (int64_t b = 0; b < g->blocks; b++) add_events(g, g->block + b, from, to);
    add_time(g, start, 0);
}

/* ---- neurons ---- */
/* Keeps the largest |x| of each lane in `widest`; returns x. */
INLINE floats seen(floats x, floats *widest) {
    *widest = larger(*widest, (floats)((ints)x & INT32_MAX));
    return x;
}

INLINE floats sums_at(const int32_t *sums, floats *widest) {
    return seen(__builtin_convertvector(numbers(sums), floats), widest);
}

INLINE floats sent_at(const uint8_t *from) {
    quarter x;
    memcpy(&x, from, LANES);
    return __builtin_convertvector(widened(x) - ZERO, floats);
}

/* The first n lanes; the others are 0. */
INLINE floats first_lanes(floats x, int64_t n) {
    ints lane = {};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return (floats)((ints)x & (lane < (int32_t)n));
}

static void keep_widest(const Program *p, int64_t thread, const floats *widest) {
    for (int i = 0; i < LANES; i++)
        if ((*widest)[i] > p->widest[thread]) p->widest[thread] = (*widest)[i];
}

/* The largest sums of a window. */
INLINE floats largest_at(const Rows *rows, const Window *w, int64_t x, int64_t outs, int64_t c,
                         floats *widest) {
    int64_t left = x * w->stride_w - w->left, first = most(left, 0);
    int64_t end = least(left + w->kernel_w, w->in_w);
    floats result = all(-__builtin_inff());
    for (int64_t j = 0; j < rows->rows; j++) {
        const int32_t *row = rows->row[j] + c;
        if (w->kernel_w == 2 && end - first == 2) {
            floats one = sums_at(row + first * outs, widest);
            result = larger(result, larger(one, sums_at(row + (first + 1) * outs, widest)));
        } else for (int64_t i = first; i < end; i++)
            result = larger(result, sums_at(row + i * outs, widest));
    }
    return result;
}

/* Neurons of a row that are asked: n positions. rows: of the sums of each term. old: what the
positions had sent, [n, stride], or NULL where nothing was sent or values are rounded anew. */
typedef struct {
    const Program *p;
    const Neurons *g;
    Layer layer;
    Rounding rounding;
    int64_t row, n;
    const int32_t *columns;
    const Rows *rows;
    const uint8_t *old;
    floats widest;
} Asked;

/* What `n` vectors of neurons have sent by now, from channel c of the i-th position on. plain:
whether they read the sums of one convolution; first: whether nothing was sent before. */
INLINE void fire_some(int n, int plain, int first, Asked *a, int64_t i, int64_t c, uint8_t *new) {
    const Neurons *g = a->g;
    int64_t stride = g->out->stride, w = g->out->at.w, from = i * stride + c, channel[TOGETHER];
    floats v[TOGETHER], before[TOGETHER];
    ints k[TOGETHER];
    for (int j = 0; j < n; j++) {
        int64_t x = a->columns[i];
        floats widest = {};
        channel[j] = c;
        if (plain) {
            const int32_t *sums = a->rows->row[0] + x * g->term->convolution->outs + c;
            v[j] = sums_at(sums, &widest) * read(a->layer.scales[0] + c, LANES);
        } else for (int64_t t = 0; t < g->terms; t++) {
            const Term *term = g->term + t;
            const Rows *rows = a->rows + t;
            floats one;
            if (term->map) {
                int64_t at = (a->row * w + x) * term->map->stride + term->first + c;
                one = seen(sent_at(term->map->sent + at), &widest);
            } else if (g->pooled) {
                one = largest_at(rows, &g->window, x, term->convolution->outs, c, &widest);
            } else one = sums_at(rows->row[0] + x * term->convolution->outs + c, &widest);
            one = one * read(a->layer.scales[t] + c, LANES);
            v[j] = t ? v[j] + one : one;
        }
        v[j] = v[j] + read(a->layer.bias + c, LANES);
        before[j] = !first && a->old ? sent_at(a->old + from + j * LANES) : all(0);
        /* Lanes beyond the channels hold anything. */
        if (c + LANES > g->out->channels) widest = first_lanes(widest, g->out->channels - c);
        a->widest = larger(a->widest, widest);
        c += LANES;
        if (c == stride) c = 0, i++;
    }
    float due = first || a->p->first ? 0 : a->p->due;
    fire(n, &a->layer, &a->rounding, channel, v, before, due, k);
    for (int j = 0; j < n; j++) {
        quarter byte = narrowed(k[j]);
        memcpy(new + from + j * LANES, &byte, LANES);
    }
}

/* All that are asked, some vectors together, whatever position they belong to. */
INLINE void fire_all(int plain, int first, Asked *a, uint8_t *new) {
    int64_t stride = a->g->out->stride, left = a->n * stride / LANES;
    for (int64_t i = 0, c = 0, n; left; left -= n) {
        n = left >= TOGETHER ? TOGETHER : 1;
        if (n > 1) fire_some(TOGETHER, plain, first, a, i, c, new);
        else fire_some(1, plain, first, a, i, c, new);
        for (c += n * LANES; c >= stride; c -= stride) i++;
    }
}

/* Columns whose sums stay in the nearest cache until the neurons have read them: some tiles. */
static int64_t strip_of(const Neurons *g) {
    return TILE * most(1, STRIP / (TILE * g->out->stride));
}

static void neurons_row(const Program *p, const Neurons *g, int64_t row, int64_t thread,
                        Total *total) {
    Map *m = g->out;
    int64_t w = m->at.w, stride = m->stride, due = p->all;
    uint8_t marks[w];
    int32_t columns[w];
    memset(marks, due, w);
    clear_row(&m->at, row);
    for (int64_t t = 0; t < g->terms && !p->all; t++) due |= reach(&g->term[t].reach, row, marks);
    if (!due) return;
    int64_t n = columns_of(p->all ? NULL : marks, w, columns), strip = g->pooled ? n : strip_of(g);
    uint8_t *place = m->sent + row * w * stride, *new = place, *old = NULL;
    uint8_t buffer[p->first ? 1 : 2 * n * stride + SIXTEEN];
    if (!p->first) {
        new = buffer, old = buffer + n * stride;
        for (int64_t i = 0; i < n; i++)
            memcpy(old + i * stride, place + columns[i] * stride, stride);
    }
    Rows rows[TERMS];
    Asked a = {p, g, g->layer, rounding(g->layer.slack), row, .rows = rows};
    for (int64_t i = 0; i < n; i += strip) {
        int32_t *scratch = p->sums + thread * p->room;
        a.columns = columns + i, a.n = least(strip, n - i);
        a.old = p->lossless || p->first ? NULL : old + i * stride;
        for (int64_t t = 0; t < g->terms; t++)
            if (g->term[t].convolution)
                read_sums(p, g->term + t, &g->window, row, a.columns, a.n, &scratch, rows + t);
        int plain = g->terms == 1 && g->term->convolution && !g->pooled;
        if (plain && p->first) fire_all(1, 1, &a, new + i * stride);
        else if (plain) fire_all(1, 0, &a, new + i * stride);
        else fire_all(0, 0, &a, new + i * stride);
    }
    send_row(p, m, row, columns, n, new, old, total);
    keep_widest(p, thread, &a.widest);
}

static void neurons_rows(const Program *p, const Neurons *g, int64_t row, int64_t end,
                         int64_t thread) {
    for (int64_t t = 0; t < g->terms; t++)
        if (g->term[t].convolution) add_events_to(p, g->term + t, &g->window, row, end);
    Total total = {};
    for (; row < end; row++) {
        neurons_row(p, g, row, thread, &total);
        /* The last row of an image, or of all. */
        if (row + 1 < end && (row + 1) % g->out->at.h) continue;
        add_total(g->out, row / g->out->at.h, &total);
        total = (Total){};
    }
}

/* ---- heads ---- */
static void head_rows(const Program *p, Head *g, int64_t row, int64_t end, int64_t thread) {
    const Window *w = &g->term.reach.window;
    const Window each = {w->out_h, w->out_w, w->out_h, w->out_w, 1, 1, 1, 1, 1, 1, 0, 0};
    int64_t outs = g->term.convolution->outs, changes = 0;
    floats widest = {};
    add_events_to(p, &g->term, &each, row, end);
    for (; row < end; row++) {
        uint8_t marks[w->out_w];
        int32_t columns[w->out_w], *scratch = p->sums + thread * p->room;
        memset(marks, p->first, w->out_w);
        if (!p->first && !reach(&g->term.reach, row, marks)) continue;
        int64_t n = columns_of(marks, w->out_w, columns);
        Rows rows;
        read_sums(p, &g->term, &each, row, columns, n, &scratch, &rows);
        changes += n;
        for (int64_t i = 0; i < n; i++) {
            const int32_t *sums = rows.row[0] + columns[i] * outs;
            float *to = g->values + (row * w->out_w + columns[i]) * g->stride + g->first;
            for (int64_t c = 0; c < g->channels; c += LANES) {
                int64_t lanes = least(g->channels - c, LANES);
                floats own = {}, v = sums_at(sums + c, &own);
                v = v * read(g->scale + c, LANES) + read(g->bias + c, LANES);
                widest = larger(widest, lanes < LANES ? first_lanes(own, lanes) : own);
                if (lanes == LANES) memcpy(to + c, &v, sizeof v);
                else memcpy(to + c, &v, lanes * sizeof *to);
            }
        }
    }
    __atomic_fetch_add(&g->changes, changes, __ATOMIC_RELAXED);
    keep_widest(p, thread, &widest);
}

/* ---- pooling ---- */
static void pooling_row(const Program *p, const Pooling *g, int64_t row) {
    Map *m = g->out;
    const Map *from = g->part.map;
    const Window *w = &g->window;
    const Reach seen = {*w, 1, &g->part};
    int64_t image = row / w->out_h, y = row % w->out_h * w->stride_h - w->top, stride = m->stride;
    uint8_t marks[m->at.w];
    int32_t columns[m->at.w];
    memset(marks, p->first, m->at.w);
    clear_row(&m->at, row);
    if (!p->first && !reach(&seen, row, marks)) return;
    int64_t n = columns_of(marks, m->at.w, columns);
    uint8_t buffer[p->first ? 1 : 2 * n * stride], *place = m->sent + row * m->at.w * stride;
    uint8_t *new = p->first ? place : buffer, *old = p->first ? NULL : buffer + n * stride;
    for (int64_t i = 0; i < n; i++) {
        int64_t left = columns[i] * w->stride_w - w->left;
        if (old) memcpy(old + i * stride, place + columns[i] * stride, stride);
        memset(new + i * stride, ZERO, stride);
        for (int64_t c = 0; c < m->channels; c += SIXTEEN) {
            sixteen best = {};
            for (int64_t j = most(y, 0); j < least(y + w->kernel_h, w->in_h); j++)
                for (int64_t x = most(left, 0); x < least(left + w->kernel_w, w->in_w); x++) {
                    int64_t at = ((image * w->in_h + j) * w->in_w + x) * from->stride;
                    sixteen one = read_sixteen(from->sent + at + g->part.first + c);
                    sixteen more = (sixteen)(one > best);
                    best = (more & one) | (~more & best);
                }
            memcpy(new + i * stride + c, &best, least(m->channels - c, SIXTEEN));
        }
    }
    Total total = {};
    send_row(p, m, row, columns, n, new, old, &total);
    add_total(m, image, &total);
}

/* ---- attention ---- */
static const Cell *token_at(const Part *part, int64_t image, int64_t token) {
    int64_t w = part->map->at.w;
    return padded_at(part->map, image, token / w, token % w) + part->first;
}

/* What remains of a row of n scores, in TOGETHER vectors at most; -infinity beyond its end. */
INLINE void scores_of(const int32_t *row, int64_t n, float scale, float bias, floats *x,
                      floats *widest) {
    for (int i = 0; i < TOGETHER; i++, n -= LANES, row += LANES) {
        floats own = {}, score = sums_at(row, &own) * scale + bias;
        *widest = larger(*widest, n < LANES ? first_lanes(own, most(n, 0)) : own);
        x[i] = score;
        for (int64_t j = most(n, 0); j < LANES; j++) x[i][j] = -__builtin_inff();
    }
}

/* The neurons of a row of a softmax of `tokens` sums, whole vectors of memory: k + ZERO, from what
was sent before. Adds its events to counts. */
static void softmax_row(const Program *p, const Layer *layer, int64_t head, int64_t tokens,
                        const int32_t *sums, uint8_t *sent, int64_t *counts, float *maps,
                        int64_t size, floats *widest) {
    enum { TOGETHERS = TOGETHER * LANES };
    static const int64_t channel[TOGETHER];
    floats v[(tokens + TOGETHERS - 1) / TOGETHERS][TOGETHER];
    /* e^x is rounded to whole numbers, so many at most that their sum is exact: neuron.softmax. */
    float room = 1 << 24, offset[LANES], sum = 0;
    for (int64_t i = tokens - 1; i > 0; i /= 2) room /= 2;
    for (int i = 0; i < LANES; i++) offset[i] = layer->offset[head];
    Layer own = {.offset = offset, .slope = 1};
    Rounding r = rounding(layer->slack);
    floats top = all(-__builtin_inff()), total = {};
    for (int64_t c = 0; c < tokens; c += TOGETHERS) {
        floats *x = v[c / TOGETHERS];
        scores_of(sums + c, tokens - c, layer->scales[0][head], layer->bias[head], x, widest);
        for (int i = 0; i < TOGETHER; i++) top = larger(top, x[i]);
    }
    for (int i = 1; i < LANES; i++) top[0] = top[i] > top[0] ? top[i] : top[0];
    for (int64_t c = 0; c < tokens; c += TOGETHERS) {
        floats *x = v[c / TOGETHERS];
        for (int i = 0; i < TOGETHER; i++) x[i] = x[i] - top[0];
        power(TOGETHER, x);
        /* Added to 2^23, a number is rounded. */
        for (int i = 0; i < TOGETHER; i++)
            x[i] = (x[i] * room + 8388608) - 8388608, total += x[i];
    }
    for (int i = 0; i < LANES; i++) sum += total[i];
    for (int64_t c = 0; c < tokens; c += TOGETHERS) {
        floats *x = v[c / TOGETHERS], before[TOGETHER];
        uint8_t new[TOGETHERS];
        ints k[TOGETHER];
        for (int i = 0; i < TOGETHER; i++) {
            x[i] = x[i] / sum * layer->per_value[head];
            before[i] = p->first || p->lossless ? all(0) : sent_at(sent + c + i * LANES);
        }
        fire(TOGETHER, &own, &r, channel, x, before, p->first ? 0 : p->due, k);
        for (int i = 0; i < TOGETHER; i++) {
            quarter byte = narrowed(k[i]);
            memcpy(new + i * LANES, &byte, LANES);
        }
        int64_t n = least(tokens - c, TOGETHERS);
        longs each[1][COUNTS] = {};
        count(new, p->first ? NULL : sent + c, n, 1, each);
        for (int k = 0; k < COUNTS; k++)
            for (int i = 0; i < BYTES / 8; i++) counts[k] += (int64_t)each[0][k][i];
        for (int64_t i = 0; maps && i < n; i++) {
            int difference = new[i] - (p->first ? ZERO : sent[c + i]);
            bytes size_of = {};
            size_of[0] = (uint8_t)(difference < 0 ? -difference : difference);
            maps[c + i] += size_of[0];
            maps[size + c + i] += digits(size_of)[0];
            maps[2 * size + c + i] += difference != 0;
        }
        memcpy(sent + c, new, n);
    }
}

/* Weights of products whose one side is a map, [runs of DEPTH][outs][DEPTH]: of out `o` and input
`i` the k of a token and a channel. offset: what is added to the sums of cells. */
static void pack(const Part *part, int64_t image, int64_t first, int64_t tokens, int64_t channel,
                 int64_t channels, int tokens_are_outs, int64_t outs, Weight *to,
                 int32_t *offset) {
    memset(offset, 0, outs * sizeof *offset);
    for (int64_t token = 0; token < tokens; token++) {
        const Cell *from = token_at(part, image, first + token) + channel;
        for (int64_t c = 0; c < channels; c++) {
            int64_t o = tokens_are_outs ? token : c, i = tokens_are_outs ? c : token;
            Weight k = (Weight)(from[c] - NONE);
            to[(i / DEPTH * outs + o) * DEPTH + i % DEPTH] = k;
            offset[o] -= NONE * k;
        }
    }
}

/* Sums of a row of `inputs` cells, for `outs` whole vectors of packed weights. */
static void product(const Cell *from, int64_t inputs, const Weight *weights, const int32_t *offset,
                    int64_t outs, int32_t *sums) {
    for (int64_t o = 0; o < outs; o += 4 * LANES) {
        ints acc[4];
        int vectors = (int)least(4, (outs - o) / LANES);
        for (int v = 0; v < vectors; v++) acc[v] = numbers(offset + o + v * LANES);
        for (int64_t i = 0; i < inputs; i += DEPTH) {
            const Weight *w = weights + i * outs + o * DEPTH;
            int32_t run;
            memcpy(&run, from + i, sizeof run);
            ints x = (ints){} + run;
            for (int v = 0; v < vectors; v++) {
                ints of;
                memcpy(&of, w + v * LANES * DEPTH, sizeof of);
                acc[v] = dot_cells(acc[v], x, of);
            }
        }
        for (int v = 0; v < vectors; v++) memcpy(sums + o + v * LANES, acc + v, sizeof *acc);
    }
}

INLINE int64_t padded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Some tokens of an area of an image, of which each thread has a part. */
static void attention_chunk(const Program *p, const Attention *g, int64_t k, int64_t thread) {
    Map *m = g->out;
    Marks *at = &g->sums->at;
    int64_t part = k % p->threads, area = k / p->threads % g->areas;
    int64_t image = k / p->threads / g->areas, tokens = m->at.w, positions = at->h * at->w;
    int64_t first = area * tokens, wide = padded(tokens, TOGETHER * 16), values = padded(g->width, 16);
    int64_t begin = first + tokens * part / p->threads, end = first + tokens * (part + 1) / p->threads;
    int64_t changes = g->query.map->changes + g->key.map->changes + g->value.map->changes;
    int asked = p->all || changes;
    for (int64_t t = begin; t < end; t++) {
        at->changed[image * positions + t] = (uint8_t)asked;
        /* Who has the first token of a row marks it. */
        if (t % at->w == 0) at->row[image * at->h + t / at->w] = (uint8_t)asked;
    }
    if (!asked) return;
    int64_t depth = padded(g->depth, DEPTH), size = m->at.h * tokens, counts[COUNTS] = {};
    Weight keys[depth * wide], weights[padded(tokens, DEPTH) * values];
    int32_t key_offset[wide], offset[values], sums[most(wide, values)];
    Cell row[wide];
    floats widest = {};
    memset(keys, 0, sizeof keys);
    memset(weights, 0, sizeof weights);
    for (int64_t head = 0; head < g->heads; head++) {
        int64_t segment = 0;
        while (m->ends[segment] <= head) segment++;
        pack(&g->key, image, first, tokens, head * g->depth, g->depth, 1, wide, keys, key_offset);
        pack(&g->value, image, first, tokens, head * g->width, g->width, 0, values, weights, offset);
        for (int64_t t = begin; t < end; t++) {
            const Cell *query = token_at(&g->query, image, t) + head * g->depth;
            uint8_t *sent = m->sent + ((image * positions + t) * g->heads + head) * m->stride;
            float *maps = m->maps;
            if (maps) maps += (image * m->segments + segment) * size + t * tokens;
            product(query, depth, keys, key_offset, wide, sums);
            softmax_row(p, &g->layer, head, tokens, sums, sent, counts, maps,
                        p->images * m->segments * size, &widest);
            write_cells(row, sent, padded(tokens, SIXTEEN));
            product(row, padded(tokens, DEPTH), weights, offset, values, sums);
            int32_t *to = g->sums->sums + (image * positions + t) * g->sums->outs;
            memcpy(to + head * g->width, sums, g->width * sizeof *to);
        }
    }
    Total total = {.changes = counts[0] > 0};
    for (int64_t i = 0; i < m->columns; i++)
        for (int k = 0; k < COUNTS; k++)
            total.spent[i][k] = counts[k] * (i ? m->costs[(i - 1) * m->segments * size] : 1);
    add_total(m, image, &total);
    keep_widest(p, thread, &widest);
}

/* ---- sums with several readers ---- */
/* Into how many runs the rows of a layer by events are divided, for each block of its outputs. */
static int64_t bands(const Program *p, const Step *s) {
    const Convolution *g = s->what;
    return p->threads == 1 ? 1 : least(s->total, 1 + CHUNKS * p->threads / g->blocks);
}

/* Rows of a chunk, of a step by rows. */
static int64_t band_of(const Program *p, const Step *s) {
    return p->threads == 1 ? s->band : most(1, least(s->band, s->total / (CHUNKS * p->threads)));
}

static void mark_row(const Program *p, Convolution *g, int64_t row) {
    uint8_t *marks = g->at.changed + row * g->at.w;
    memset(marks, p->first, g->at.w);
    g->at.row[row] = p->first || reach(&g->reach, row, marks);
}

/* Computes sums that are kept, of some rows and blocks. */
static void compute_rows(const Program *p, Convolution *g, int64_t first, int64_t last, int64_t block,
                         int64_t blocks) {
    int64_t w = g->at.w, start = clock_of(CLOCK_MONOTONIC);
    /* Where blocks are divided, others may not have marked the row yet. */
    int everywhere = p->first || g->kind == EVENTS;
    for (int64_t row = first; row < last; row++) {
        int32_t columns[w];
        if (!block) mark_row(p, g, row);
        if (!everywhere && !g->at.row[row]) continue;
        int64_t n = columns_of(everywhere ? NULL : g->at.changed + row * w, w, columns);
        compute_row(g, row, columns, n, block, blocks, g->sums + row * w * g->outs);
    }
    add_time(g, start, block ? 0 : (last - first) * w);
}

static void sums_chunk(const Program *p, const Step *s, int64_t k) {
    Convolution *g = s->what;
    if (!is_anew(p, g)) {
        int64_t n = bands(p, s), block = k / n, start = clock_of(CLOCK_MONOTONIC);
        int64_t first = s->total * (k % n) / n, last = s->total * (k % n + 1) / n;
        for (int64_t row = first; row < last && !block; row++) mark_row(p, g, row);
        add_events(g, g->block + block, first, last);
        add_time(g, start, 0);
    } else if (g->by_blocks) compute_rows(p, g, 0, s->total, k, k + 1);
    else {
        int64_t first = k * band_of(p, s), last = least(first + band_of(p, s), s->total);
        compute_rows(p, g, first, last, 0, g->direct_blocks);
    }
}

/* ---- a frame ---- */
static int64_t chunks(const Program *p, const Step *s) {
    const Convolution *g = s->what;
    const Attention *attention = s->what;
    if (s->kind == OUTSIDE) return 0;
    if (s->kind == ATTENTION) return p->images * attention->areas * p->threads;
    if (s->kind == SUMS && !is_anew(p, g)) return g->blocks * bands(p, s);
    if (s->kind == SUMS && g->by_blocks) return g->direct_blocks;
    return (s->total + band_of(p, s) - 1) / band_of(p, s);
}

static void chunk(const Program *p, const Step *s, int64_t k, int64_t thread) {
    if (s->kind == SUMS) return sums_chunk(p, s, k);
    if (s->kind == ATTENTION) return attention_chunk(p, s->what, k, thread);
    int64_t row = k * band_of(p, s), end = least(row + band_of(p, s), s->total);
    if (s->kind == NEURONS) return neurons_rows(p, s->what, row, end, thread);
    if (s->kind == HEAD) return head_rows(p, s->what, row, end, thread);
    for (; row < end; row++) {
        if (s->kind == IMAGE) image_row(p, s->what, row);
        else pooling_row(p, s->what, row);
    }
}

static void work(const Program *p, int64_t from, int64_t thread) {
    for (int64_t i = from; i < p->steps && p->step[i].kind != OUTSIDE; i++) {
        Step *s = p->step + i;
        int64_t total = chunks(p, s), k, start = clock_of(CLOCK_THREAD_CPUTIME_ID);
        while ((k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < total) {
            chunk(p, s, k, thread);
            __atomic_fetch_add(&s->done, 1, __ATOMIC_RELEASE);
        }
        int64_t took = clock_of(CLOCK_THREAD_CPUTIME_ID) - start;
        __atomic_fetch_add(&s->nanoseconds, took, __ATOMIC_RELAXED);
        for (int64_t turns = 0; __atomic_load_n(&s->done, __ATOMIC_ACQUIRE) < total; turns++)
            if (turns > 100) sched_yield();
    }
}

/* Updates the entries from which a layer is computed anew, from what it took. */
static void learn(const Program *p, Convolution *g) {
    if (g->kind != EVENTS || !g->nanoseconds) return;
    const Window *w = &g->reach.window;
    double spent = (double)g->nanoseconds;
    int64_t entries = 0, all = p->images * w->out_h * w->out_w;
    for (const Part *part = g->reach.part; part < g->reach.part + g->reach.parts; part++)
        entries += part->map->entries;
    if (is_anew(p, g)) {
        spent *= (double)all / (double)most(g->computed, 1);
        if (g->computed > all / 8 && (!g->full || spent < g->full)) g->full = spent;
    } else if (entries > 64 * w->out_h && (!g->rate || spent / entries < g->rate))
        g->rate = spent / entries;
    if (g->full && g->rate) g->limit = g->full / g->rate;
}

/* Nothing has been sent in this frame. */
static void clear(const Program *p, Map *m) {
    m->entries = m->changes = m->overflow = 0;
    if (m->segments) memset(m->spent, 0, p->images * m->columns * COUNTS * sizeof *m->spent);
}

static void prepare(const Program *p) {
    for (int64_t i = 0; i < p->convolutions; i++)
        p->convolution[i]->nanoseconds = p->convolution[i]->computed = 0;
    for (int64_t i = 0; i < p->steps; i++) {
        Step *s = p->step + i;
        s->next = s->done = s->nanoseconds = 0;
        if (s->kind == HEAD) ((Head *)s->what)->changes = 0;
        else if (s->kind != SUMS && s->kind != OUTSIDE) clear(p, *(Map **)s->what);
    }
}

/* Runs the steps from one on, to the first that the caller computes, which is returned, or to the
end. */
int64_t run(Program *p, int64_t from) {
    if (!from) prepare(p);
#pragma omp parallel num_threads(p->threads)
    {
#if defined _OPENMP
        work(p, from, omp_get_thread_num());
#else
        work(p, from, 0);
#endif
    }
    while (from < p->steps && p->step[from].kind != OUTSIDE) from++;
    for (int64_t i = 0; from == p->steps && i < p->convolutions; i++) learn(p, p->convolution[i]);
    return from;
}

/* Bytes [positions, channels] of the caller become what a map has sent. */
void receive(const Program *p, Map *m, const uint8_t *from) {
    int64_t w = m->at.w, stride = m->stride;
    clear(p, m);
    for (int64_t row = 0; row < p->images * m->at.h; row++) {
        uint8_t new[w * stride], old[w * stride], *place = m->sent + row * w * stride;
        int32_t columns[w];
        memcpy(old, place, w * stride);
        memset(new, ZERO, w * stride);
        for (int64_t x = 0; x < w; x++, from += m->channels)
            memcpy(new + x * stride, from, m->channels);
        clear_row(&m->at, row);
        if (p->first) memcpy(place, new, w * stride);
        Total total = {};
        send_row(p, m, row, columns, columns_of(NULL, w, columns), new, p->first ? NULL : old, &total);
        add_total(m, row / m->at.h, &total);
    }
}

/* Outputs whose weights lie together at most in a layer by events, LANES, and DEPTH. */
void layout(int64_t *sizes) { sizes[0] = WIDEST * LANES, sizes[1] = LANES, sizes[2] = DEPTH; }

/* The state of the sources that the library was made of; setup.py gives it. */
int source(void) { return SOURCE; }
