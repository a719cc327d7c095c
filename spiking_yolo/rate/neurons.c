/* A timestep of a layer of integrate-and-fire neurons in one pass: the formulas of neurons/integrate_and_fire.py, msat.py
and on_off.py once more. Input and state are read once, and state and spikes are written once. */

#include "../integer/neuron.h"
#include <stdlib.h>

/* Numbers of a block, about: what a pair sends stays in the first cache. */
enum { NUMBERS = 2048 };
/* The smallest threshold of MSAT and the scale of its evoked threshold, see msat.py. */
#define FLOOR 1e-3f
#define EVOKED 5.0f

/* The neurons of one sign. theta, shift, cap, inverse: [period]; shift: added in each step; cap: the largest activation in
thetas; inverse: of the unit of MSAT's rule. The state has a number for each neuron. total, ratio: NULL without MSAT; sent:
NULL without a cap, and `count` without MSAT; switches, previous: NULL where spikes are counted; events: spikes, digits and
messages of each position, or NULL without bursts. */
typedef struct {
    const float *theta, *shift, *cap, *inverse;
    float *potential, *count, *sent, *total, *ratio, *switches, *previous;
    double *events;
    float sign, gamma, top, alpha, tracking, evoked;
    int64_t zero;
} Side;

/* A layer. numbers: of neurons of a sign; period: numbers after which a channel comes again at the same lane. bias, weight:
[period] or NULL; weight: what a spike of the second side is worth. value: of each spike, for pairs of which one fires, or
NULL. */
typedef struct {
    int64_t numbers, channels, period, sides, threads;
    const float *z, *bias, *weight, *value;
    float *out;
    Side side[2];
} Neurons;

INLINE void write(float *to, int64_t n, floats x) {
    if (n == LANES) memcpy(to, &x, sizeof x);
    else memcpy(to, &x, n * sizeof *to);
}

/* theta(t) / theta of MSAT, without a logarithm: see threshold_ratio. d: U - Ubar, z: the current, in units of the rule. */
INLINE floats ratio_of(const Side *s, floats d, floats z) {
    floats x[2] = {-larger(d, -d), smaller(z * (-1 / EVOKED), all(88.0f))};
    power(2, x);
    floats a = s->tracking > 0 ? x[0] + 1.0f : all(1.0f);
    floats b = (s->top - d * s->alpha - larger(d, all(0.0f))) * s->tracking - x[1] * s->evoked;
    b = smaller(b, all(88.0f));
    power(1, &b);
    return larger(a / (a + b), all(FLOOR));
}

/* The neurons from number i on, of which the first is at p of the period, receive z. Returns what they send. */
INLINE floats step(const Side *s, int64_t t, int64_t i, int64_t p, int64_t n, floats z, floats *fired) {
    floats u = read(s->potential + i, n), theta = read(s->theta + p, LANES), ratio = all(1.0f), total = {};
    z = z * s->sign;
    if (s->total) {
        total = read(s->total + i, n);
        if (t > 0 && (s->tracking > 0 || s->evoked > 0)) {
            floats inverse = read(s->inverse + p, LANES);
            ratio = ratio_of(s, (u - total * (1.0f / t)) * inverse, z * inverse);
        }
        theta = theta * ratio;
    }
    if (s->shift) u = u + read(s->shift + p, LANES);
    u = u + z;
    floats k = s->gamma == 1 ? choose(u >= theta, all(1.0f), all(0.0f)) : down(smaller(larger(u / theta, all(0.0f)), all(s->gamma)));
    floats sent = {};
    if (s->cap) {
        sent = read(s->sent + i, n);
        floats left = (read(s->cap + p, LANES) * (float)(t + 1) - sent) / ratio + 0.5f;
        k = smaller(k, down(smaller(larger(left, all(0.0f)), all(s->gamma))));
    }
    u = s->zero ? choose(k > 0, all(0.0f), u) : u - k * theta;
    write(s->potential + i, n, u);
    write(s->count + i, n, read(s->count + i, n) + k);
    *fired = k;
    if (s->switches) {
        floats change = k - read(s->previous + i, n);
        write(s->switches + i, n, read(s->switches + i, n) + larger(change, -change));
        write(s->previous + i, n, k);
    }
    if (!s->total) return k;
    write(s->total + i, n, total + u);
    write(s->ratio + i, n, ratio);
    floats out = k * ratio;
    if (s->cap) write(s->sent + i, n, sent + out);
    return out;
}

/* The sum of all lanes, of whole numbers, which no order rounds. */
INLINE double sum_of(floats x) {
#if defined __AVX512F__
    return _mm512_reduce_add_ps(x);
#else
    double sum = 0;
    for (int l = 0; l < LANES; l++) sum += x[l];
    return sum;
#endif
}

/* Adds the spikes of each of these positions, their digits and messages to its events. */
static void count(double *events, const float *fired, int64_t positions, int64_t channels) {
    for (int64_t r = 0; r < positions; r++, fired += channels, events += 3) {
        floats spikes = {}, digits = {}, messages = {};
        for (int64_t c = 0; c < channels; c += LANES) {
            floats k = read(fired + c, least(LANES, channels - c));
            spikes = spikes + k;
            digits = digits + __builtin_convertvector(digits_of(k), floats);
            messages = messages + smaller(k, all(1.0f));
        }
        events[0] += sum_of(spikes), events[1] += sum_of(digits), events[2] += sum_of(messages);
    }
}

