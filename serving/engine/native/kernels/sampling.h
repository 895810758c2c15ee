/* Choosing a token from logits, by the rule that serving/engine/sampling/sampler.py states. */
#pragma once
#include <stdint.h>

typedef struct {
    uint64_t seed;
    int64_t position; /* where the new token will stand in its sequence */
    double temperature, top_p, min_p;
    int32_t top_k;
    int32_t adjusted;               /* how many logits are changed first, by */
    const int32_t *ids;             /* [adjusted], */
    const float *factors, *offsets; /* [adjusted] */
    const uint32_t *allowed;        /* NULL, or a bit for each token: only these may come */
} Choice;

/* -1 when there is no memory. */
int32_t choose(const float *logits, int vocabulary, const Choice *how);
