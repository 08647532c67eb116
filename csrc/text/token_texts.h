/* token_texts.h - ids whose tokens' texts have only to be joined.
 *
 * Where a token's text depends on no other token, decoding is a table and joining (decode.h). Two kinds of tokens are
 * left: those without text, which decode.h takes for none at all, and those of a byte, which are characters only together:
 *
 *     tokens   a | <0xE2> <0x96> <0x81> | nothing | b | <0xFF> <0x41>
 *     texts    a |   E2     96     81   |         | b | U+FFFD U+FFFD
 *
 * A run of bytes stays where all of it is UTF-8; else each of them becomes U+FFFD.
 *
 * Exactness: ByteFallback of tokenizers 0.23.3. Complexity: linear. Memory: none. */
#ifndef LF_TEXT_TOKEN_TEXTS_H
#define LF_TEXT_TOKEN_TEXTS_H

#include "lf.h"

/* What an id stands for. A byte is LF_TOKEN_BYTE and its value. */
enum { LF_TOKEN_NONE, LF_TOKEN_TEXT, LF_TOKEN_EMPTY, LF_TOKEN_BYTE = 256 };

/* Writes to `out`, which has room for n, the ids that have text; `n_ids`, one more than the largest, stands for U+FFFD. Ids
 * that change meanwhile do no harm. LF_EINDEX: ids[*where] is no token's. */
lf_status lf_token_texts(const uint16_t *restrict kinds, size_t n_ids, const uint32_t *restrict ids, size_t n,
                         uint32_t *restrict out, size_t *n_out, size_t *where);

#endif
