/* utf8.h - reading UTF-8 that may be wrong.
 *
 * The rule for text that is not UTF-8, everywhere in lmfast: a byte that belongs to no well-formed sequence (Unicode
 * table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF) is a character of its own that is neither letter,
 * mark, number nor white space. So every byte string splits into characters, and encoding loses nothing. */
#ifndef LF_TEXT_UTF8_H
#define LF_TEXT_UTF8_H

#include "lf.h"

#define LF_NO_CHARACTER 0xFFFFFFFFu /* the code point of an ill-formed byte */

/* Whether a byte continues a character (10xxxxxx). */
static inline int lf_utf8_continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* How many characters a text has, if it is well-formed. */
static inline size_t lf_utf8_count(const uint8_t *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += !lf_utf8_continues(text[i]);
    return count;
}

/* Reads the character at p < end; returns its length in bytes, 1 for an ill-formed byte. */
static inline unsigned lf_utf8_read(const uint8_t *p, const uint8_t *end, uint32_t *code_point) {
    const uint32_t a = p[0];
    const size_t left = (size_t)(end - p);
    if (a < 0x80) return *code_point = a, 1u;
    if (a >= 0xC2 && a < 0xE0) {
        if (left > 1 && lf_utf8_continues(p[1])) return *code_point = (a & 31) << 6 | (p[1] & 63u), 2u;
    } else if (a >= 0xE0 && a < 0xF0) {
        if (left > 2 && lf_utf8_continues(p[1]) && lf_utf8_continues(p[2])) {
            const uint32_t c = (a & 15) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
            if (c >= 0x800 && (c < 0xD800 || c > 0xDFFF)) return *code_point = c, 3u;
        }
    } else if (a >= 0xF0 && a < 0xF5) {
        if (left > 3 && lf_utf8_continues(p[1]) && lf_utf8_continues(p[2]) && lf_utf8_continues(p[3])) {
            const uint32_t c = (a & 7) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
            if (c >= 0x10000 && c <= 0x10FFFF) return *code_point = c, 4u;
        }
    }
    return *code_point = LF_NO_CHARACTER, 1u;
}

/* An ill-formed byte, where code points are handled: this plus the byte. */
#define LF_RAW_BYTE 0x80000000u

/* The length of a code point, or of a raw byte, in bytes. */
static inline unsigned lf_utf8_length(uint32_t cp) {
    if (cp >= LF_RAW_BYTE) return 1;
    return 1u + (cp >= 0x80) + (cp >= 0x800) + (cp >= 0x10000);
}

/* Writes a code point, or a raw byte; returns its length. */
static inline unsigned lf_utf8_write(uint32_t cp, uint8_t *out) {
    if (cp < 0x80 || cp >= LF_RAW_BYTE) return out[0] = (uint8_t)cp, 1u;
    if (cp < 0x800) return out[0] = (uint8_t)(0xC0 | cp >> 6), out[1] = (uint8_t)(0x80 | (cp & 63)), 2u;
    const unsigned n = cp < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 63));
    out[0] = (uint8_t)((n == 3 ? 0xE0 : 0xF0) | cp);
    return n;
}

/* Where the character that ends just before `at` > 0 begins. */
static inline size_t lf_utf8_before(const uint8_t *text, size_t at) {
    for (unsigned back = 2; back <= 4 && back <= at; back++) {
        uint32_t c;
        if (!lf_utf8_continues(text[at - back]) && text[at - back] >= 0xC2) {
            if (lf_utf8_read(text + at - back, text + at, &c) == back) return at - back;
            break;
        }
    }
    return at - 1;
}

#endif
