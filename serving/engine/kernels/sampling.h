/* Choosing a token from logits, by the rule that serving/engine/sampler.py states. */
#pragma once
#include <stdint.h>

typedef struct {
    uint64_t seed;
    int64_t position; /* where the new token will stand in its sequence */
    double temperature, top_p;
    int32_t top_k;
} Choice;

int32_t choose(const float *logits, int vocabulary, const Choice *how);
