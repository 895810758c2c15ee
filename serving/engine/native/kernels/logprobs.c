#include "logprobs.h"

#include "probability.h"

/* log of the sum of exp; in double, for 100,000 rare tokens weigh more than a float's rounding. */
static double log_sum_exp(const float *logits, int vocabulary) {
    const double peak = highest(logits, vocabulary);
    f64x8 sums = {0};
    int i = 0;
    for (; i + 8 <= vocabulary; i += 8) sums += exp_8(load_8(logits + i) - peak);
    double sum = sum_8(sums);
    for (; i < vocabulary; i++) sum += exp(logits[i] - peak);
    return peak + log(sum);
}

/* Puts `token` into its place among the best `held` so far, of which at most `top` are kept. */
static int insert(int32_t *ids, const float *logits, int held, int top, int32_t token) {
    int place = held < top ? held : top - 1;
    for (; place > 0 && logits[ids[place - 1]] < logits[token]; place--) ids[place] = ids[place - 1];
    ids[place] = token;
    return held < top ? held + 1 : top;
}

void rank_logprobs(const float *logits, int vocabulary, int32_t token, int top, int32_t *ids, float *logprobs) {
    const double whole = log_sum_exp(logits, vocabulary);
    ids[0] = token;
    int held = 0;
    for (int i = 0; i < vocabulary && top; i++) {
        const int skips = held == top && i % LANES == 0 && i + LANES <= vocabulary;
        if (skips && largest16(load(logits + i)) <= logits[ids[top]]) i += LANES - 1;
        else if (held < top || logits[i] > logits[ids[top]]) held = insert(ids + 1, logits, held, top, i);
    }
    for (int i = 0; i <= top; i++) logprobs[i] = (float)((double)logits[ids[i]] - whole);
}
