/* The neuron of neuron.py for a whole layer: scale, pooling, activation, rounding and counting in one pass over memory.

Compiled without contraction: a multiplication and an addition are rounded each, so that the results are those of
neuron.py to the bit. Maps are rows of channels (layout.py); what neurons have sent is a byte, k + 128. GCC's vectors, as
wide as the processor's; OpenMP where there is one. */

#include <stdint.h>
#include <string.h>

#if defined __AVX512F__
enum { LANES = 16 };
#elif defined __AVX2__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { LARGEST = 127, ZERO = 128 };
typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint8_t bytes __attribute__((vector_size(LANES)));

/* Per channel, each padded to whole vectors: see NeuronLayer. second: of a sum that is added; ceiling: infinity without a
cap. silu: whether the activation is that. */
typedef struct {
    int64_t channels;
    const float *scale, *second, *bias, *per_value, *offset, *ceiling;
    float slope, slack;
    int32_t silu;
} Layer;

/* Rows of a map, or those at `where` unless that is NULL. width is that of the map before pooling by 2 x 2, 0 without
it. sums: float32, of the whole map, or of these rows alone, where the four of a window of pooling follow one another;
added: what an identity sent, or NULL; before: what was sent by the frame before, or NULL. due: how many thresholds must
be due then; 0 for any. */
typedef struct {
    int64_t rows, width;
    const float *sums;
    const uint8_t *added, *before;
    const int64_t *where;
    float due;
} Input;

/* Every function of vectors is part of its caller. */
#define INLINE static inline __attribute__((always_inline))

INLINE floats all(float x) { return (floats){} + x; }
INLINE ints pick(ints mask, ints a, ints b) { return (mask & a) | (~mask & b); }
INLINE floats choose(ints mask, floats a, floats b) { return (floats)pick(mask, (ints)a, (ints)b); }
INLINE floats larger(floats a, floats b) { return choose(a > b, a, b); }
INLINE floats smaller(floats a, floats b) { return choose(a < b, a, b); }

INLINE floats read(const float *from, int64_t n) {
    floats x = {};
    if (n == LANES) memcpy(&x, from, sizeof x);
    else memcpy(&x, from, n * sizeof *from);
    return x;
}

INLINE ints sent(const uint8_t *from, int64_t n) {
    bytes x = (bytes){} + ZERO;
    if (n == LANES) memcpy(&x, from, LANES);
    else memcpy(&x, from, n);
    return __builtin_convertvector(x, ints) - ZERO;
}

INLINE ints whole(floats x) { /* rounded down */
    ints cut = __builtin_convertvector(x, ints);
    return cut + (__builtin_convertvector(cut, floats) > x);
}

/* e^x for x <= 0: see neuron.exp. */
INLINE floats power(floats x) {
    static const float coefficients[] = {0.00123913318f, 0.00968418631f, 0.0554806302f, 0.240230454f, 0.693146933f, 1.0f};
    x = larger(x * 1.4426950408889634f, all(-126.0f));
    ints exponent = whole(x);
    x = x - __builtin_convertvector(exponent, floats);
    floats sum = all(0.000218657848f);
    for (int i = 0; i < 6; i++) sum = sum * x + coefficients[i];
    return sum * (floats)((exponent + 127) << 23);
}

INLINE floats sigmoid(floats x) {
    floats e = power(choose(x < 0, x, -x));
    return choose(x < 0, e, all(1.0f)) / (e + 1.0f);
}

/* How many bits are set. */
INLINE ints ones(ints x) {
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    x += x >> 8;
    return (x + (x >> 16)) & 63;
}

INLINE int32_t total(ints x) {
    ints lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    for (int half = LANES / 2; half; half /= 2) x += __builtin_shuffle(x, lane ^ half);
    return x[0];
}

/* Numbers by their last four bits: with one digit less than the next one, and with one more (counting.py). */
static const int32_t MORE = 0x1115, FEWER = 0xa888;

