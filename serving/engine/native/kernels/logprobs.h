/* How probable the model finds tokens: the logarithms of softmax over its unchanged logits. */
#pragma once
#include <stdint.h>

/* What to tell about rows [first, first + count) of a slice: for each row the token that follows it, then
 * the `top` most probable ones, equals by rising id. */
typedef struct {
    int32_t first, count, top;
    int32_t next; /* the token behind the slice, if it is not sampled in this step */
    int32_t *ids;    /* [count][1 + top] */
    float *logprobs; /* [count][1 + top] */
} Report;

/* Fills `ids` and `logprobs`, [1 + top] each. */
void rank_logprobs(const float *logits, int vocabulary, int32_t token, int top, int32_t *ids, float *logprobs);
