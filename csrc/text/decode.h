/* decode.h - ids to bytes, and ids to the characters of a str.
 *
 * One 16-byte slot an id, so that writing a token is a load, a store and an addition:
 *
 *     | up to 15 bytes of the token ................ | length |      length 0: no such id
 *     | offset in blob (8) | length (4) |      ...   |   255  |      for a longer token
 *
 * A str holds its characters in one, two or four bytes each, after the largest one. Number and width of the characters are
 * sums over the tokens even where a character is split between tokens, for every character has one byte that begins it.
 * So one pass over the ids and a small table finds them, then the str is made, and the bytes go through a block of 4 KB
 * into it. Whether they are UTF-8 is seen there. Ids that come a few at a time become bytes first, which are counted as
 * they come (lf_decode_some) and then become the str.
 *
 * Complexity: linear in the ids and bytes. Memory: 24 bytes an id up to the largest. */
#ifndef LF_TEXT_DECODE_H
#define LF_TEXT_DECODE_H

#include "lf.h"
#include "text/transcode.h"

/* What the characters of some tokens need, if together they are UTF-8: the largest flag says it. */
enum { LF_BEYOND_ASCII = 1, LF_BEYOND_LATIN1 = 2, LF_BEYOND_BMP = 4 };

typedef struct {
    size_t n_characters;
    unsigned flags;
} lf_decoded;

typedef struct {
    uint8_t (*slots)[16];
    uint32_t *lengths;    /* bytes of each id's token, 0 for no such id */
    uint32_t *characters; /* flags in the highest 3 bits, how many characters begin below; 0 for no such id */
    const uint8_t *blob;
    size_t n_ids; /* one more than the largest id */
} lf_decoder;

/* Token i, blob[offsets[i] .. offsets[i + 1]), has the id ids[i]; of several with one id the last holds. The blob stays
 * the caller's and must outlive the decoder. `n_ids` is one more than the largest id. LF_ENOMEM for a token of 512 MB
 * too. */
lf_status lf_decoder_new(lf_decoder **decoder, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                         size_t n_tokens, size_t n_ids);
void lf_decoder_free(lf_decoder *decoder);

/* How many bytes the ids decode to. LF_EINDEX: ids[*where] is no token's. */
lf_status lf_decode_size(const lf_decoder *decoder, const uint32_t *ids, size_t n, size_t *n_bytes, size_t *where);

/* Adds the characters of n ids to a sum. LF_EINDEX as above. */
lf_status lf_decode_measure(const lf_decoder *decoder, const uint32_t *ids, size_t n, lf_decoded *sum, size_t *where);

/* Writes the bytes of the ids, at most n_bytes, and returns how many. For the n_bytes that lf_decode_size found they are
 * all written; ids that changed meanwhile cannot make it write more. */
size_t lf_decode(const lf_decoder *decoder, const uint32_t *ids, size_t n, uint8_t *out, size_t n_bytes);

/* Writes the bytes of the ids as long as there is room for 16 bytes more than they have. *n_done is how many ids are written,
 * *n_bytes how many bytes they have. LF_EINDEX: the next one is no token's. */
lf_status lf_decode_some(const lf_decoder *decoder, const uint32_t *ids, size_t n, uint8_t *out, size_t room,
                         size_t *n_done, size_t *n_bytes);

/* Adds the characters that begin in some bytes to a sum. */
void lf_decode_measure_bytes(const uint8_t *bytes, size_t n, lf_decoded *sum);

/* Writes n bytes as n_characters characters, like lf_decode_text below. 64 bytes behind them have to be readable. */
int lf_decode_bytes_text(lf_utf8_reader *reader, const uint8_t *bytes, size_t n, unsigned width, uint32_t largest,
                         void *out, size_t n_characters);

/* Writes the characters of the ids, `width` bytes each, the largest of the width that `largest` has. Returns 1 if that
 * gave n_characters, and 0 if the bytes are not UTF-8 or not those that were measured; then `out` holds something else, but
 * never more. */
int lf_decode_text(const lf_decoder *decoder, lf_utf8_reader *reader, const uint32_t *ids, size_t n, unsigned width,
                   uint32_t largest, void *out, size_t n_characters);

#endif
