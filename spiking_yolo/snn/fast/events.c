/* Pooling and neurons in one pass over memory, and event-driven computation: what few events reach, and nothing else.
events.py calls these functions and says more.

Maps are rows of channels (layout.py): row i is position i of [n, h, w]. Plain C with GCC's vectors; OpenMP where there is
one. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
enum { WIDTH = 16 };
#elif defined __AVX__
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
enum { LANES = 16, MOST_LANES = 4 * LANES }; /* outputs that are summed at once, in registers of WIDTH numbers */
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

/* Windows over a map: of a convolution, or of pooling. Padding on the right and below follows from the sizes. */
typedef struct {
    int64_t n, h, w, out_h, out_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, top, left;
} Windows;

/* n rows of a map, in order: those at `where`, or the first ones if that is NULL. whole: whether `values` holds all rows
of the map, not these alone. stride: how many numbers lie between two rows of `values`. */
typedef struct {
    const float *values;
    const int64_t *where;
    int64_t n, stride, whole;
} Rows;

static int64_t position_of(const Rows *x, int64_t i) { return x->where ? x->where[i] : i; }

static const float *row_of(const Rows *x, int64_t i) {
    return x->values + (x->whole ? position_of(x, i) : i) * x->stride;
}

typedef struct {
    int32_t first, last; /* output rows or columns that see an input, last excluded */
} Range;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static Range seen_by(int64_t i, int64_t padding, int64_t kernel, int64_t stride, int64_t outputs) {
    int64_t past = i + padding - kernel; /* the last start of a window that ends before i */
    int64_t first = past < 0 ? 0 : past / stride + 1, last = least((i + padding) / stride + 1, outputs);
    return (Range){(int32_t)first, (int32_t)last};
}

/* Those of all rows, then those of all columns: divisions take longer than what they are for. */
static void set_ranges(const Windows *g, Range *ranges) {
    for (int64_t y = 0; y < g->h; y++) ranges[y] = seen_by(y, g->top, g->kernel_h, g->stride_h, g->out_h);
    for (int64_t x = 0; x < g->w; x++) ranges[g->h + x] = seen_by(x, g->left, g->kernel_w, g->stride_w, g->out_w);
}

typedef struct {
    int64_t image, y, x;
} Place;

static Place place_of(const Windows *g, int64_t position) {
    uint32_t line = (uint32_t)position / (uint32_t)g->w, image = line / (uint32_t)g->h;
    return (Place){image, line - image * g->h, position - line * g->w};
}

static void add(float *restrict sum, const float *restrict values, int64_t n) {
    for (int64_t i = 0; i < n; i++) sum[i] += values[i];
}

/* Each thread has its share of n indices and has kept the first counts[t] of them: move these together. */
static int64_t close_gaps(int64_t *indices, int64_t n, int threads, const int64_t *counts) {
    int64_t kept = counts[0];
    for (int t = 1; t < threads; t++) {
        memmove(indices + kept, indices + n * t / threads, counts[t] * sizeof *indices);
        kept += counts[t];
    }
    return kept;
}

/* Mark the outputs that input `position` reaches. */
static void reach(const Windows *g, const Range *ranges, int64_t position, int32_t *slot) {
    Place at = place_of(g, position);
    Range ys = ranges[at.y], xs = ranges[g->h + at.x];
    for (int64_t y = ys.first; y < ys.last; y++)
        for (int64_t x = xs.first; x < xs.last; x++) slot[(at.image * g->out_h + y) * g->out_w + x] = 1;
}

/* Number the marked outputs from 1; reached: which they are, in order. Returns how many. */
static int64_t number(const Windows *g, int32_t *slot, int64_t *reached) {
    int64_t count = 0, outputs = g->n * g->out_h * g->out_w;
    for (int64_t i = 0; i < outputs; i++)
        if (slot[i]) {
            reached[count++] = i;
            slot[i] = (int32_t)count;
        }
    return count;
}

/* sums[0 .. lanes] += the weights of each event's channel times its value, summed in registers. */
static inline __attribute__((always_inline)) void weigh(float *sums, const float *weight, const int32_t *channel,
                                                        const float *value, int64_t n, int lanes) {
    vector a[MOST_LANES / WIDTH], *to = (vector *)sums;
    int vectors = lanes / WIDTH;
    for (int k = 0; k < vectors; k++) a[k] = to[k];
    for (int64_t e = 0; e < n; e++) {
        const vector *w = (const vector *)(weight + channel[e] * lanes);
        for (int k = 0; k < vectors; k++) a[k] += w[k] * value[e];
    }
    for (int k = 0; k < vectors; k++) to[k] = a[k];
}

