/* The rule of sampler.py without sorting the vocabulary: tokens are dropped into bins by how far they
 * lie below the peak, and only the bins in which something is decided are sorted. */
#include "sampling.h"

#include <stdlib.h>

#include "vectors.h"

#define COLDEST 1e-5
#define BINS 1024
#define SPAN 40.0 /* exp(-40) of the peak: a whole vocabulary of them is below one part in 10^12 */

static double uniform(uint64_t seed, int64_t position) { /* serving/engine/randomness.py */
    uint64_t z = (seed ^ ((uint64_t)position * 0xD1342543DE82EF95u)) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int32_t most_probable(const float *logits, int vocabulary) {
    f32x16 peaks = splat(-INFINITY);
    int i = 0;
    for (; i + LANES <= vocabulary; i += LANES) peaks = max16(peaks, load(logits + i));
    float peak = largest16(peaks);
    for (; i < vocabulary; i++) peak = logits[i] > peak ? logits[i] : peak;
    for (i = 0; i < vocabulary - 1 && logits[i] != peak; i++) {}
    return i;
}

typedef struct { double weight; float logit; int32_t token; } Candidate;

typedef struct {
    Candidate *tokens; /* bin after bin, best bin first; in a sorted bin best token first */
    int starts[BINS + 1];
    double weights[BINS];
    int sorted[BINS];
} Ranking;

static int by_rank(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token - y->token;
}

static int bin_of(double below_peak) {
    const double bin = below_peak * (BINS / SPAN);
    return bin < BINS - 1 ? (int)bin : BINS - 1;
}

static void rank_tokens(Ranking *r, const float *logits, int vocabulary, double temperature) {
    const double peak = logits[most_probable(logits, vocabulary)];
    int at[BINS] = {0};
    memset(r->weights, 0, sizeof r->weights);
    memset(r->sorted, 0, sizeof r->sorted);
    for (int i = 0; i < vocabulary; i++) at[bin_of((peak - logits[i]) / temperature)]++;
    for (int bin = 0, sum = 0; bin < BINS; bin++) {
        r->starts[bin] = sum;
        sum += at[bin];
        at[bin] = r->starts[bin];
        r->starts[bin + 1] = sum;
    }
    for (int i = 0; i < vocabulary; i++) {
        const double below = (peak - logits[i]) / temperature;
        const int bin = bin_of(below);
        const Candidate c = {exp(-below), logits[i], i};
        r->tokens[at[bin]++] = c;
        r->weights[bin] += c.weight;
    }
}

static const Candidate *sorted_bin(Ranking *r, int bin) {
    Candidate *first = r->tokens + r->starts[bin];
    if (!r->sorted[bin]) qsort(first, (size_t)(r->starts[bin + 1] - r->starts[bin]), sizeof *first, by_rank);
    r->sorted[bin] = 1;
    return first;
}

typedef struct { int count; double weight; int32_t last; } Prefix;

/* The shortest prefix of the ranked tokens that has `count` tokens or weighs `weight` (or, if `beyond`,
 * more than that). */
static Prefix prefix(Ranking *r, int count, double weight, int beyond) {
    Prefix p = {0, 0, r->tokens[0].token};
    for (int bin = 0; bin < BINS; bin++) {
        const int size = r->starts[bin + 1] - r->starts[bin];
        const double reached = p.weight + r->weights[bin];
        const int ends_here = p.count + size >= count || reached >= weight;
        if (!ends_here || !size) {
            p.count += size;
            p.weight = reached;
            continue;
        }
        const Candidate *c = sorted_bin(r, bin);
        for (int i = 0; i < size; i++) {
            p = (Prefix){p.count + 1, p.weight + c[i].weight, c[i].token};
            if (p.count >= count || (beyond ? p.weight > weight : p.weight >= weight)) return p;
        }
    }
    return p;
}

static int32_t draw(Ranking *r, int vocabulary, const Choice *how) {
    const int top_k = how->top_k > 0 && how->top_k < vocabulary ? how->top_k : vocabulary;
    Prefix kept = {vocabulary, 0, 0};
    if (top_k < vocabulary) kept = prefix(r, top_k, INFINITY, 0);
    else for (int bin = 0; bin < BINS; bin++) kept.weight += r->weights[bin];
    if (how->top_p < 1) kept = prefix(r, kept.count, how->top_p * kept.weight, 0);
    return prefix(r, kept.count, uniform(how->seed, how->position) * kept.weight, 1).last;
}

int32_t choose(const float *logits, int vocabulary, const Choice *how) {
    if (!(how->temperature > COLDEST)) return most_probable(logits, vocabulary);
    Ranking *r = malloc(sizeof *r);
    Candidate *tokens = malloc(sizeof *tokens * (size_t)vocabulary);
    int32_t token = -1; /* no memory */
    if (r && tokens) {
        r->tokens = tokens;
        rank_tokens(r, logits, vocabulary, how->temperature);
        token = draw(r, vocabulary, how);
    }
    free(tokens);
    free(r);
    return token;
}
