/* batch.h - many texts in parts for several threads, and where the ids of each part go.
 *
 *     texts   | part 0 | part 1 | part 2 | part 3 | ...   taken in this order by whoever is free
 *     ids     | part 0 | part 1 |                         a part's place is known when all before it are done
 *
 * Small texts are taken several at a time; a large one is cut where the ids on one side do not depend on the other. A part
 * that is next in line is encoded into its place, any other into a buffer, from which it is copied when those before it
 * are done. So no thread waits for another, and beside the ids only a few buffers of a part's size are touched.
 *
 * The texts lie in memory, or they are the documents of files: then a part brings the bytes that its texts lie in, the
 * caller reads into them, and what was read behind the last whole document is handed on to the next part.
 *
 * Where a text may be cut: before a letter that stands after a line feed, with GPT-2's pattern one that stands after anything
 * but white space. Each pattern ends a piece there, whatever else is before or after, and so does the end of a text; NFC
 * leaves both sides alone. But an added token might lie across, so no text is cut where any is looked for, and none that is
 * not split into pieces.
 *
 * Threads: this file knows none. The caller lets one at a time take, finish or give back parts, and encodes and copies them
 * in as many as it likes. Memory: a part has room for the ids of its text; there are about two more parts than threads,
 * and more only while a text that cannot be cut keeps a thread busy. Time: linear. Exactness: ids and order of one text
 * after another. */
#ifndef LF_TEXT_BATCH_H
#define LF_TEXT_BATCH_H

#include "lf.h"
#include "text/encode.h"

enum {
    LF_BATCH_PART = 1 << 17, /* characters, or bytes, of a part, if texts can be cut so */
    LF_BATCH_READ = 1 << 17, /* the same of files */
};

/* UTF-8, or the characters of a Python str that are still to be transcoded (width > 0). */
typedef struct {
    const void *data;
    size_t n;
    unsigned width;
} lf_text_view;

typedef struct lf_part {
    size_t number;             /* in the order of the texts */
    size_t first, n_texts;     /* its texts; the first and the last may be slices */
    size_t from;               /* where its slice begins in the first text */
    const lf_text_view *views; /* one for each text */
    int64_t *counts;           /* gets the number of ids of each */
    uint32_t *ids;             /* where they are to be written: in their place, or in the buffer; NULL to count */
    size_t n_ids, at;          /* how many there are, and where their place is once it is known */
    uint32_t *ahead;           /* room for later ids whose pages are to be made; NULL: none */
    size_t n_ahead;
    struct lf_part *next;
    /* Files: bytes that were read; where the document that has not ended begins, where a mark is looked for next, and from
     * where on it may be cut. */
    uint8_t *bytes;
    size_t n_bytes, bytes_room, start, searched, cut_from;
    /* Owned. */
    uint32_t *buffer;
    size_t room;
    lf_text_view *own_views; /* for slices and documents of files */
    int64_t *own_counts;
    size_t own_room;
} lf_part;

typedef struct {
    const lf_text *text;
    const lf_text_view *views; /* NULL for files */
    size_t n_texts;
    int cut;                  /* texts may be cut */
    size_t next, from;        /* the first text that is not wholly taken, and where the rest of it begins */
    size_t n_taken, n_placed; /* parts */
    uint32_t *ids;            /* of all texts; NULL where they are only counted */
    size_t room;              /* for ids */
    int in_place;             /* there is room for whatever an encoder writes */
    int64_t *counts;          /* of each text */
    size_t n_ids;             /* of all parts whose place is known */
    size_t n_paged;           /* room whose pages somebody has been told to make */
    lf_part **parts, *idle;   /* those taken, by number; those not in use */
    size_t n_slots;
    /* Files. */
    const uint8_t *mark; /* what separates documents */
    size_t n_mark;       /* 0: a file is a document */
    size_t n_bytes;      /* of all files, at most */
    uint8_t *rest;       /* what has been read and not taken */
    size_t n_rest, rest_room;
    size_t n_documents; /* that have ended in the file so far */
    size_t counts_room;
} lf_batch;

/* Begins a batch that only counts. The views and what they show stay the caller's; `allowed` is that of lf_text_encode;
 * `counts` has a zero for each text. */
void lf_batch_begin(lf_batch *b, const lf_text *text, const lf_text_view *views, size_t n_texts, lf_allowed allowed,
                    int64_t *counts);
void lf_batch_end(lf_batch *b);

/* Has the ids written too. Where there is less than lf_batch_room of room all parts go through buffers, and what has none
 * is not written. */
void lf_batch_into(lf_batch *b, uint32_t *ids, size_t room);

/* Room for all ids of the views. */
size_t lf_batch_room(const lf_text *text, const lf_text_view *views, size_t n_texts);

/* The next part, NULL where there is none. */
lf_status lf_batch_take(lf_batch *b, lf_part **part);

/* Takes note that part->n_ids ids, counts[i] of text i, have been written. Returns a list of parts whose place is known
 * now; `next` links them. */
lf_part *lf_batch_done(lf_batch *b, lf_part *part);

/* Copies the ids of such a list to their places. Has pages made before they are needed, too: threads that write side by side
 * come to a large page at the same time, and each would have the system clear one. */
void lf_batch_copy(const lf_batch *b, const lf_part *list);

/* Takes back a list of parts. */
void lf_batch_give(lf_batch *b, lf_part *list);

/* A batch of the documents of files that have at most n_bytes bytes in all. Its counts are its own. */
void lf_batch_begin_files(lf_batch *b, const lf_text *text, const uint8_t *mark, size_t n_mark, size_t n_bytes,
                          lf_allowed allowed);

/* In place of lf_batch_take: a part, to which the caller appends bytes of a file - part->bytes[n_bytes .. bytes_room), never
 * without room, at most LF_BATCH_READ at a time, for the room stays large after a document that could not be cut - and has
 * lf_batch_find look at them each time; lf_batch_read_end gives it its number. NULL: no memory. */
lf_part *lf_batch_read_begin(lf_batch *b);

/* Adds the documents, or the slice of one, that the bytes read so far hold; at_end: they are the last of their file, and the next
 * come from another. part->n_texts tells how many there are. */
lf_status lf_batch_find(lf_batch *b, lf_part *part, int at_end);

/* Keeps what belongs to the next part. A part without texts is to be given back. */
lf_status lf_batch_read_end(lf_batch *b, lf_part *part);

/* The last place in (from, at] where a view may be cut; if there is none the first behind it, and the end if there is none
 * either. */
size_t lf_batch_cut(const lf_text *text, const lf_text_view *view, size_t from, size_t at);

#endif
