#include "logprobs.h"

#include <math.h>

#include "vectors.h"

/* log of the sum of exp; in double, for 100,000 rare tokens weigh more than a float's rounding. */
static double log_sum_exp(const float *logits, int vocabulary) {
    float peak = logits[0];
    for (int i = 1; i < vocabulary; i++) peak = logits[i] > peak ? logits[i] : peak;
    double sum = 0;
    for (int i = 0; i < vocabulary; i++) sum += (double)expf(logits[i] - peak);
    return (double)peak + log(sum);
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
    for (int i = 0; i < vocabulary && top; i++)
        if (held < top || logits[i] > logits[ids[top]]) held = insert(ids + 1, logits, held, top, i);
    for (int i = 0; i <= top; i++) logprobs[i] = (float)((double)logits[ids[i]] - whole);
}
