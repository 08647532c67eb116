/* transcode.h - the characters of a Python str (1, 2 or 4 bytes each) to UTF-8 and back.
 *
 * Surrogates: a high one followed by a low one is the character of the pair, as in UTF-16; any other becomes U+FFFD.
 * Complexity: linear. Exactness: `text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")`. */
#ifndef LF_TEXT_TRANSCODE_H
#define LF_TEXT_TRANSCODE_H

#include "lf.h"

/* Writes n characters of `width` (1, 2 or 4) bytes to out, which has room for lf_utf8_bound(n, width) bytes; returns how
 * many bytes it wrote. *lone is the index of the first surrogate that has no partner, n if there is none. */
size_t lf_utf8_from(const void *characters, unsigned width, size_t n, uint8_t *out, size_t *lone);

/* A character of Latin-1 takes at most 2 bytes, one of the basic plane 3, any other 4. */
static inline size_t lf_utf8_bound(size_t n, unsigned width) { return (width == 1 ? 2 : width == 2 ? 3 : 4) * n + 8; }

/* How many characters UTF-8 has and the largest of them; 0 if it is ill-formed. */
int lf_utf8_measure(const uint8_t *text, size_t n, size_t *n_characters, uint32_t *largest);

/* Writes the characters of well-formed UTF-8 with `width` bytes each, enough for the largest. */
void lf_utf8_to(const uint8_t *text, size_t n, unsigned width, void *characters);

#endif
