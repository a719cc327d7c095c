/* The neuron of neuron.py for a whole layer: scale, pooling, activation, rounding and counting in one pass over memory.

Compiled without contraction: a multiplication and an addition are rounded each, so that the results are those of
neuron.py to the bit. Maps are rows of channels (layout.py); what neurons have sent is a byte, k + 128. GCC's vectors, as
wide as the processor's; OpenMP where there is one. */

#include <stdint.h>
#include <string.h>
#if defined __SSE2__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define LANES 16
#define SIMD(name) _mm512_##name
typedef __m512i packed;
#elif defined __AVX2__
#define LANES 8
#define SIMD(name) _mm256_##name
typedef __m256i packed;
#else
#define LANES 4
#define SIMD(name) _mm_##name
#if defined __SSE2__
typedef __m128i packed;
#endif
#endif
/* BLOCK: bytes of the positions that are counted together, or of one. */
enum { LARGEST = 127, ZERO = 128, TERMS = 3, SUMS = 6, BYTES = 4 * LANES, BLOCK = 4096 };
typedef float floats __attribute__((vector_size(BYTES)));
typedef int32_t ints __attribute__((vector_size(BYTES)));
typedef uint8_t bytes __attribute__((vector_size(BYTES)));
typedef uint64_t words __attribute__((vector_size(BYTES)));
typedef uint8_t quarter __attribute__((vector_size(LANES)));

/* Per channel, each padded to whole vectors: see NeuronLayer. scales: of each summand; ceiling: infinity without a cap.
slope: 0 to 1; slack: less than 1/2; silu: whether the activation is that. */
typedef struct {
    int64_t channels;
    const float *scales[TERMS], *bias, *per_value, *offset, *ceiling;
    float slope, slack;
    int32_t silu;
} Layer;

/* Rows of a map, or those at `where` unless that is NULL. width is that of the map before pooling by 2 x 2, 0 without
it. sums, events: each summand is float32, of the whole map, or of these rows alone, where the four of a window of pooling
follow one another; or what neurons have sent, of the whole map. before: what was sent by the frame before, or NULL. due:
how many thresholds must be due then; 0 for any. */
typedef struct {
    int64_t rows, width, terms;
    const float *sums[TERMS];
    const uint8_t *events[TERMS], *before;
    const int64_t *where;
    float due;
} Input;

/* sent: uint8 [positions, channels]. spent: float32 [3, positions, segments], the spikes, digits and messages of each
segment of channels, which end at `ends`. */
typedef struct {
    int64_t positions, segments;
    const int32_t *ends;
    uint8_t *sent;
    float *spent;
} Output;

/* Every function of vectors is part of its caller. */
#define INLINE static inline __attribute__((always_inline))

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE floats all(float x) { return (floats){} + x; }
INLINE floats choose(ints mask, floats a, floats b) { return (floats)((mask & (ints)a) | (~mask & (ints)b)); }

/* Of each lane the larger, the smaller, and what is rounded down; lanes of bytes and of 32 bits. */
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

INLINE floats sent(const uint8_t *from, int64_t n) {
    quarter x = (quarter){} + ZERO;
    if (n == LANES) memcpy(&x, from, LANES);
    else memcpy(&x, from, n);
    return __builtin_convertvector(widened(x) - ZERO, floats);
}

/* e^x for x <= 0: see neuron.exp. */
INLINE floats power(floats x) {
    static const float coefficients[] = {0.00123913318f, 0.00968418631f, 0.0554806302f, 0.240230454f, 0.693146933f, 1.0f};
    x = larger(x * 1.4426950408889634f, all(-126.0f));
    floats exponent = down(x);
    x = x - exponent;
    floats sum = all(0.000218657848f);
    for (int i = 0; i < 6; i++) sum = sum * x + coefficients[i];
    return sum * (floats)((__builtin_convertvector(exponent, ints) + 127) << 23);
}

INLINE floats sigmoid(floats x) {
    floats e = power((floats)((ints)x | INT32_MIN));
    return choose(x < 0, e, all(1.0f)) / (e + 1.0f);
}

/* From where a number is rounded up, by the last four bits of the one below: of some the next number has a digit less, of
some a digit more (counting.py). */
typedef struct {
    floats cut[16 / LANES];
} Rounding;

