/* What a program works on: the structures that structures.py has under the same names.

A map lies channels last, its channels padded to whole sixteens. What neurons have sent is a byte,
k + 128. What they send in a later frame lies in slots of each position: (group, four deltas of
8 bits) for each four channels of which one changed. */

#pragma once
#include "neuron.h"
#include <stddef.h>

/* LIMIT: the largest delta of an entry, such that two products with weights up to 255 fit 16 bits
where the processor adds pairs in so many. */
enum { SIXTEEN = 16, COUNTS = 3, COLUMNS = 3, ROWS = 64 };
#if defined __AVX512VNNI__ || !defined __AVX2__
enum { LIMIT = 127 };
#else
enum { LIMIT = 64 };
#endif
/* Maps as layers read them whose sums are computed anew: where the processor adds four products of
bytes, what was sent as it is, elsewhere k as 16 bits, of which it adds two products. */
#if defined __AVX512VNNI__
typedef uint8_t Cell;
typedef int8_t Weight;
enum { DEPTH = 4 };
#else
typedef int16_t Cell;
typedef int16_t Weight;
enum { DEPTH = 2 };
#endif
/* A cell of k = 0. */
enum { NONE = sizeof(Cell) == 1 ? ZERO : 0 };

/* Which positions differ from the frame before: h x w of each image. row: whether any of a row
does. */
typedef struct {
    int64_t h, w;
    uint8_t *changed, *row;
} Marks;

/* What the image, neurons or a pooling have sent by now. padded: the same as cells, with `edge`
rows and columns of what stands for 0 around each image, or NULL. group, delta: the entries of each
position, in order of sixteen channels. start, balance: which is the first of each sixteen, and the
sum of the deltas before it, [positions, sixteens + 1], where a position has changed. These four may
be NULL. ends: where the segments of channels end that are counted apart. costs: what each event at
a position causes, [columns - 1, segments, h * w]; price: a number that is the same where the costs
are. spent: [images, columns, COUNTS]. maps: [COUNTS, images, segments, h * w], or NULL. entries,
changes: entries and positions of this frame; overflow: whether slots were too few. */
typedef struct {
    Marks at;
    int64_t channels, stride, edge, slots, segments, columns;
    uint8_t *sent;
    Cell *padded;
    uint16_t *start, *group;
    int32_t *delta, *balance;
    const int32_t *ends, *costs;
    const int64_t *price;
    int64_t *spent;
    float *maps;
    int64_t entries, changes, overflow;
} Map;

/* Channels from `first` of a map that a layer reads, each position of it as often as the factors
say. low, high: their sixteens; runs: how many times DEPTH they are. map: NULL where only marks
count. */
typedef struct {
    const Map *map;
    const Marks *at;
    int64_t factor_h, factor_w, first, runs, low, high;
} Part;

/* Windows over maps of in_h x in_w, of which the first begins `top` rows above and `left` columns
before. */
typedef struct {
    int64_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w;
    int64_t dilation_h, dilation_w, top, left;
} Window;

/* What each output sees. */
typedef struct {
    Window window;
    int64_t parts;
    const Part *part;
} Reach;

/* Outputs whose weights lie together: `lanes` of them from `first`, weights from `at`. channel: the
first that is read, in grouped convolutions. */
typedef struct {
    int64_t first, lanes, at, channel;
} Block;

/* A convolution. weights: w + 128, [block][tap][group][out][4]; direct_weights: [block][part][tap]
[run][out][DEPTH], of a depthwise one int32 [tap][channel]. merged: whether the taps of a row are
one run of memory. offset: added to the sums of cells, which do not all stand for 0 by 0. border:
added to the sums at a position, [border_row]. sums: [positions, outs], which only EVENTS and layers
with several readers keep. by_blocks: its weights are so many that threads share outputs, not rows.
rate: nanoseconds for an entry, full: for all positions anew; limit: the entries from which sums are
computed anew. nanoseconds, computed: the time in this frame, and the positions computed anew. */
enum { EVENTS, DIRECT, DEPTHWISE, VALUE };
typedef struct {
    Marks at;
    Reach reach;
    int64_t kind, by_blocks, merged, outs, blocks, direct_blocks;
    const Block *block, *direct_block;
    const uint8_t *weights;
    const void *direct_weights;
    const int32_t *offset, *border_row, *border;
    int32_t *sums;
    double limit, rate, full;
    int64_t nanoseconds, computed;
} Convolution;

/* What neurons add up: the sums of a convolution, or channels of a map from `first`. fused: whether
the step that reads the sums computes them, row by row. reach: what makes the neurons due. */
typedef struct {
    Convolution *convolution;
    const Map *map;
    int64_t first, fused;
    Reach reach;
} Term;

/* Neurons, of the largest sums of each `window` where they are pooled. */
typedef struct {
    Map *out;
    Layer layer;
    int64_t terms, pooled;
    Term term[TERMS];
    Window window;
} Neurons;

/* Channels of an output of the network, from `first` of `stride`: sums * scale + bias. changes:
positions that were computed in this frame. */
typedef struct {
    Term term;
    float *values;
    const float *scale, *bias;
    int64_t channels, first, stride, changes;
} Head;

typedef struct {
    Map *out;
    Part part;
    Window window;
} Pooling;

/* The image: bytes [images, h, w, 3] of the caller, less `zero` of each channel. */
typedef struct {
    Map *out;
    const uint8_t *bytes;
    const int32_t *zero;
} Image;

/* Attention over the positions of a map, in `areas` runs of tokens: softmax(q k) v. query, key,
value: parts of `heads` times `depth`, `depth` and `width` channels. out: the softmax, [images, 1,
positions * heads, tokens of an area]; sums: what the values of it add up to. */
typedef struct {
    Map *out;
    Convolution *sums;
    Layer layer;
    Part query, key, value;
    int64_t heads, areas, depth, width;
} Attention;

/* A step. total: rows of outputs. band: rows of a chunk at most. nanoseconds: CPU time of all
threads. OUTSIDE: the caller computes it. */
enum { IMAGE, SUMS, NEURONS, HEAD, POOLING, ATTENTION, OUTSIDE };
typedef struct {
    int64_t kind, total, band;
    void *what;
    int64_t next, done, nanoseconds;
} Step;

/* first: whether nothing was sent before. kept: whether a later frame follows, which needs sums.
all: whether all neurons are asked, as with a smaller dead zone than in the frame before. due: how
many thresholds must be due, 0 for any. lossless: whether values are rounded as in a photograph.
sums: `room` numbers of scratch for each thread. widest: of each thread the largest |sum| that it
has read, never reset here. */
typedef struct {
    int64_t steps, convolutions, images, threads, first, kept, all, lossless, room;
    Step *step;
    Convolution **convolution;
    int32_t *sums;
    float *widest, due;
} Program;
