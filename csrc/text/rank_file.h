/* rank_file.h - the lines of a .tiktoken file: a token in base64, one space, its rank in decimal.
 *
 * Complexity: linear, about 1 ns a byte. */
#ifndef LF_TEXT_RANK_FILE_H
#define LF_TEXT_RANK_FILE_H

#include "lf.h"

/* Reads n bytes of text that ends without a line end. Token i becomes blob[offsets[i] .. offsets[i + 1]) with the rank
 * ids[i]; hashes[i] is the same for equal tokens. There is room for as many tokens as the text has lines (offsets: one
 * more), and in `blob` for n bytes. LF_EVALUE for a line that is not right: another character or space, base64 that is not
 * padded or has bits left over, a rank of more than 9 digits. *n_tokens is how many lines were right. */
lf_status lf_rank_file_read(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                            uint64_t *hashes, size_t *n_tokens);

/* Whether two of n hashes may be equal: 1 if two are, hardly ever if none are. `slots` are more than n zeros, as many as a
 * power of two. */
int lf_rank_file_repeats(const uint64_t *hashes, size_t n, uint32_t *slots, size_t n_slots);

#endif
