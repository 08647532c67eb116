/* split_run.h - all pieces of a text, a batch at a time.
 *
 * A run is begun with lf_split_begin and asked for batches until there is none. Where the instruction set has a vector
 * splitter (split_blocks.h) it finds the pieces; otherwise split.c does, one by one. The pieces are the same. */
#ifndef LF_TEXT_SPLIT_RUN_H
#define LF_TEXT_SPLIT_RUN_H

#include "lf.h"
#include "text/split.h"

enum {
    LF_SPLIT_WINDOW = 16384, /* bytes of text in which the pieces of one batch begin, but for its first */
    LF_SPLIT_BATCH = LF_SPLIT_WINDOW + 128,     /* room for the bounds of a batch: stores are wide */
    LF_SPLIT_BLOCKS = LF_SPLIT_WINDOW / 64 + 2, /* words of the starts of a batch */
    LF_SPLIT_GIANT = 1 << 30,                   /* a longer piece comes alone: bounds have 32 bits */
};

/* The masks of a block of 64 bytes, a bit a byte; every byte of a character has the character's class. Bytes past the end
 * of the text are in none. */
typedef struct {
    uint64_t letter, number, space, newline, blank, apostrophe, slash;
    uint64_t above;              /* bytes outside ASCII                           */
    uint64_t inside;             /* bytes that continue a character               */
    uint64_t upper, lower, mark; /* wanted for o200k: letters of one case, marks  */
    uint64_t odd_number;         /* numbers outside ASCII                         */
    uint64_t odd_space;          /* first bytes of white space outside ASCII      */
} lf_block_masks;

/* What one block leaves to the next, as the lowest bits of the masks of that one. */
typedef struct {
    uint64_t letter, symbol, space, newline, blank, word, lower, both;
    uint64_t prefix;      /* a symbol that begins a piece, which a word may follow                     */
    uint64_t absorbed;    /* a newline that belongs to the symbols before it                           */
    uint64_t open_space;  /* white space that is not absorbed                                          */
    uint64_t number;      /* the whole mask of numbers: groups look back three bytes                   */
    uint64_t groups;      /* where a group of three would end in this block                            */
    uint64_t odd_number;  /* the text ends a run of numbers with some outside ASCII                    */
    uint64_t begin, drop; /* pieces that surely begin, or surely do not, in this block                 */
    uint64_t unsure;      /* the algebra has lost the thread: all of the block is in doubt             */
    size_t contraction;   /* where the last contraction ended                                          */
} lf_block_carry;

typedef struct {
    const lf_unicode *unicode;
    lf_split split;
    int vector; /* whether blocks are in use             */
    const uint8_t *text;
    size_t n;
    uint64_t *starts;            /* NULL, or room for LF_SPLIT_BLOCKS words */
    size_t at;                   /* the next block, or the next piece     */
    size_t last;                 /* where the piece found last begins     */
    size_t doubt_from, doubt_to; /* the piece that split.c was asked for last */
    lf_block_masks ahead;        /* of the block at `at`               */
    lf_block_masks spill;        /* what it gives to the one after it  */
    lf_block_carry carry;
} lf_split_run;

/* A batch: piece i is text[base + bounds[i] .. base + bounds[i + 1]). No pieces and giant > 0: one piece of that length at
 * base. Neither: the text is at its end.
 *
 * Where run->starts is not NULL and some of the batch may be outside ASCII, it may come as n_blocks words of the starts of
 * pieces instead, a bit a byte from text[at] on, and bounds are to be made of them: that of the first piece, if it begins
 * before `at`, and one for each bit. The last one ends the last piece. */
typedef struct {
    size_t base, n_pieces, giant;
    size_t at, n_blocks;
    int beyond_ascii; /* some of it may be outside ASCII */
} lf_split_batch;

typedef lf_split_batch lf_split_fill(lf_split_run *run, uint32_t *bounds);

static inline void lf_split_begin(lf_split_run *run, lf_split split, const lf_unicode *unicode, const uint8_t *text,
                                  size_t n) {
    *run = (lf_split_run){.unicode = unicode, .split = split, .text = text, .n = n, .vector = -1};
    run->doubt_from = (size_t)-1;
    run->carry.contraction = (size_t)-1;
}

/* A batch piece by piece, for what the blocks leave over. */
lf_split_batch lf_split_fill_pieces(lf_split_run *run, uint32_t *bounds);

/* The next batch, by the instruction set of the name. */
lf_split_fill lf_split_fill_generic;
#if defined(__x86_64__)
/* The same with vectors. */
lf_split_fill lf_split_fill_avx2, lf_split_fill_avx512;
#endif

#endif
