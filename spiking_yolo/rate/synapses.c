/* Convolutions of few spikes: for each output the weights of what arrives there are added up, and nothing else. The stride of columns is `apart`. */

#include "../integer/neuron.h"

/* Vectors of outputs that are computed together, at most. CHUNKS: of a layer, about. */
enum { WIDEST = 4, CHUNKS = 32 };

/* What arrives at pairs of positions of a row, of which the second lies `apart` behind the first: those from -apart to
columns - 1, each with how many channels have a number that is not zero, which they are, and both numbers, [rows, apart +
columns, channels]. Outputs beside each other read such pairs, so that a weight is loaded once for both. */
typedef struct {
    int64_t rows, columns, channels, apart, threads;
    const float *x;
    int32_t *counts, *channel;
    float *first, *second;
} Events;

/* A convolution. weights: [blocks, kernel_h, kernel_w, channels, lanes]; bias: [blocks * lanes] or NULL; out:
[images, out_h, out_w, outs]. */
typedef struct {
    Events events;
    int64_t images, in_h, out_h, out_w, outs, kernel_h, kernel_w, stride_h, top, left, lanes;
    const float *weights, *bias;
    float *out;
} Convolution;

/* Finds what is not zero. Returns how many numbers of pairs that are. */
int64_t find(const Events *e) {
    int64_t total = 0, C = e->channels, width = e->apart + e->columns;
#pragma omp parallel for num_threads(e->threads) reduction(+ : total)
    for (int64_t p = 0; p < e->rows * width; p++) {
        int64_t column = p % width - e->apart, c = 0, n = 0;
        const float *x = e->x + (p / width * e->columns + column) * C, *y = x + e->apart * C;
        int one = column >= 0, two = column + e->apart < e->columns;
        int32_t *channel = e->channel + p * C;
        float *first = e->first + p * C, *second = e->second + p * C;
#if defined __AVX512F__
        __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (; c + LANES <= C; c += LANES) {
            __m512 a = _mm512_maskz_loadu_ps(-one, x + c), b = _mm512_maskz_loadu_ps(-two, y + c);
            __m512i either = _mm512_or_si512((__m512i)a, (__m512i)b);
            __mmask16 some = _mm512_test_epi32_mask(either, _mm512_set1_epi32(INT32_MAX));
            /* What lies behind the last of them is written over by the next, and ends with the position. */
            _mm512_storeu_ps(first + n, _mm512_maskz_compress_ps(some, a));
            _mm512_storeu_ps(second + n, _mm512_maskz_compress_ps(some, b));
            _mm512_storeu_si512(channel + n, _mm512_maskz_compress_epi32(some, _mm512_add_epi32(lanes, _mm512_set1_epi32(c))));
            n += __builtin_popcount(some);
        }
#endif
        for (; c < C; c++) {
            channel[n] = c, first[n] = one ? x[c] : 0, second[n] = two ? y[c] : 0;
            n += first[n] != 0 || second[n] != 0;
        }
        e->counts[p] = n;
        total += n;
    }
    return total;
}

INLINE floats added(floats sum, floats x, floats w) {
#if defined __AVX2__
    return (floats)SIMD(fmadd_ps)(x, w, sum);
#else
    return sum + x * w;
#endif
}

/* One row of outputs of a block of `wide` vectors. */
INLINE void outputs(const Convolution *y, int64_t wide, int64_t b, int64_t row) {
    const Events *e = &y->events;
    int64_t image = row / y->out_h, top = row % y->out_h * y->stride_h - y->top, lanes = wide * LANES;
    int64_t width = e->apart + e->columns;
    for (int64_t ox = 0; ox < y->out_w; ox += 2) {
        floats sum[2][WIDEST] = {};
        if (y->bias)
            for (int64_t k = 0; k < wide; k++) sum[0][k] = sum[1][k] = read(y->bias + b * lanes + k * LANES, LANES);
        for (int64_t ky = 0; ky < y->kernel_h; ky++) {
            int64_t iy = top + ky;
            if (iy < 0 || iy >= y->in_h) continue;
            for (int64_t kx = 0; kx < y->kernel_w; kx++) {
                int64_t column = ox * e->apart - y->left + kx + e->apart;
                if (column < 0 || column >= width) continue;
                int64_t p = (image * y->in_h + iy) * width + column, n = e->counts[p];
                const int32_t *channel = e->channel + p * e->channels;
                const float *first = e->first + p * e->channels, *second = e->second + p * e->channels;
                const float *weights = y->weights + ((b * y->kernel_h + ky) * y->kernel_w + kx) * e->channels * lanes;
                for (int64_t i = 0; i < n; i++) {
                    const float *from = weights + channel[i] * lanes;
                    floats x = all(first[i]), z = all(second[i]);
                    for (int64_t k = 0; k < wide; k++) {
                        floats w = read(from + k * LANES, LANES);
                        sum[0][k] = added(sum[0][k], x, w), sum[1][k] = added(sum[1][k], z, w);
                    }
                }
            }
        }
        for (int64_t two = 0; two < least(2, y->out_w - ox); two++) {
            float *out = y->out + (row * y->out_w + ox + two) * y->outs + b * lanes;
            for (int64_t k = 0; k < wide && b * lanes + k * LANES < y->outs; k++) {
                int64_t n = least(LANES, y->outs - b * lanes - k * LANES);
                if (n == LANES) memcpy(out + k * LANES, &sum[two][k], BYTES);
                else memcpy(out + k * LANES, &sum[two][k], n * sizeof *out);
            }
        }
    }
}

/* Computes the convolution of what `find` has found. */
void convolve(const Convolution *y) {
    int64_t lanes = y->lanes, blocks = (y->outs + lanes - 1) / lanes, rows = y->images * y->out_h;
    int64_t each = most(blocks * rows / CHUNKS, 1);
    each = least(each, rows);
    int64_t parts = (rows + each - 1) / each;
#pragma omp parallel for num_threads(y->events.threads) schedule(dynamic)
    for (int64_t chunk = 0; chunk < blocks * parts; chunk++) {
        int64_t b = chunk / parts, from = chunk % parts * each;
        for (int64_t row = from; row < least(from + each, rows); row++) {
            if (lanes == WIDEST * LANES) outputs(y, WIDEST, b, row);
            else outputs(y, WIDEST / 2, b, row);
        }
    }
}

/* Outputs of a block, of a layer of so many. */
int64_t together(int64_t outs) { return LANES * (outs > WIDEST / 2 * LANES ? WIDEST : WIDEST / 2); }