/* What the events of one input position bring to a block of output channels, of the outputs in slots from..to. */
static void add_position(const Windows *g, const Range *ranges, int64_t position, const int32_t *channel,
                         const float *value, int64_t n, int64_t channels, const float *weight, int64_t block,
                         int64_t width, const int32_t *slot, int64_t from, int64_t to, float *sums) {
    Place at = place_of(g, position);
    Range ys = ranges[at.y], xs = ranges[g->h + at.x];
    for (int64_t y = ys.first; y < ys.last; y++)
        for (int64_t x = xs.first; x < xs.last; x++) {
            int64_t s = slot[(at.image * g->out_h + y) * g->out_w + x] - 1;
            if (s < from || s >= to) continue;
            int64_t tap = (at.y + g->top - y * g->stride_h) * g->kernel_w + at.x + g->left - x * g->stride_w;
            const float *w = weight + tap * channels * block;
            float *sum = sums + s * width;
            if (block == MOST_LANES) weigh(sum, w, channel, value, n, MOST_LANES);
            else if (block == 2 * LANES) weigh(sum, w, channel, value, n, 2 * LANES);
            else weigh(sum, w, channel, value, n, LANES);
        }
}

/* A convolution without bias. weight: [width / block, kernel_h, kernel_w, channels, block]; block: LANES, twice or four
times that, so that what is needed of the weights at a time stays in a cache.

channel, value: room for n * channels; ends: for 2 * n; ranges: for h + w; slot: zeros, one per output. sums: [count, width], what the
outputs `reached` receive, in order. Returns count, or -1 if it takes longer than `limit`, in multiply-accumulates of
which an event's takes `price` and an input position `visit` for each output. */
int64_t convolve(const Windows *g, const Rows *x, int64_t channels, const float *weight, int64_t width, int64_t block,
                 double price, double visit, double limit, int threads, int32_t *channel, float *value, int64_t *ends,
                 Range *ranges, int32_t *slot, int64_t *reached, float *sums) {
    int64_t n = x->n, *begin = ends, *end = ends + n, events = 0, positions = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : events, positions)
    for (int64_t i = 0; i < n; i++) {
        const float *row = row_of(x, i);
        int64_t at = begin[i] = i * channels;
        for (int64_t c = 0; c < channels; c++) { /* always written, and kept if it is an event */
            channel[at] = (int32_t)c;
            value[at] = row[c];
            at += row[c] != 0;
        }
        end[i] = at;
        events += at - begin[i];
        positions += at > begin[i];
    }
    double taps = (double)(g->kernel_h * g->kernel_w) / (double)(g->stride_h * g->stride_w); /* outputs per position */
    double blocks = (double)(width / block);
    if (taps * (price * (double)(events * width) + visit * blocks * (double)positions) > limit) return -1;
    set_ranges(g, ranges);
    for (int64_t i = 0; i < n; i++)
        if (end[i] > begin[i]) reach(g, ranges, position_of(x, i), slot);
    int64_t count = number(g, slot, reached);
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; t++) { /* each has some of the outputs, and the inputs near them */
        int64_t from = count * t / threads, to = count * (t + 1) / threads;
        if (from == to) continue;
        memset(sums + from * width, 0, (to - from) * width * sizeof *sums);
        int64_t first = reached[from] / g->out_w, last = reached[to - 1] / g->out_w;
        for (int64_t b = 0; b < width / block; b++)
            for (int64_t i = 0; i < n; i++) {
                if (end[i] == begin[i]) continue;
                int64_t position = position_of(x, i);
                Place at = place_of(g, position);
                Range ys = ranges[at.y];
                if (at.image * g->out_h + ys.last <= first || at.image * g->out_h + ys.first > last) continue;
                add_position(g, ranges, position, channel + begin[i], value + begin[i], end[i] - begin[i], channels,
                             weight + b * g->kernel_h * g->kernel_w * channels * block, block, width, slot, from, to,
                             sums + b * block);
            }
    }
    for (int64_t s = 0; s < count; s++) slot[reached[s]] = 0;
    return count;
}

/* Add to the window of output `o`. */
static void add_window(const Windows *g, float *map, const float *added, int64_t o, int64_t channels) {
    int64_t x = o % g->out_w, line = o / g->out_w * g->kernel_h;
    for (int64_t y = line; y < line + g->kernel_h; y++) {
        int64_t first = (y * g->w + x * g->kernel_w) * channels;
        add(map + first, added + first, g->kernel_w * channels);
    }
}

