/* chance.h - random numbers that a seed fixes: splitmix64 (Steele, Lea and Flood 2014). */
#ifndef LF_TEXT_CHANCE_H
#define LF_TEXT_CHANCE_H

#include <stdint.h>

static inline uint64_t lf_chance_next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* In [0, 1), a multiple of 2^-53. */
static inline double lf_chance_uniform(uint64_t *state) { return (double)(lf_chance_next(state) >> 11) * 0x1p-53; }

#endif