INLINE Rounding rounding(float slack) {
    Rounding r;
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

/* The new k of LANES neurons, +ZERO. */
INLINE ints fire(const Layer *g, const Rounding *r, int64_t c, floats v, floats before, float at_least) {
    if (g->silu) v = v * sigmoid(v) * read(g->per_value + c, LANES);
    else v = larger(v, v * g->slope);
    v = smaller(v, read(g->ceiling + c, LANES)) + read(g->offset + c, LANES);
    /* No more than LARGEST is sent: a whole number is not rounded up, since slack is below 1/2. */
    floats due = smaller(larger(v, all(-LARGEST)), all(LARGEST)) - before;
    floats base = down(due);
    ints low = __builtin_convertvector(base, ints);
    ints change = low - (due - base >= cut_of(r, low));
    if (at_least > 0) change &= larger(v - before, before - v) >= at_least;
    return __builtin_convertvector(before, ints) + ZERO + change;
}

/* n <= LANES neurons of one position, of which `row` is the place after pooling and `from` that among the sums, where the
next line of the map is `below`. */
INLINE void step(const Layer *g, const Rounding *r, const Input *x, int64_t from, int64_t below, int64_t row, int64_t c,
                 int64_t n, uint8_t *out) {
    int64_t channels = g->channels, at = row * channels + c;
    floats v = {};
    for (int64_t k = 0; k < x->terms; k++) {
        floats term;
        if (x->events[k]) term = sent(x->events[k] + at, n);
        else {
            const float *sums = x->sums[k] + from * channels + c, *next = sums + below;
            term = read(sums, n);
            if (below) term = larger(larger(term, read(sums + channels, n)), larger(read(next, n), read(next + channels, n)));
        }
        term = term * read(g->scales[k] + c, LANES);
        v = k ? v + term : term;
    }
    v = v + read(g->bias + c, LANES);
    floats before = {};
    if (x->before) before = sent(x->before + at, n);
    quarter byte = narrowed(fire(g, r, c, v, before, x->due));
    if (n == LANES) memcpy(out + at, &byte, LANES);
    else memcpy(out + at, &byte, n);
}

/* The sum of each eight bytes. */
INLINE words sums_of(bytes x) {
#if defined __SSE2__
    return (words)SIMD(sad_epu8)((packed)x, (packed){});
#else
    words sums = ((words)x & 0x00ff00ff00ff00ff) + ((words)x >> 8 & 0x00ff00ff00ff00ff);
    sums = (sums & 0x0000ffff0000ffff) + (sums >> 16 & 0x0000ffff0000ffff);
    return (sums & 0xffffffff) + (sums >> 32);
#endif
}

/* The digits of numbers: the bits of n ^ 3 n, of which the last is none, and the ninth stands for 171 or more. */
INLINE bytes digits(bytes n) {
    bytes half = n >> 1, x = (n + half) ^ half;
    x -= x >> 1 & 0x55;
    x = (x & 0x33) + (x >> 2 & 0x33);
    return ((x + (x >> 4)) & 0x0f) - (bytes)(n > 170);
}

/* What each eight neurons of n have sent: 24 bits of spikes, 20 of digits, 20 of messages. */
static void count(const uint8_t *new, const uint8_t *old, int64_t n, uint64_t *counts) {
    for (int64_t i = 0; i < n; i += BYTES) {
        bytes a = (bytes){} + ZERO, b = a;
        int64_t here = least(n - i, BYTES);
        if (here == BYTES) memcpy(&a, new + i, BYTES);
        else memcpy(&a, new + i, here);
        if (old && here == BYTES) memcpy(&b, old + i, BYTES);
        else if (old) memcpy(&b, old + i, here);
        bytes more = (bytes)(a > b), size = (more & (a - b)) | (~more & (b - a));
        words sums = sums_of(size) + (sums_of(digits(size)) << 24) + (sums_of((bytes)(size != 0) & 1) << 44);
        memcpy(counts + i / 8, &sums, BYTES);
    }
}

/* What n neurons have sent, where they are not so many or no whole eights. */
static uint64_t counted(const uint8_t *new, const uint8_t *old, int64_t n) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t a = new[i], b = old ? old[i] : ZERO, size = a > b ? a - b : b - a;
        sum += size + ((uint64_t)__builtin_popcount(size ^ 3 * size) << 24) + ((uint64_t)(size > 0) << 44);
    }
    return sum;
}