/* The maxima of the window of output `o`, one per channel. */
static void maximum(const Windows *g, const float *restrict map, int64_t o, int64_t channels, float *restrict now) {
    int64_t x = o % g->out_w, y = o / g->out_w % g->out_h, image = o / g->out_w / g->out_h;
    int64_t top = y * g->stride_h - g->top, left = x * g->stride_w - g->left;
    for (int64_t c = 0; c < channels; c++) now[c] = -INFINITY;
    for (int64_t iy = most(top, 0); iy < least(top + g->kernel_h, g->h); iy++)
        for (int64_t ix = most(left, 0); ix < least(left + g->kernel_w, g->w); ix++) {
            const float *values = map + ((image * g->h + iy) * g->w + ix) * channels;
            for (int64_t c = 0; c < channels; c++) now[c] = values[c] > now[c] ? values[c] : now[c];
        }
}

/* Max pooling of a whole map, to which `added` is added unless that is NULL. Windows must not overlap then, and reach
every position. */
void pool_map(const Windows *g, float *map, const float *added, int64_t channels, int threads, float *pooled) {
    int64_t outputs = g->n * g->out_h * g->out_w;
#pragma omp parallel for num_threads(threads)
    for (int64_t o = 0; o < outputs; o++) {
        if (added) add_window(g, map, added, o, channels);
        maximum(g, map, o, channels, pooled + o * channels);
    }
}

/* Put `now` into `kept`, and the difference into `change` unless that is NULL. Returns whether there is any. */
static int replace(float *restrict kept, const float *restrict now, float *restrict change, int64_t channels) {
    int differs = 0;
    for (int64_t c = 0; c < channels; c++) {
        differs |= now[c] != kept[c];
        if (change) change[c] = now[c] - kept[c];
        kept[c] = now[c];
    }
    return differs;
}

/* Max pooling of a running sum, `total`, to which rows are added. row: room for one per thread. ranges: for h + w.
slot: zeros, one per output. pooled: the maxima as they were, which are updated. changed: which of them changed. change: NULL, or by how much.
Returns how many. */
int64_t pool(const Windows *g, const Rows *x, int64_t channels, int threads, float *row, float *total, Range *ranges,
             int32_t *slot, int64_t *reached, float *pooled, int64_t *changed, float *change) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < x->n; i++) add(total + position_of(x, i) * channels, row_of(x, i), channels);
    set_ranges(g, ranges);
    for (int64_t i = 0; i < x->n; i++) reach(g, ranges, position_of(x, i), slot);
    int64_t windows = number(g, slot, reached), count = 0;
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; t++) {
        float *now = row + t * channels;
        for (int64_t s = windows * t / threads; s < windows * (t + 1) / threads; s++) {
            int64_t o = reached[s];
            maximum(g, total, o, channels, now);
            slot[o] = replace(pooled + o * channels, now, change ? change + s * channels : NULL, channels);
        }
    }
    for (int64_t s = 0; s < windows; s++) {
        int differs = slot[reached[s]];
        slot[reached[s]] = 0;
        if (!differs) continue;
        if (change && count < s) memcpy(change + count * channels, change + s * channels, channels * sizeof *change);
        changed[count++] = reached[s];
    }
    return count;
}

/* How many bits are set; unlike GCC's own, for a whole vector at a time on every processor. */
static int32_t ones(uint32_t x) {
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    x += x >> 8;
    return (int32_t)((x + (x >> 16)) & 63);
}

/* Numbers by their last four bits: with one digit less than the next one, and with one more (counting.py). */
static const uint32_t MORE = 0x1115, FEWER = 0xa888;

/* Count bursts of n spikes, whatever their sign: of each channel, and together as spikes, digits and messages. */
__attribute__((noinline)) static void tally(const float *restrict n, int64_t channels, float *restrict spikes,
                                            double *restrict events) {
    int32_t burst = 0, digits = 0, messages = 0;
    for (int64_t c = 0; c < channels; c++) {
        float size = fabsf(n[c]);
        uint32_t whole = (uint32_t)(int32_t)size;
        spikes[c] += size;
        burst += (int32_t)whole;
        digits += ones(whole ^ 3 * whole);
        messages += whole > 0;
    }
    events[0] += burst;
    events[1] += digits;
    events[2] += messages;
}

/* A layer of neurons with memory that send all that is due, as signed digits.

Per channel: theta, initial, cap; bias: added to each sum that arrives, and once: to the first current, where the
potential keeps it; rest: the resting value. Per neuron: potential, NULL where what arrives is the sum of the input
already, sent, and spikes so far. Per position: events, three each, spikes, digits and messages so far. */
typedef struct {
    int64_t channels;
    const float *theta, *initial, *cap, *bias, *once, *rest;
    float *potential, *sent, *spikes;
    double *events;
    float slope, slack, gamma; /* slope: of the leaky ReLU */
} Neurons;

/* Where a neuron starts to send, and where it stops. */
typedef struct {
    float slope, slack, gamma, half, base, least_due;
} Rule;

