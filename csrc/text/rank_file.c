/* rank_file.c - the lines of a .tiktoken file; see rank_file.h. */
#include "text/rank_file.h"

enum { NOT_BASE64 = 64, MOST_DIGITS = 9 };

static void base64_values(uint8_t values[256]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = 0; c < 256; c++) values[c] = NOT_BASE64;
    for (uint8_t i = 0; i < 64; i++) values[(uint8_t)alphabet[i]] = i;
}

/* Decodes the four characters at p; returns how many bytes they are, 0 if they are not base64. */
static inline unsigned read_group(const uint8_t values[256], const uint8_t *p, uint8_t *out) {
    const unsigned n = p[3] != '=' ? 3 : p[2] != '=' ? 2 : 1;
    const uint32_t a = values[p[0]], b = values[p[1]], c = n > 1 ? values[p[2]] : 0, d = n > 2 ? values[p[3]] : 0;
    const uint32_t bits = a << 18 | b << 12 | c << 6 | d, unused = 0xFFFFFFu >> 8 * n;
    if (((a | b | c | d) & NOT_BASE64) || (n < 3 && (bits & unused))) return 0;
    out[0] = (uint8_t)(bits >> 16), out[1] = (uint8_t)(bits >> 8), out[2] = (uint8_t)bits;
    return n;
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
    uint8_t values[256];
    base64_values(values);
    const uint8_t *p = text, *end = text + n;
    size_t at = 0;
    for (*n_tokens = 0;; ++*n_tokens) {
        uint64_t hash = 0;
        unsigned m = 3;
        offsets[*n_tokens] = (int64_t)at;
        if (p == end || *p == ' ') return LF_EVALUE; /* an empty token */
        for (; end - p >= 4 && *p != ' '; p += 4, at += m) {
            if (m < 3 || !(m = read_group(values, p, blob + at))) return LF_EVALUE; /* padding ends a token */
            hash = (hash ^ (uint64_t)blob[at] << 16 ^ (uint64_t)blob[at + 1] << 8 ^ blob[at + 2] ^ m << 24) *
                   0x9E3779B97F4A7C15u;
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