/* Counts what the positions from `row` to `last` have sent. before: as in Input. */
static void spend(int64_t channels, const uint8_t *before, const Output *to, int64_t row, int64_t last) {
    const uint8_t *new = to->sent + row * channels, *old = before ? before + row * channels : NULL;
    uint64_t counts[BLOCK / 8 + LANES], *next = counts;
    int eights = channels <= BLOCK;
    for (int64_t s = 0; s < to->segments; s++) eights &= to->ends[s] % 8 == 0;
    if (eights) count(new, old, (last - row) * channels, counts);
    float *spent = to->spent + row * to->segments;
    for (int64_t n = (last - row) * to->segments, s = 0; n; n--, spent++) {
        int64_t size = to->ends[s] - (s ? to->ends[s - 1] : 0);
        uint64_t sum = 0;
        if (!eights) sum = counted(new, old, size);
        else for (int64_t k = size / 8; k; k--) sum += *next++;
        spent[0] = (float)(sum & 0xffffff);
        spent[to->positions * to->segments] = (float)(sum >> 24 & 0xfffff);
        spent[2 * to->positions * to->segments] = (float)(sum >> 44);
        new += size;
        if (old) old += size;
        if (++s == to->segments) s = 0;
    }
}

/* The neurons of rows that lie together, from first to the one before last. */
static void block(const Layer *given, const Rounding *r, const Input *from, const Output *to, int64_t first, int64_t last) {
    /* Copies, which no byte that is written can be part of. */
    const Layer own = *given, *g = &own;
    const Input input = *from, *x = &input;
    int64_t channels = g->channels, half = x->width / 2, row = x->where ? x->where[first] : first;
    for (int64_t i = first; i < last; i++) {
        int64_t sums = i, width = x->width, c = 0, at = row + i - first;
        if (width && x->where) sums = 4 * i, width = 2;
        else if (width) sums = at / half * 2 * width + at % half * 2;
        for (; c + LANES <= channels; c += LANES) step(g, r, x, sums, width * channels, at, c, LANES, to->sent);
        if (c < channels) step(g, r, x, sums, width * channels, at, c, channels - c, to->sent);
    }
    spend(channels, x->before, to, row, row + last - first);
}

/* How many positions are counted together. */
static int64_t together(int64_t channels) { return most(BLOCK / channels, 1); }

/* One step of a layer. */
void neurons(const Layer *g, const Input *x, const Output *to, int threads) {
    Rounding r = rounding(g->slack);
    int64_t size = x->where ? 1 : together(g->channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < x->rows; i += size) block(g, &r, x, to, i, least(i + size, x->rows));
}

/* What was sent since the frame before. */
void events(int64_t channels, const uint8_t *before, const Output *to, int threads) {
    int64_t size = together(channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < to->positions; i += size) spend(channels, before, to, i, least(i + size, to->positions));
}

/* Windows over maps of h x w: those of a convolution or pooling with so much padding above and to the left. */
typedef struct {
    int64_t h, w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, top, left;
} Windows;

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

