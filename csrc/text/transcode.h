/* transcode.h - the characters of a Python str (1, 2 or 4 bytes each) to UTF-8 and back.
 *
 * Surrogates: a high one followed by a low one is the character of the pair, as in UTF-16; any other becomes U+FFFD.
 * The other way only well-formed UTF-8 becomes characters: no overlong forms, no surrogates, nothing past U+10FFFF.
 *
 * Complexity: linear. Exactness: `text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")`. */
#ifndef LF_TEXT_TRANSCODE_H
#define LF_TEXT_TRANSCODE_H

#include "lf.h"

/* Writes n characters of `width` (1, 2 or 4) bytes to out, which has room for lf_utf8_bound(n, width) bytes; returns how
 * many bytes it wrote. *lone is the index of the first surrogate that has no partner, n if there is none. */
size_t lf_utf8_from(const void *characters, unsigned width, size_t n, uint8_t *out, size_t *lone);

/* A character of Latin-1 takes at most 2 bytes, one of the basic plane 3, any other 4. */
static inline size_t lf_utf8_bound(size_t n, unsigned width) { return (width == 1 ? 2 : width == 2 ? 3 : 4) * n + 8; }

/* What a reader has done. */
typedef struct {
    size_t n_read, n_written; /* bytes, characters */
    uint32_t bits;            /* all bits of the characters written, those of earlier calls too */
} lf_utf8_progress;

/* Writes the characters of UTF-8, `width` bytes each, until the text ends, or at a character that is ill-formed or not
 * complete, or after `room` characters. Any 64 bytes behind the text have to be readable. */
typedef void lf_utf8_reader(const uint8_t *text, size_t n, unsigned width, void *out, size_t room,
                            lf_utf8_progress *progress);

/* The reader of an instruction set. */
lf_utf8_reader *lf_utf8_reader_for(lf_isa isa);
lf_utf8_reader lf_utf8_read_plain, lf_utf8_read_avx512;

#endif
