/* steps.h - the normalizers of a tokenizer.json one after another, each on the whole text, with places.
 *
 * Exactness: tokenizers 0.23.3, with places. Time: linear for each step. Memory: of the order of the text. */
#ifndef LF_TEXT_STEPS_H
#define LF_TEXT_STEPS_H

#include "lf.h"
#include "text/aligned.h"
#include "text/automaton.h"
#include "text/normalize.h"
#include "text/precompiled.h"
#include "text/rewrite.h"

typedef enum {
    LF_STEP_PRECOMPILED, /* `from` is the map of characters                            */
    LF_STEP_REPLACE,     /* each `from`, which is not empty, becomes `to`              */
    LF_STEP_SPACES,      /* two spaces or more become `to`                             */
    LF_STEP_STRIP,       /* white space goes: option 1 at the left, 2 at the right end */
    LF_STEP_PREPEND,     /* `to` goes before a text that is not empty                  */
    LF_STEP_REWRITE,     /* option: an lf_rewriting                                    */
    LF_STEP_FORM,        /* option: an lf_form                                         */
    LF_STEP_PATTERN,     /* each match of the automaton becomes `to`                   */
    LF_N_STEPS
} lf_step_kind;

typedef struct {
    lf_step_kind kind;
    int option;
    const uint8_t *from, *to; /* UTF-8 */
    size_t n_from, n_to;
    lf_precompiled *precompiled;
    lf_automaton automaton;
    uint8_t *plain;  /* of LF_STEP_REWRITE, a bit for each character below U+10000 that stays as it is ... */
    int ascii_stays; /* ... and whether all of ASCII does */
} lf_step;

/* Checks a step and makes its tables, which lf_step_free gives back, with the automaton, which is made. The strings stay the
 * caller's. LF_EVALUE: it is not as said above. */
lf_status lf_step_init(lf_step *step);
void lf_step_free(lf_step *step);

/* The characters that a step makes of each one, at most; of each byte where `of_bytes`. lf_step_added: and besides. */
size_t lf_step_growth(const lf_step *step, int of_bytes);
size_t lf_step_added(const lf_step *step);

/* The whole text, which replaces what `out` holds. LF_EVALUE: it is not UTF-8, which only LF_STEP_PRECOMPILED looks for. */
lf_status lf_step_apply(const lf_step *step, const lf_aligned *text, lf_aligned *out, lf_changes *changes);

/* Whether the step puts something in the place of several characters at the beginning of a text: it comes from the last of them. */
int lf_step_moves_the_start(const lf_step *step, const lf_aligned *text);

/* A text with U+FFFD for each byte that is part of no character, each character from its own place. */
lf_status lf_aligned_begin(lf_aligned *out, const uint8_t *text, size_t n);

#endif
