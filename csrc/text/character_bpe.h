/* character_bpe.h - BPE over characters of a tokenizer.json: Llama 2, Mistral and their like.
 *
 * Such a file is made from a model of sentencepiece's: spaces become U+2581, one may be put before a text, and a character
 * that the vocabulary does not have becomes its bytes, `<0xE4>`. What differs is the rule of merging: a list of pairs in
 * place of scores. The two say the same, once scores are found, and then sentencepiece.h does the rest.
 *
 * Scores. A token always forms from the same last pair, the one that its bytes alone end in (scored_bpe.h has the
 * argument, which does not ask where the order comes from). So the rank of that merge is the token's rank, and a token
 * that its bytes do not end in is in no text. Shorter tokens are looked at first: then the merges inside a token are
 * known when its turn comes.
 *
 * Exactness: ids and places of tokenizers 0.23.3. */
#ifndef LF_TEXT_CHARACTER_BPE_H
#define LF_TEXT_CHARACTER_BPE_H

#include "lf.h"
#include "text/sentencepiece.h"

enum { LF_CHARACTER_BPE_LONGEST = 256 }; /* characters of a token: merging one alone takes the square of that */

/* Where a space is put before a text: FIRST and UNLESS_THERE not before one that begins with a space, FIRST only at the
 * begin of a document. */
typedef enum { LF_PREFIX_NEVER, LF_PREFIX_FIRST, LF_PREFIX_UNLESS_THERE, LF_PREFIX_ALWAYS } lf_prefix;

typedef struct {
    lf_sp *model;
    double *scores;
    uint8_t *kinds;
    lf_prefix prefix;
} lf_character_bpe;

/* Builds a tokenizer. Token i is blob[offsets[i] .. offsets[i + 1]), empty where an id has none, and all 256 bytes are
 * tokens that nothing is merged from; `merges` is n_merges pairs of ids in rank order, of a pair given twice the last one
 * counts. Blob and offsets stay the caller's. LF_EVALUE: token *where is too long or given twice, or there are too many
 * merges, n_ids. */
lf_status lf_character_bpe_new(lf_character_bpe **bpe, const uint8_t *blob, const int64_t *offsets, uint32_t n_ids,
                               const uint32_t *merges, size_t n_merges, lf_prefix prefix, size_t *where);
void lf_character_bpe_free(lf_character_bpe *bpe);

/* Room for the ids of a text of n bytes. */
static inline size_t lf_character_bpe_bound(const lf_character_bpe *bpe, size_t n) {
    return lf_sp_bound(bpe->model, n);
}

/* What one thread needs, with its cache of about cache_bytes. */
typedef struct lf_character_workspace lf_character_workspace;
lf_status lf_character_workspace_new(lf_character_workspace **w, const lf_character_bpe *bpe, size_t cache_bytes);
void lf_character_workspace_free(lf_character_workspace *w);

/* The ids of a text, which begins a document where `first`. `spans`: NULL, or room for twice as many numbers: the bytes
 * [begin, end) that each id comes from. LF_EVALUE: the text is longer than LF_SP_MOST. */
lf_status lf_character_bpe_encode(lf_character_workspace *w, const uint8_t *text, size_t n, int first, uint32_t *ids,
                                  int64_t *spans, size_t *n_ids);

#endif
