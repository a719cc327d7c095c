/* The neurons of a layer while they are trained: their values, and the gradients of these. */

#include "neuron.h"

enum { SUMS = 6 };

/* 1 / (1 + e^-x) of n vectors. */
INLINE void sigmoid(int n, const floats *x, floats *result) {
    for (int i = 0; i < n; i++) result[i] = (floats)((ints)x[i] | INT32_MIN);
    power(n, result);
    for (int i = 0; i < n; i++) result[i] = choose(x[i] < 0, result[i], all(1.0f)) / (result[i] + 1.0f);
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
        floats gate;
        sigmoid(1, &x, &gate);
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
                floats each = __builtin_convertvector(digits_of(f.change), floats);
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
