/* The rule of sampler.py without sorting the vocabulary. All tokens are weighed, but only those near the
 * peak are ranked first, for nearly every draw falls among them. They are dropped into bins by how far they
 * lie below the peak, and only the bins in which something is decided are sorted. */
#include "sampling.h"

#include <float.h>
#include <stdlib.h>

#include "probability.h"

#define COLDEST 1e-5
#define BINS 1024
#define SPAN 40.0 /* exp(-40) of the peak: a whole vocabulary of them is below one part in 10^12 */
#define NEAR 10.0 /* exp(-10) of the peak is 1 in 22,000 */

static double uniform(uint64_t seed, int64_t position) { /* serving/engine/sampling/randomness.py */
    uint64_t z = (seed ^ ((uint64_t)position * 0xD1342543DE82EF95u)) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int32_t most_probable(const float *logits, int vocabulary) {
    const float peak = highest(logits, vocabulary);
    int i;
    for (i = 0; i < vocabulary - 1 && logits[i] != peak; i++) {}
    return i;
}

typedef struct { double weight; float logit; int32_t token; } Candidate;

typedef struct {
    double temperature, peak, furthest; /* tokens further below the peak than that may not come */
    double whole;                       /* the weight of all that may come */
    double seen;                        /* the weight of those that are ranked */
    int all, count;                     /* whether the ranked are all that may come, and how many they are */
    int32_t *near;                      /* they, in rising order */
    Candidate *tokens;                  /* they, bin after bin, best bin first; in a sorted bin best first */
    int starts[BINS + 1];
    double weights[BINS];
    int sorted[BINS];
} Ranking;

static double below_peak(const Ranking *r, float logit) { return (r->peak - logit) / r->temperature; }

static int by_rank(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token - y->token;
}

static int bin_of(double below) {
    const double bin = below * (BINS / SPAN);
    return bin < BINS - 1 ? (int)bin : BINS - 1;
}

/* Weighs all tokens that may come. */
static void weigh(Ranking *r, const float *logits, int vocabulary) {
    f64x8 sums = {0};
    int i = 0;
    for (; i + 8 <= vocabulary; i += 8) {
        const f64x8 below = (r->peak - load_8(logits + i)) / r->temperature;
        sums += (f64x8)((s64x8)exp_8(-below) & (below <= r->furthest));
    }
    r->whole = sum_8(sums);
    for (; i < vocabulary; i++)
        if (below_peak(r, logits[i]) <= r->furthest) r->whole += exp(-below_peak(r, logits[i]));
}

/* Finds the tokens at most `reach` below the peak. */
static void find_near(Ranking *r, const float *logits, int vocabulary, double reach) {
    reach = reach < r->furthest ? reach : r->furthest;
    /* Compared as floats, a little too far: 16 at a time they are nearly always none. */
    const double edge = (r->peak - reach * r->temperature) - 1e-3 * (1 + fabs(r->peak));
    const float least = edge > -FLT_MAX ? (float)edge : -FLT_MAX;
    r->count = 0;
    for (int first = 0; first < vocabulary; first += LANES) {
        const int last = first + LANES < vocabulary ? first + LANES : vocabulary;
        if (last - first == LANES && largest16(load(logits + first)) < least) continue;
        for (int i = first; i < last; i++)
            if (below_peak(r, logits[i]) <= reach) r->near[r->count++] = i;
    }
    r->all = reach >= r->furthest;
}

static void rank_near(Ranking *r, const float *logits) {
    int at[BINS] = {0};
    memset(r->weights, 0, sizeof r->weights);
    memset(r->sorted, 0, sizeof r->sorted);
    for (int i = 0; i < r->count; i++) at[bin_of(below_peak(r, logits[r->near[i]]))]++;
    for (int bin = 0, sum = 0; bin < BINS; bin++) {
        r->starts[bin] = sum;
        sum += at[bin];
        at[bin] = r->starts[bin];
        r->starts[bin + 1] = sum;
    }
    for (int i = 0; i < r->count; i++) {
        const int32_t token = r->near[i];
        const double below = below_peak(r, logits[token]);
        const int bin = bin_of(below);
        const Candidate c = {exp(-below), logits[token], token};
        r->tokens[at[bin]++] = c;
        r->weights[bin] += c.weight;
    }
    r->seen = 0;
    for (int bin = 0; bin < BINS; bin++) r->seen += r->weights[bin];
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

/* -1 when that takes more than the tokens that are ranked. */
static int32_t draw(Ranking *r, const Choice *how) {
    const double part = uniform(how->seed, how->position);
    Prefix kept = {r->count, r->all ? r->seen : r->whole, 0};
    if (how->top_k > 0 && (!r->all || how->top_k < r->count)) {
        if (how->top_k > r->count) return -1;
        kept = prefix(r, how->top_k, INFINITY, 0);
    }
    if (how->top_p < 1) {
        if (!r->all && how->top_p * kept.weight >= r->seen * (1 - 1e-12)) return -1;
        kept = prefix(r, kept.count, how->top_p * kept.weight, 0);
    }
    if (!r->all && part * kept.weight >= r->seen * (1 - 1e-12)) return -1;
    return prefix(r, kept.count, part * kept.weight, 1).last;
}

static int32_t draw_from(Ranking *r, const float *logits, int vocabulary, const Choice *how) {
    r->temperature = how->temperature;
    r->peak = logits[most_probable(logits, vocabulary)];
    r->furthest = how->min_p > 0 ? -log(how->min_p) : DBL_MAX; /* a logit of -INFINITY lies beyond */
    weigh(r, logits, vocabulary);
    for (int all = 0;; all = 1) {
        find_near(r, logits, vocabulary, all ? DBL_MAX : NEAR);
        if (all && !r->count) return most_probable(logits, vocabulary); /* every logit is -INFINITY or NaN */
        rank_near(r, logits);
        const int32_t token = draw(r, how);
        if (token >= 0 || all) return token;
    }
}

static int32_t pick(const float *logits, int vocabulary, const Choice *how) {
    if (!(how->temperature > COLDEST)) return most_probable(logits, vocabulary);
    Ranking *r = malloc(sizeof *r);
    Candidate *tokens = malloc(sizeof *tokens * (size_t)vocabulary);
    int32_t *near = malloc(sizeof *near * (size_t)vocabulary);
    int32_t token = -1;
    if (r && tokens && near) {
        r->tokens = tokens;
        r->near = near;
        token = draw_from(r, logits, vocabulary, how);
    }
    free(near);
    free(tokens);
    free(r);
    return token;
}

static void change(float *logits, int vocabulary, const Choice *how) {
    for (int i = 0; i < how->adjusted; i++) {
        float *logit = &logits[how->ids[i]];
        *logit = *logit > 0 ? *logit / how->factors[i] : *logit * how->factors[i];
        *logit += how->offsets[i];
    }
    for (int i = 0; how->allowed && i < vocabulary; i++)
        if (!(how->allowed[i / 32] >> (i % 32) & 1)) logits[i] = -INFINITY;
}

int32_t choose(const float *logits, int vocabulary, const Choice *how) {
    if (!how->adjusted && !how->allowed) return pick(logits, vocabulary, how);
    float *changed = malloc(sizeof *changed * (size_t)vocabulary);
    if (!changed) return -1;
    memcpy(changed, logits, sizeof *changed * (size_t)vocabulary);
    change(changed, vocabulary, how);
    const int32_t token = pick(changed, vocabulary, how);
    free(changed);
    return token;
}
