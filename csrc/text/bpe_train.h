/* bpe_train.h - learning the merges of byte-pair encoding from counted words.
 *
 * Definition. Every word is a row of symbols. The pair of neighbours that occurs most often becomes a new symbol wherever it
 * stands, from the left, and so on. Of pairs that occur equally often the rule of `ties` picks one. (Overlaps count: a a a
 * has the pair a a twice.)
 *
 * The corpus. All words lie in one array of slots, one slot an initial symbol, and never move:
 *
 *     | SEP | t h e | SEP | _ t h e | SEP |       and after the merges t h, th e:
 *     | SEP | X . X | SEP | _ X . X | SEP |       the first and the last slot of a symbol hold its id
 *
 * A symbol's length is known from its id, so both neighbours of a pair are one load away, and position p still has the pair
 * (A, B) if and only if slot[p] = A, the last slot of that A is A, and the slot after it is B: ids are never written again
 * once the symbol is merged. Words are sorted by count, so that equal counts are runs of slots.
 *
 * The pairs. A pair is born with all the places it will ever have, and its count can only fall afterwards. So a pair that is
 * born below a floor can be forgotten, as long as the best of the others is not below it; when none is left, the floor is
 * lowered and the slots are read anew. The queue is a heap of upper bounds, put right as they come to its top.
 *
 * Where a pair makes a symbol that there is already, its spans would have two lengths. Then all slots are written anew, one for
 * each symbol, and all pairs are counted anew; this happens with affixes only, and seldom.
 *
 * A merge adds up its effects by neighbour in two dense arrays, so that pairs are looked up once a neighbour instead of once
 * an occurrence.
 *
 * Complexity: n log n in the slots at worst, for each occurrence replaced halves at least the room its symbols took; in
 * practice linear in the replacements. Memory: 2 bytes a slot (4 past 65,534 ids), 4 for a place of a pair that is
 * kept, 36 a pair. Exactness: counts are 64 bits wide. Source of the ideas: fixed coordinates from the BPE engine in the
 * repository of tokenizers; the floor and the dense sums are this file's. */
#ifndef LF_TEXT_BPE_TRAIN_H
#define LF_TEXT_BPE_TRAIN_H

#include "lf.h"
#include "text/piece_rules.h"

/* Which of two equally frequent pairs is merged first. */
typedef enum {
    LF_TIES_IDS,    /* the lower pair of ids: tokenizers, rustbpe                                        */
    LF_TIES_FIRST,  /* the one that stands first in the words in their order: minbpe, tiktoken._educational */
    LF_TIES_LEXMAX, /* the greater pair of byte strings: subword-nmt                                     */
    LF_TIES_PIECES, /* the one that makes the shorter piece in characters, then the lesser string: sentencepiece */
} lf_ties;

typedef struct {
    lf_ties ties;
    uint64_t min_count; /* pairs below it are not merged; at least 1                                                */
    uint32_t
        max_length;    /* symbols that a merge of a symbol made by merging may have in initial symbols; 0: any number */
    uint32_t first_id; /* what a merge makes is numbered from here on                                              */
    uint32_t n_ids;    /* ends when all ids below are given                                                        */
    /* Strings that have ids below first_id: string i, strings[string_at[i] .. string_at[i + 1]), has string_ids[i]. The first
     * n_symbols are the initial symbols; a merge that makes one of the others makes its id, and no new one is given. */
    const uint8_t *strings;
    const int64_t *string_at;
    const uint32_t *string_ids;
    size_t n_strings, n_symbols;
    /* Where the second symbol of a pair begins with this string of bytes, the string that the pair makes lacks it. */
    const uint8_t *prefix;
    size_t n_prefix;
    /* Symbols may have strings that others make, as is possible with affixes: the pair makes that symbol again. */
    int repeats;
    /* With pieces.max_characters only what these rules allow is merged; symbol i, a character, has flags[i] and scripts[i]. */
    lf_piece_rules pieces;
    const uint8_t *flags, *scripts;
    /* Keeps all pairs that there ever were, for lf_bpe_trainer_born. */
    int keeps;
    /* Merges to begin with, as pairs of ids, whether they occur or not. */
    const uint32_t *seeds;
    size_t n_seeds;
} lf_bpe_rules;

/* Word i is blob[offsets[i] .. offsets[i + 1]) and occurs counts[i] > 0 times. It is of bytes, symbols[b] being the id of byte
 * b, or where symbols is NULL, of uint32_t ids. */
typedef struct {
    const void *blob;
    const int64_t *offsets, *counts;
    size_t n_words;
    const uint32_t *symbols;
} lf_bpe_words;

/* Instead of an id: what has it is left out of the words, and its neighbours become neighbours; or it keeps them apart. */
#define LF_NOT_A_SYMBOL 0xFFFFFFFFu
#define LF_A_BREAK 0xFFFFFFFEu

typedef struct lf_bpe_trainer lf_bpe_trainer;

/* A trainer for words. All that is given here may be freed afterwards.
 * LF_EVALUE: counts[*where] is below 1, or all counts times their lengths reach 2^63 (*where = n_words), or the words have
 * 2^32 - 2 slots or more (*where = n_words + 1). LF_EINDEX: an id in a word is no initial symbol's, or the id of a string or
 * first_id is out of range (*where = 0), or seed *where - 1 names an id that is no symbol yet, or has no id left for what it
 * makes. */
lf_status lf_bpe_trainer_new(lf_bpe_trainer **trainer, const lf_bpe_rules *rules, const lf_bpe_words *words,
                             size_t *where);
void lf_bpe_trainer_free(lf_bpe_trainer *trainer);

/* Makes merges until there are n_merges in all, or no more to be made; *n_done is how many there are. After LF_ENOMEM the
 * trainer can only be asked for the merges made before, and freed. */
lf_status lf_bpe_trainer_run(lf_bpe_trainer *trainer, size_t n_merges, size_t *n_done);

/* One merge: the ids of the pair, the id it makes, and how often it occurred. */
typedef struct {
    uint32_t left, right, id;
    int64_t count;
} lf_bpe_merge;

/* All merges so far. They stay the trainer's and move as it goes on. */
const lf_bpe_merge *lf_bpe_trainer_merges(const lf_bpe_trainer *trainer, size_t *n_merges);

/* With rules.keeps: every pair that ever occurred and may be merged, as left (32) | right (32), in the order of their births. */
const uint64_t *lf_bpe_trainer_born(const lf_bpe_trainer *trainer, size_t *n_pairs);

/* The string of an id that has one, n bytes. */
const uint8_t *lf_bpe_trainer_token(const lf_bpe_trainer *trainer, uint32_t id, size_t *n);

/* How many tokens there are, symbols and what merges made, and how many bytes they have. */
size_t lf_bpe_trainer_vocab_size(const lf_bpe_trainer *trainer, size_t *n_bytes);

/* Writes them by rising id: token i, whose id is ids[i], is blob[offsets[i] .. offsets[i + 1]). */
void lf_bpe_trainer_vocab(const lf_bpe_trainer *trainer, uint8_t *blob, int64_t *offsets, uint32_t *ids);

#endif
