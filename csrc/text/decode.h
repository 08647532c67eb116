/* decode.h - ids to bytes.
 *
 * One 16-byte slot an id, so that decoding is a load, a store and an addition:
 *
 *     | up to 15 bytes of the token ................ | length |      length 0: no such id
 *     | offset in blob (8) | length (4) |      ...   |   255  |      for a longer token
 *
 * Complexity: linear in the ids and bytes. Memory: 20 bytes an id up to the largest. */
#ifndef LF_TEXT_DECODE_H
#define LF_TEXT_DECODE_H

#include "lf.h"

typedef struct {
    uint8_t (*slots)[16];
    uint32_t *lengths; /* bytes of each id's token, 0 for no such id */
    const uint8_t *blob;
    size_t n_ids; /* one more than the largest id */
} lf_decoder;

/* Token i, blob[offsets[i] .. offsets[i + 1]), has the id ids[i]; of several with one id the last holds. The blob stays
 * the caller's and must outlive the decoder. `n_ids` is one more than the largest id. */
lf_status lf_decoder_new(lf_decoder **decoder, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                         size_t n_tokens, size_t n_ids);
void lf_decoder_free(lf_decoder *decoder);

/* How many bytes the ids decode to. LF_EINDEX: ids[*where] is no token's. */
lf_status lf_decode_size(const lf_decoder *decoder, const uint32_t *ids, size_t n, size_t *n_bytes, size_t *where);

/* Writes the bytes of the ids, at most n_bytes, and returns how many. For the n_bytes that lf_decode_size found they are
 * all written; ids that changed meanwhile cannot make it write more. */
size_t lf_decode(const lf_decoder *decoder, const uint32_t *ids, size_t n, uint8_t *out, size_t n_bytes);

#endif