static Rule rule_of(const Neurons *g, float hysteresis) {
    int saves = g->slack > 0 || hysteresis > 0; /* without either, 2 is never reached and all round down */
    float half = saves ? 0.5f : 0.0f, base = saves ? 0.5f : 2.0f;
    return (Rule){g->slope, g->slack, g->gamma, half, base, hysteresis > 0 ? 0.5f + hysteresis : 0.0f};
}

/* What one neuron sends, in thetas; functional.py has the equations. */
static inline __attribute__((always_inline)) float spikes_of(Rule r, float sum, float theta, float cap, float sent,
                                                             float initial) {
    float due = sum / theta;
    due = due > 0 ? due : due * r.slope;
    due = due < cap ? due : cap;
    due = due - sent + initial - r.half;
    float low = floorf(due);
    int32_t bits = (int32_t)low & 15;
    float cut = r.base + r.slack * (float)((int32_t)(MORE >> bits & 1) - (int32_t)(FEWER >> bits & 1));
    float n = low + (due - low >= cut ? 1.0f : 0.0f);
    n = n > r.gamma ? r.gamma : n < -r.gamma ? -r.gamma : n;
    return fabsf(due) < r.least_due ? 0.0f : n;
}

/* What the neurons of one position send. Returns whether that is anything. */
__attribute__((noinline)) static int send(Rule r, const float *restrict sum, const float *restrict sent,
                                          const float *restrict theta, const float *restrict initial,
                                          const float *restrict cap, const float *restrict bias, int64_t channels,
                                          float *restrict out) {
    int any = 0;
    for (int64_t c = 0; c < channels; c++) {
        out[c] = spikes_of(r, sum[c] + bias[c], theta[c], cap[c], sent[c], initial[c]);
        any |= out[c] != 0;
    }
    return any;
}

/* One step of the neurons at position `at`, which receive a row. Returns whether they send anything. */
static int step(const Neurons *g, Rule rule, const float *received, int64_t at, float *out) {
    int64_t channels = g->channels;
    float *sent = g->sent + at * channels;
    if (g->potential) {
        add(g->potential + at * channels, received, channels);
        received = g->potential + at * channels;
    }
    int any = send(rule, received, sent, g->theta, g->initial, g->cap, g->bias, channels, out);
    if (any) {
        add(sent, out, channels);
        tally(out, channels, g->spikes + at * channels, g->events + 3 * at);
    }
    return any;
}

/* The first step of all neurons, which begins their state. out: what they send, with the resting values. */
void start(const Neurons *g, const Rows *x, int threads, float *out) {
    const Rule rule = rule_of(g, 0);
    int64_t channels = g->channels, size = channels * (int64_t)sizeof(float);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < x->n; i++) {
        int64_t at = position_of(x, i);
        if (g->potential) memcpy(g->potential + at * channels, g->once, size);
        memcpy(g->sent + at * channels, g->rest, size);
        memset(g->spikes + at * channels, 0, size);
        memset(g->events + 3 * at, 0, 3 * sizeof *g->events);
        step(g, rule, row_of(x, i), at, out + at * channels);
        add(out + at * channels, g->rest, channels);
    }
}

enum { AHEAD = 8 }; /* rows, the time that memory takes */

/* Have the beginnings of what a row needs brought to the cache: the processor cannot foresee which rows come. */
static void fetch(const Neurons *g, const Rows *x, int64_t i) {
    int64_t at = position_of(x, i) * g->channels;
    __builtin_prefetch(row_of(x, i));
    __builtin_prefetch(g->sent + at, 1);
    __builtin_prefetch(g->spikes + at, 1);
}

/* A later step of the neurons that receive something. row: room for one per thread. out: what is sent, zeros but for the
rows that sent something before; fired: which these are, `before` in number, and which do now. counts: room for one per
thread. Returns how many. */
int64_t fire(const Neurons *g, const Rows *x, float hysteresis, int threads, float *row, float *out, int64_t *fired,
             int64_t before, int64_t *counts) {
    const Rule rule = rule_of(g, hysteresis);
    int64_t channels = g->channels, size = channels * (int64_t)sizeof(float), n = x->n;
    for (int64_t i = 0; i < before; i++) memset(out + fired[i] * channels, 0, size);
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; t++) {
        int64_t kept = n * t / threads;
        for (int64_t i = n * t / threads; i < n * (t + 1) / threads; i++) {
            int64_t at = position_of(x, i);
            float *own = row + t * channels;
            if (i + AHEAD < n) fetch(g, x, i + AHEAD);
            if (!step(g, rule, row_of(x, i), at, own)) continue;
            memcpy(out + at * channels, own, size);
            fired[kept++] = at;
        }
        counts[t] = kept - n * t / threads;
    }
    return close_gaps(fired, n, threads, counts);
}