/* The new k of LANES neurons. */
INLINE ints fire(const Layer *g, int64_t c, floats v, ints before, float at_least) {
    if (g->silu) v = v * sigmoid(v) * read(g->per_value + c, LANES);
    else v = choose(v > 0, v, v * g->slope);
    v = smaller(v, read(g->ceiling + c, LANES));
    floats due = v + read(g->offset + c, LANES) - __builtin_convertvector(before, floats);
    due = smaller(larger(due, all(-1e6f)), all(1e6f));
    ints low = whole(due), bits = low & 15;
    floats base = __builtin_convertvector(low, floats);
    floats cut = all(0.5f) + g->slack * __builtin_convertvector((MORE >> bits & 1) - (FEWER >> bits & 1), floats);
    ints change = low - (due - base >= cut);
    if (at_least > 0) change &= choose(due < 0, -due, due) >= at_least;
    ints k = before + change;
    return pick(k < -LARGEST, (ints){} - LARGEST, pick(k > LARGEST, (ints){} + LARGEST, k));
}

typedef struct {
    ints spikes, digits, messages;
} Events;

/* n <= LANES neurons of one position, of which `row` is the place after pooling and `sums` before it, where the next line
of the map is `below`. */
INLINE void step(const Layer *g, const Input *x, const float *sums, int64_t below, int64_t row, int64_t c, int64_t n,
                 uint8_t *out, Events *events) {
    int64_t channels = g->channels, at = row * channels + c;
    floats v = read(sums + c, n);
    if (x->width) {
        const float *next = sums + below + c;
        v = larger(larger(v, read(sums + channels + c, n)), larger(read(next, n), read(next + channels, n)));
    }
    v = v * read(g->scale + c, LANES);
    if (x->added) v = v + __builtin_convertvector(sent(x->added + at, n), floats) * read(g->second + c, LANES);
    v = v + read(g->bias + c, LANES);
    ints before = {};
    if (x->before) before = sent(x->before + at, n);
    ints k = fire(g, c, v, before, x->due);
    bytes byte = __builtin_convertvector(k + ZERO, bytes);
    if (n == LANES) memcpy(out + at, &byte, LANES);
    else memcpy(out + at, &byte, n);
    ints size = k - before;
    size = pick(size < 0, -size, size);
    for (int64_t i = n; i < LANES; i++) size[i] = 0;
    events->spikes += size;
    events->digits += ones(size ^ 3 * size);
    events->messages -= size > 0;
}

/* The neurons of row i. spent: float32 [3, positions, segments], spikes, digits and messages of each segment of channels,
which end at `ends`. */
static void position(const Layer *g, const Input *x, int64_t i, const int32_t *ends, int64_t segments,
                     int64_t positions, uint8_t *out, float *spent) {
    int64_t row = x->where ? x->where[i] : i, half = x->width / 2, start = 0, first = i, width = x->width;
    if (width && x->where) first = 4 * i, width = 2;
    else if (width) first = row / half * 2 * width + row % half * 2;
    const float *sums = x->sums + first * g->channels;
    for (int64_t s = 0; s < segments; s++) {
        Events events = {};
        int64_t c = start;
        for (; c + LANES <= ends[s]; c += LANES) step(g, x, sums, width * g->channels, row, c, LANES, out, &events);
        if (c < ends[s]) step(g, x, sums, width * g->channels, row, c, ends[s] - c, out, &events);
        float *counts = spent + row * segments + s;
        counts[0] = (float)total(events.spikes);
        counts[positions * segments] = (float)total(events.digits);
        counts[2 * positions * segments] = (float)total(events.messages);
        start = ends[s];
    }
}

/* One step of a layer. out: uint8 [positions, channels]; spent: see position. */
void neurons(const Layer *g, const Input *x, const int32_t *ends, int64_t segments, int64_t positions, int threads,
             uint8_t *out, float *spent) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < x->rows; i++)
        position(g, x, i, ends, segments, positions, out, spent);
}

