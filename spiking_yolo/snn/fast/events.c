/* Event-driven convolution: what few events reach, and nothing else.
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

/* n rows of a map, in order: those at `where`, or the first ones if that is NULL. stride: how many numbers lie between
two rows of `values`. */
typedef struct {
    const float *values;
    const int64_t *where;
    int64_t n, stride;
} Rows;

static int64_t position_of(const Rows *x, int64_t i) { return x->where ? x->where[i] : i; }

static const float *row_of(const Rows *x, int64_t i) { return x->values + i * x->stride; }

typedef struct {
    int32_t first, last; /* output rows or columns that see an input, last excluded */
} Range;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

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

/* Of which state of this file the library was made; setup.py gives it. */
int source(void) { return SOURCE; }
