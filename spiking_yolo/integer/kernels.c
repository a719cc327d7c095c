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
it. sums: float32 [rows, channels]; added: what an identity sent, or NULL; before: what was sent by the frame before, or
NULL. least: how many thresholds must be due then; 0 for any. */
typedef struct {
    int64_t rows, width;
    const float *sums;
    const uint8_t *added, *before;
    const int64_t *where;
    float least;
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
INLINE ints fire(const Layer *g, int64_t c, floats v, ints before, float least) {
    if (g->silu) v = v * sigmoid(v) * read(g->per_value + c, LANES);
    else v = choose(v > 0, v, v * g->slope);
    v = smaller(v, read(g->ceiling + c, LANES));
    floats due = v + read(g->offset + c, LANES) - __builtin_convertvector(before, floats);
    due = smaller(larger(due, all(-1e6f)), all(1e6f));
    ints low = whole(due), bits = low & 15;
    floats base = __builtin_convertvector(low, floats);
    floats cut = all(0.5f) + g->slack * __builtin_convertvector((MORE >> bits & 1) - (FEWER >> bits & 1), floats);
    ints change = low - (due - base >= cut);
    if (least > 0) change &= choose(due < 0, -due, due) >= least;
    ints k = before + change;
    return pick(k < -LARGEST, (ints){} - LARGEST, pick(k > LARGEST, (ints){} + LARGEST, k));
}

typedef struct {
    ints spikes, digits, messages;
} Events;

/* n <= LANES neurons of one position, of which `row` is the place after pooling and `sums` before it. */
INLINE void step(const Layer *g, const Input *x, const float *sums, int64_t row,
                                                       int64_t c, int64_t n, uint8_t *out, Events *events) {
    int64_t channels = g->channels, at = row * channels + c;
    floats v = read(sums + c, n);
    if (x->width) {
        const float *below = sums + x->width * channels + c;
        v = larger(larger(v, read(sums + channels + c, n)), larger(read(below, n), read(below + channels, n)));
    }
    v = v * read(g->scale + c, LANES);
    if (x->added) v = v + __builtin_convertvector(sent(x->added + at, n), floats) * read(g->second + c, LANES);
    v = v + read(g->bias + c, LANES);
    ints before = {};
    if (x->before) before = sent(x->before + at, n);
    ints k = fire(g, c, v, before, x->least);
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

/* The neurons of one position. spent: spikes, digits and messages of each segment of channels, which end at `ends`. */
static void position(const Layer *g, const Input *x, int64_t row, const int32_t *ends, int64_t segments, uint8_t *out,
                     float *spent) {
    int64_t half = x->width / 2, start = 0;
    const float *sums = x->sums + row * g->channels;
    if (x->width) sums = x->sums + (row / half * 2 * x->width + row % half * 2) * g->channels;
    for (int64_t s = 0; s < segments; s++) {
        Events events = {};
        int64_t c = start;
        for (; c + LANES <= ends[s]; c += LANES) step(g, x, sums, row, c, LANES, out, &events);
        if (c < ends[s]) step(g, x, sums, row, c, ends[s] - c, out, &events);
        float *counts = spent + (row * segments + s) * 3;
        counts[0] = (float)total(events.spikes);
        counts[1] = (float)total(events.digits);
        counts[2] = (float)total(events.messages);
        start = ends[s];
    }
}

/* One step of a layer. out: uint8 [rows, channels]; spent: float32 [rows, segments, 3]. */
void neurons(const Layer *g, const Input *x, const int32_t *ends, int64_t segments, int threads, uint8_t *out,
             float *spent) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < x->rows; i++)
        position(g, x, x->where ? x->where[i] : i, ends, segments, out, spent);
}

/* Of which state of this file the library was made; setup.py gives it. */
int source(void) { return SOURCE; }
