/* aligned.h - a text on its way through normalizers, and where in the input each of its bytes comes from.
 *
 * Whether places are kept is said once, at the begin. All bytes of a character have the same place. */
#ifndef LF_TEXT_ALIGNED_H
#define LF_TEXT_ALIGNED_H

#include <stdlib.h>
#include <string.h>

#include "lf.h"
#include "text/pages.h"

/* The bytes [begin, end) of the input, which has less than 2^32. */
typedef struct {
    uint32_t begin, end;
} lf_place;

typedef struct {
    uint8_t *bytes;
    lf_place *places; /* one a byte; only where `traced` */
    size_t n, room, places_room;
    int traced;
} lf_aligned;

enum { LF_ALIGNED_PAD = 80 }; /* bytes behind the text that may be read */

/* Room for n more bytes. Returns 0 if there is no memory. */
static inline int lf_aligned_reserve(lf_aligned *text, size_t n) {
    const size_t room = text->n + n + LF_ALIGNED_PAD, places_room = (text->n + n) * sizeof *text->places;
    if (LF_UNLIKELY(room > text->room)) {
        if (!lf_grow(&text->bytes, &text->room, room)) return 0;
        lf_pages_advise(text->bytes, text->room);
    }
    if (text->traced && LF_UNLIKELY(places_room > text->places_room)) {
        if (!lf_grow(&text->places, &text->places_room, places_room)) return 0;
        lf_pages_advise(text->places, text->places_room);
    }
    return 1;
}

/* Bytes that there is room for, all from one place. */
static inline void lf_aligned_put(lf_aligned *text, const uint8_t *p, size_t n, lf_place place) {
    memcpy(text->bytes + text->n, p, n);
    if (text->traced)
        for (size_t i = 0; i < n; i++) text->places[text->n + i] = place;
    text->n += n;
}

/* Bytes [begin, end) of another text that there is room for, with their places. */
static inline void lf_aligned_copy(lf_aligned *text, const lf_aligned *from, size_t begin, size_t end) {
    if (begin == end) return; /* there may be no memory at all */
    memcpy(text->bytes + text->n, from->bytes + begin, end - begin);
    if (text->traced) memcpy(text->places + text->n, from->places + begin, (end - begin) * sizeof *text->places);
    text->n += end - begin;
}

/* The place of a byte; where places are not kept, any. */
static inline lf_place lf_aligned_place(const lf_aligned *text, size_t at) {
    return text->traced ? text->places[at] : (lf_place){0, 0};
}

static inline void lf_aligned_free(lf_aligned *text) {
    free(text->bytes), free(text->places);
    memset(text, 0, sizeof *text);
}

#endif