/* Windows over maps of h x w: those of a convolution or pooling with so much padding above and to the left. */
typedef struct {
    int64_t h, w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, top, left;
} Windows;

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The first window that sees row or column i, and the one after the last. */
static int64_t first_window(int64_t i, int64_t padding, int64_t kernel, int64_t stride) {
    return most(i + padding - kernel + stride, 0) / stride;
}
static int64_t past_window(int64_t i, int64_t padding, int64_t stride, int64_t outputs) {
    return least((i + padding) / stride + 1, outputs);
}

/* The outputs that the n inputs `where` reach, in order, of `total` in all; marks: total + 8 zeros. Returns how many. */
int64_t reached(const Windows *g, const int64_t *where, int64_t n, int64_t total, uint8_t *marks, int64_t *found) {
    for (int64_t i = 0; i < n; i++) {
        int64_t line = where[i] / g->w, column = where[i] - line * g->w, image = line / g->h, row = line - image * g->h;
        int64_t left = first_window(column, g->left, g->kernel_w, g->stride_w);
        int64_t right = past_window(column, g->left, g->stride_w, g->out_w);
        int64_t bottom = past_window(row, g->top, g->stride_h, g->out_h);
        for (int64_t y = first_window(row, g->top, g->kernel_h, g->stride_h); y < bottom; y++)
            for (int64_t x = left; x < right; x++) marks[(image * g->out_h + y) * g->out_w + x] = 1;
    }
    int64_t count = 0;
    for (int64_t i = 0; i < total; i += 8) {
        uint64_t eight;
        memcpy(&eight, marks + i, 8);
        for (int64_t k = i; eight && k < i + 8; k++)
            if (marks[k]) found[count++] = k;
    }
    return count;
}

/* The rows of `channels` bytes in which two maps differ, in order; counts: zeros, in how many bytes each differs, or NULL.
Returns how many rows. */
int64_t changed(const uint8_t *new, const uint8_t *old, int64_t channels, int64_t n, int64_t *found, float *counts) {
    int64_t count = 0, block = 1024 / channels + 1;
    for (int64_t first = 0; first < n; first += block) {
        int64_t last = least(first + block, n);
        if (!memcmp(new + first * channels, old + first * channels, (last - first) * channels)) continue;
        for (int64_t i = first; i < last; i++) {
            const uint8_t *a = new + i * channels, *b = old + i * channels;
            if (!memcmp(a, b, channels)) continue;
            found[count++] = i;
            for (int64_t c = 0; counts && c < channels; c++) counts[i] += a[c] != b[c];
        }
    }
    return count;
}

/* What the windows of the outputs `where` see of a map of bytes: seen is [n, kernel_h, kernel_w, channels], `zero` outside
of the map. */
void gather(const Windows *g, const uint8_t *map, int64_t channels, const int64_t *where, int64_t n, int zero, int threads,
            uint8_t *seen) {
    int64_t line = g->kernel_w * channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        int64_t at = where[i] / g->out_w, x = (where[i] - at * g->out_w) * g->stride_w - g->left;
        int64_t image = at / g->out_h, y = (at - image * g->out_h) * g->stride_h - g->top;
        int64_t first = least(most(-x, 0), g->kernel_w), last = most(least(g->w - x, g->kernel_w), first);
        for (int64_t k = 0; k < g->kernel_h; k++) {
            uint8_t *to = seen + (i * g->kernel_h + k) * line;
            int inside = y + k >= 0 && y + k < g->h;
            if (!inside || last - first < g->kernel_w) memset(to, zero, line);
            const uint8_t *from = map + ((image * g->h + y + k) * g->w + x) * channels;
            if (inside) memcpy(to + first * channels, from + first * channels, (last - first) * channels);
        }
    }
}

/* Of which state of this file the library was made; setup.py gives it. */
int source(void) { return SOURCE; }