/* The neurons from number i to `end`. fired: room for so many numbers. */
static void block(const Neurons *y, int64_t t, int64_t i, int64_t end, float *fired) {
    for (int64_t k = 0; k < y->sides; k++) {
        const Side *s = y->side + k;
        int64_t p = 0;
        for (int64_t j = i; j < end; j += LANES, p = p + LANES == y->period ? 0 : p + LANES) {
            int64_t n = least(LANES, end - j);
            floats z = read(y->z + j, n), spikes;
            if (y->bias) z = z + read(y->bias + p, LANES);
            floats out = step(s, t, j, p, n, z, &spikes);
            if (s->events) write(fired + j - i, n, spikes);
            if (k) out = read(y->out + j, n) + out * read(y->weight + p, LANES);
            if (y->value) out = out * read(y->value + j, n);
            write(y->out + j, n, out);
        }
        if (s->events) count(s->events + i / y->channels * 3, fired, (end - i) / y->channels, y->channels);
    }
}

/* One timestep, t steps after the first. Returns whether there was memory for it. */
int64_t integrate(const Neurons *y, int64_t t) {
    int64_t size = most(NUMBERS / y->period, 1) * y->period, blocks = (y->numbers + size - 1) / size, failed = 0;
#pragma omp parallel num_threads(y->threads) reduction(+ : failed)
    {
        float *fired = malloc(size * sizeof *fired);
        failed += !fired;
#pragma omp for schedule(dynamic)
        for (int64_t b = 0; b < blocks; b++)
            if (fired) block(y, t, b * size, least((b + 1) * size, y->numbers), fired);
        free(fired);
    }
    return !failed;
}

/* Max pooling of running sums, see CumulativeMaxPool: `total` [images, h, w, channels] is what has arrived, `sent` what was
sent by now. weight: of a spike; bursts: whether fractions of spikes and more than one are counted. totals: [images, out_h,
out_w, channels], and events as of a Side. */
typedef struct {
    int64_t images, h, w, channels, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, top, left, threads, bursts;
    const float *x;
    float *total, *sent, *out, *totals;
    double *events;
    float weight, rounding;
} Pooling;

/* Adds n numbers of what has arrived to the sums. */
static void arrive(const Pooling *y, int64_t i, int64_t n) {
    for (int64_t j = i; j < i + n; j++) y->total[j] += y->x[j];
}

/* Pools `row` of the output, whose windows hold what has arrived. fired: room for a row. */
static void pool(const Pooling *y, int64_t row, float *fired) {
    int64_t C = y->channels, top = row % y->out_h * y->stride_h - y->top, first = row / y->out_h * y->h;
    for (int64_t o = 0; o < y->out_w; o++) {
        int64_t left = o * y->stride_w - y->left, at = (row * y->out_w + o) * C;
        for (int64_t c = 0; c < C; c += LANES) {
            int64_t n = least(LANES, C - c);
            floats largest = all(-__builtin_inff());
            for (int64_t iy = most(top, 0); iy < least(top + y->kernel_h, y->h); iy++)
                for (int64_t ix = most(left, 0); ix < least(left + y->kernel_w, y->w); ix++)
                    largest = larger(largest, read(y->total + ((first + iy) * y->w + ix) * C + c, n));
            floats due = largest - read(y->sent + at + c, n), size = larger(due, -due);
            write(y->sent + at + c, n, largest);
            write(y->out + at + c, n, due);
            floats k = choose(size > 0, all(1.0f), all(0.0f));
            /* Rounded up: a fraction of a spike is an event, too. */
            if (y->bursts) k = larger(k, -down(y->rounding - size / y->weight));
            write(y->totals + at + c, n, read(y->totals + at + c, n) + k);
            write(fired + o * C + c, n, k);
        }
    }
    if (y->events) count(y->events + row * y->out_w * 3, fired, y->out_w, C);
}

/* One timestep. Returns whether there was memory for it. */
int64_t pool_all(const Pooling *y) {
    int64_t rows = y->images * y->out_h, failed = 0, apart = y->kernel_h <= y->stride_h && !y->top, line = y->w * y->channels;
#pragma omp parallel num_threads(y->threads) reduction(+ : failed)
    {
        float *fired = malloc(y->out_w * y->channels * sizeof *fired);
        failed += !fired;
        if (!apart) {
#pragma omp for
            for (int64_t r = 0; r < y->images * y->h; r++) arrive(y, r * line, line);
        }
#pragma omp for schedule(dynamic, 4)
        for (int64_t row = 0; row < rows; row++) {
            if (!fired) continue;
            /* Windows of rows of their own take what arrives at once, and the last also what no window reads. */
            int64_t oy = row % y->out_h, from = oy * y->stride_h, to = oy + 1 < y->out_h ? from + y->stride_h : y->h;
            if (apart) arrive(y, (row / y->out_h * y->h + from) * line, (to - from) * line);
            pool(y, row, fired);
        }
        free(fired);
    }
    return !failed;
}

/* The state of the sources that the library was made of; setup.py gives it. */
int source(void) { return SOURCE; }
