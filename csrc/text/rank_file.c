/* rank_file.c - the lines of a .tiktoken file; see rank_file.h. */
#include "text/rank_file.h"

enum { MOST_DIGITS = 9, MOST_PROBES = 64 };
#define NO_BASE64 0x80000000u

/* The six bits of each character at each place of a group of four, NO_BASE64 for any other character. */
static void base64_values(uint32_t values[4][256]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int place = 0; place < 4; place++) {
        for (int c = 0; c < 256; c++) values[place][c] = NO_BASE64;
        for (uint32_t i = 0; i < 64; i++) values[place][(uint8_t)alphabet[i]] = i << (18 - 6 * place);
    }
}

/* The bits of the last group of a token, of which there are *n < 3 bytes; NO_BASE64 if it is not padded to four characters
 * or has bits left over. */
static uint32_t read_padded(uint32_t values[4][256], const uint8_t *p, unsigned *n) {
    const uint32_t third = p[2] == '=' ? 0 : values[2][p[2]], bits = values[0][p[0]] | values[1][p[1]] | third;
    *n = p[2] == '=' ? 1 : 2;
    return p[3] != '=' || (bits & 0xFFFFFFu >> 8 * *n) ? NO_BASE64 : bits;
}

/* Reads a rank up to the end of the line; returns its digits, 0 if it is none. */
static inline unsigned read_rank(const uint8_t *p, const uint8_t *end, uint32_t *rank) {
    unsigned n = 0;
    uint32_t value = 0;
    for (; p + n < end && p[n] != '\n'; n++) {
        const uint32_t digit = p[n] - (uint32_t)'0';
        if (digit > 9 || n == MOST_DIGITS) return 0;
        value = 10 * value + digit;
    }
    *rank = value;
    return n;
}

lf_status lf_rank_file_read(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                            uint64_t *hashes, size_t *n_tokens) {
    uint32_t values[4][256];
    base64_values(values);
    const uint8_t *p = text, *end = text + n;
    size_t at = 0;
    for (*n_tokens = 0;; ++*n_tokens) {
        uint64_t hash = 0;
        unsigned m = 3;
        offsets[*n_tokens] = (int64_t)at;
        if (p == end || *p == ' ') return LF_EVALUE; /* an empty token */
        for (; end - p >= 4 && *p != ' '; p += 4, at += m) {
            if (m < 3) return LF_EVALUE; /* padding ends a token */
            uint32_t bits = values[0][p[0]] | values[1][p[1]] | values[2][p[2]] | values[3][p[3]];
            if ((bits & NO_BASE64) && ((bits = read_padded(values, p, &m)) & NO_BASE64)) return LF_EVALUE;
            blob[at] = (uint8_t)(bits >> 16), blob[at + 1] = (uint8_t)(bits >> 8), blob[at + 2] = (uint8_t)bits;
            hash = (hash ^ bits ^ m << 24) * 0x9E3779B97F4A7C15u;
            hash ^= hash >> 32;
        }
        if (p == end || *p != ' ') return LF_EVALUE;
        const unsigned n_digits = read_rank(++p, end, &ids[*n_tokens]);
        if (n_digits == 0) return LF_EVALUE;
        hashes[*n_tokens] = hash;
        p += n_digits;
        if (p == end) break;
        p++;
    }
    offsets[++*n_tokens] = (int64_t)at;
    return LF_OK;
}

int lf_rank_file_repeats(const uint64_t *hashes, size_t n, uint32_t *slots, size_t n_slots) {
    const size_t mask = n_slots - 1;
    for (size_t i = 0; i < n; i++) {
        const uint32_t tag = (uint32_t)(hashes[i] >> 32) | 1;
        size_t at = (size_t)hashes[i] & mask, probes = 0;
        for (; slots[at]; at = (at + 1) & mask)
            if (slots[at] == tag || ++probes == MOST_PROBES) return 1;
        slots[at] = tag;
    }
    return 0;
}