/* In how many of its `channels` bytes each of n rows of two maps differs; counts: zeros. */
void changed(const uint8_t *new, const uint8_t *old, float *counts, int64_t channels, int64_t n) {
    int64_t block = 1024 / channels + 1;
    for (int64_t first = 0; first < n; first += block) {
        int64_t last = least(first + block, n);
        if (!memcmp(new + first * channels, old + first * channels, (last - first) * channels)) continue;
        for (int64_t i = first; i < last; i++)
            for (int64_t c = i * channels; c < (i + 1) * channels; c++) counts[i] += new[c] != old[c];
    }
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

/* Neurons whose values have gradients, in rows of `images` maps: see straight_through.py. Per channel as in Layer, with
offset = initial - 1/2 - rest. width: how many costs a position has, 1 or one per channel; 0 where events are not counted.
before: how many thetas were sent, or NULL. least: how many must be due then. parts: how many of a map are summed apart. */
typedef struct {
    int64_t images, positions, channels, width, parts;
    const float *theta, *offset, *bias, *rest, *ceiling, *cost, *before;
    float slope, slack, least;
    int32_t silu;
} Trained;

/* What LANES neurons compute: the derivative of phi, m thetas, what is due, whether k can grow by that much, and by how
much it grows. */
typedef struct {
    floats slope, constant, due, change;
    ints within;
} Fired;

INLINE Fired fired(const Trained *g, const Rounding *r, const float *z, int64_t row, int64_t c, int64_t n) {
    Fired f = {.slope = all(1.0f)};
    floats theta = read(g->theta + c, LANES), m = g->before ? read(g->before + row + c, n) : all(0.0f), value;
    floats x = read(z + row + c, n) + read(g->bias + c, LANES);
    if (g->silu) {
        floats gate = sigmoid(x);
        value = x * gate;
        f.slope = gate + value * (1 - gate);
    } else {
        floats ceiling = read(g->ceiling + c, LANES);
        f.slope = choose(x > 0, choose(x > ceiling, all(0.0f), f.slope), all(g->slope));
        value = smaller(larger(x, x * g->slope), ceiling);
    }
    f.constant = m * theta;
    f.due = (value - f.constant) / theta + read(g->offset + c, LANES);
    floats lowest = -LARGEST - m, highest = LARGEST - m;
    f.within = (f.due >= lowest) & (f.due <= highest);
    ints fires = larger(f.due, -f.due) >= g->least;
    f.due = smaller(larger(f.due, lowest), highest);
    floats base = down(f.due);
    ints low = __builtin_convertvector(base, ints), change = low - (f.due - base >= cut_of(r, low));
    f.change = __builtin_convertvector(change & fires, floats);
    return f;
}

INLINE void write(float *to, floats x, int64_t n) {
    if (n == LANES) memcpy(to, &x, sizeof x);
    else memcpy(to, &x, n * sizeof *to);
}

/* Digits of whole numbers below 2^14. */
INLINE floats digits_of(floats n) {
    ints x = __builtin_convertvector(larger(n, -n), ints);
    x ^= 3 * x;
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f;
    return __builtin_convertvector((x + (x >> 8)) & 0xff, floats);
}

/* Where a part of an image begins. */
static int64_t begin(const Trained *g, int64_t part) { return g->positions * part / g->parts; }

/* The costs of LANES neurons of a position. */
INLINE floats costs(const Trained *g, int64_t p, int64_t c, int64_t n) {
    return g->width > 1 ? read(g->cost + p * g->width + c, n) : all(g->cost[p]);
}

/* Values of z, and what their events cost, by image and part. */
void values(const Trained *g, const float *z, int threads, float *value, float *spent) {
    Rounding r = rounding(g->slack);
#pragma omp parallel for num_threads(threads)
    for (int64_t k = 0; k < g->images * g->parts; k++) {
        int64_t image = k / g->parts, end = begin(g, k % g->parts + 1);
        floats total = {};
        for (int64_t p = begin(g, k % g->parts); p < end; p++) {
            int64_t row = (image * g->positions + p) * g->channels;
            for (int64_t c = 0; c < g->channels; c += LANES) {
                int64_t n = least(g->channels - c, LANES);
                Fired f = fired(g, &r, z, row, c, n);
                write(value + row + c, (f.change + read(g->rest + c, LANES)) * read(g->theta + c, LANES) + f.constant, n);
                floats each = digits_of(f.change);
                if (n < LANES) each = read((float *)&each, n);
                if (g->width) total += each * costs(g, p, c, n);
            }
        }
        spent[k] = 0;
        for (int64_t i = 0; i < LANES; i++) spent[k] += total[i];
    }
}

/* Gradients of z, and sums by part for those of the parameters, [SUMS, channels in whole sixteens]: of what is given within
the range of k and beyond it, of what is given times the error of rounding, or times k beyond, of the gradient of z, of
that of what is due by its digits, and of this times what is due. given: of the values; of_spent: of the costs of each
image, over ln 8. */
void gradients(const Trained *g, const float *z, int threads, const float *given, const float *of_spent, float *result,
               float *sums) {
    Rounding r = rounding(g->slack);
    int64_t size = (g->channels + 15) / 16 * 16;
#pragma omp parallel for num_threads(threads)
    for (int64_t k = 0; k < g->images * g->parts; k++) {
        int64_t image = k / g->parts, end = begin(g, k % g->parts + 1);
        float *sum = sums + SUMS * size * k, soft = g->least > 0 ? g->least * g->least / 8 : 1 / 32.0f;
        for (int64_t p = begin(g, k % g->parts); p < end; p++) {
            int64_t row = (image * g->positions + p) * g->channels;
            for (int64_t c = 0; c < g->channels; c += LANES) {
                int64_t n = least(g->channels - c, LANES);
                Fired f = fired(g, &r, z, row, c, n);
                floats all_given = read(given + row + c, n), gradient = choose(f.within, all_given, all(0.0f));
                floats terms[SUMS] = {gradient, all_given - gradient, all_given * f.change - gradient * f.due};
                if (g->width) {
                    floats of_digits = f.due / (f.due * f.due + soft) * costs(g, p, c, n) * of_spent[image];
                    terms[4] = choose(f.within, of_digits, all(0.0f));
                    terms[5] = terms[4] * f.due;
                    gradient += terms[4] / read(g->theta + c, LANES);
                }
                terms[3] = gradient * f.slope;
                write(result + row + c, terms[3], n);
                for (int64_t i = 0; i < SUMS; i++) {
                    float *at = sum + i * size + c;
                    write(at, read(at, LANES) + terms[i], LANES);
                }
            }
        }
    }
}

/* Of which state of this file the library was made; setup.py gives it. */
int source(void) { return SOURCE; }
