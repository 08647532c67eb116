/* transcode.c - a Python str to UTF-8 and back; see transcode.h. */
#include "text/transcode.h"

#include <string.h>

#include "text/utf8.h"

static inline uint8_t *put(uint8_t *out, uint32_t c) {
    if (c < 0x80) return *out = (uint8_t)c, out + 1;
    if (c < 0x800) return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), out + 2;
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)),
        out[2] = (uint8_t)(0x80 | (c & 63));
        return out + 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18), out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63));
    return out + 4;
}

static size_t from_latin1(const uint8_t *in, size_t n, uint8_t *out) {
    const uint8_t *start = out;
    for (size_t i = 0; i < n;) {
        uint64_t word;
        if (n - i >= 8 && (memcpy(&word, in + i, 8), (word & 0x8080808080808080u) == 0)) {
            memcpy(out, &word, 8);
            out += 8, i += 8;
        } else {
            out = put(out, in[i++]);
        }
    }
    return (size_t)(out - start);
}

static inline int is_high(uint32_t c) { return c - 0xD800u < 0x400; }
static inline int is_low(uint32_t c) { return c - 0xDC00u < 0x400; }

/* The character at index *i, past which *i moves: a pair of surrogates is one. */
#define DEFINE_FROM(width, type)                                                                                       \
    static size_t from_ucs##width(const type *in, size_t n, uint8_t *out, size_t *lone) {                              \
        const uint8_t *start = out;                                                                                    \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint32_t c = in[i];                                                                                        \
            if (LF_UNLIKELY(c - 0xD800u < 0x800)) {                                                                    \
                if (is_high(c) && i + 1 < n && is_low(in[i + 1])) {                                                    \
                    c = 0x10000 + ((c & 0x3FF) << 10) + (in[++i] & 0x3FFu);                                            \
                } else {                                                                                               \
                    if (*lone == n) *lone = i;                                                                         \
                    c = 0xFFFD;                                                                                        \
                }                                                                                                      \
            }                                                                                                          \
            out = put(out, c);                                                                                         \
        }                                                                                                              \
        return (size_t)(out - start);                                                                                  \
    }
DEFINE_FROM(2, uint16_t)
DEFINE_FROM(4, uint32_t)

size_t lf_utf8_from(const void *characters, unsigned width, size_t n, uint8_t *out, size_t *lone) {
    *lone = n;
    if (width == 1) return from_latin1(characters, n, out);
    return width == 2 ? from_ucs2(characters, n, out, lone) : from_ucs4(characters, n, out, lone);
}

static inline int is_ascii_16(const uint8_t *p) {
    uint64_t words[2];
    memcpy(words, p, 16);
    return ((words[0] | words[1]) & 0x8080808080808080u) == 0;
}

#define DEFINE_READ(width, type)                                                                                       \
    static void read_##width(const uint8_t *text, size_t n, type *out, size_t room, lf_utf8_progress *progress) {      \
        const uint8_t *p = text, *end = text + n;                                                                      \
        type *at = out, *stop = out + room;                                                                            \
        while (p < end && at < stop) {                                                                                 \
            if (end - p >= 16 && stop - at >= 16 && is_ascii_16(p)) {                                                  \
                uint8_t bytes[16]; /* a copy, of which the compiler knows that `out` is elsewhere */                   \
                memcpy(bytes, p, 16);                                                                                  \
                for (int i = 0; i < 16; i++) at[i] = bytes[i];                                                         \
                p += 16, at += 16;                                                                                     \
                continue;                                                                                              \
            }                                                                                                          \
            uint32_t c;                                                                                                \
            const unsigned length = lf_utf8_read(p, end, &c);                                                          \
            if (c == LF_NO_CHARACTER) break;                                                                           \
            progress->bits |= c;                                                                                       \
            p += length;                                                                                               \
            *at++ = (type)c;                                                                                           \
        }                                                                                                              \
        progress->n_read = (size_t)(p - text);                                                                         \
        progress->n_written = (size_t)(at - out);                                                                      \
    }
DEFINE_READ(1, uint8_t)
DEFINE_READ(2, uint16_t)
DEFINE_READ(4, uint32_t)

void lf_utf8_read_plain(const uint8_t *text, size_t n, unsigned width, void *out, size_t room,
                        lf_utf8_progress *progress) {
    if (width == 1) read_1(text, n, out, room, progress);
    else if (width == 2) read_2(text, n, out, room, progress);
    else read_4(text, n, out, room, progress);
}

lf_utf8_reader *lf_utf8_reader_for(lf_isa isa) {
#if defined(__x86_64__)
    if (isa == LF_AVX512) return lf_utf8_read_avx512;
#endif
    (void)isa;
    return lf_utf8_read_plain;
}
