/* charsmap.c - reading and checking a map of characters; see charsmap.h. */
#include "text/charsmap.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

enum { LEAF = 256, FAR = 512, ON_PATH = 0xFFFF };
#define MARK 0x80000000u
#define NOBODY 0xFFFFFFFFu

/* Children by base: the units that bear the byte by which they are reached from it are a list. */
typedef struct {
    uint32_t *first, *next;
} family;

static size_t base_of(const lf_charsmap *m, size_t at) {
    return at ^ (size_t)(m->units[at] >> 10) << ((m->units[at] & FAR) >> 6);
}

static const uint8_t *string_of(const lf_charsmap *m, size_t at) {
    return m->strings + (m->units[base_of(m, at)] & ~MARK);
}

/* The first unit from which a walk could leave the array or the strings, n_units if there is none. */
static size_t first_wrong(const lf_charsmap *m) {
    if (m->units[0] & (MARK | LEAF | 0xFF) || base_of(m, 0) == 0) return 0;
    for (size_t i = 0; i < m->n_units; i++) {
        if (m->units[i] & MARK) {
            if ((m->units[i] & ~MARK) >= m->n_strings) return i;
        } else {
            if ((base_of(m, i) | 0xFF) >= m->n_units) return i;
            if (m->units[i] & LEAF && !(m->units[base_of(m, i)] & MARK)) return i;
        }
    }
    return m->n_units;
}

static void family_of(family *f, const lf_charsmap *m) {
    memset(f->first, 0xFF, m->n_units * sizeof *f->first);
    for (size_t i = m->n_units; i-- > 0;) {
        if (m->units[i] & MARK) continue;
        const size_t base = i ^ (m->units[i] & 0xFF);
        f->next[i] = f->first[base];
        f->first[base] = (uint32_t)i;
    }
}

/* A walk along all paths, each unit entered once: `height` is the longest way down from it, itself included. Returns a
 * unit where a path grows too long or into itself, n_units if there is none. */
typedef struct {
    uint32_t at, next, height;
} step;

static size_t first_deep(const lf_charsmap *m, const family *f, uint16_t *heights, step *path) {
    size_t depth = 1;
    heights[0] = ON_PATH;
    path[0] = (step){0, f->first[base_of(m, 0)], 1};
    while (depth) {
        step *top = &path[depth - 1];
        if (top->next == NOBODY) {
            heights[top->at] = (uint16_t)top->height;
            if (--depth && path[depth - 1].height <= top->height) path[depth - 1].height = top->height + 1;
            continue;
        }
        const uint32_t child = top->next, height = heights[child];
        top->next = f->next[child];
        if (height == ON_PATH || depth + height > LF_CHARSMAP_LONGEST) return child;
        if (height == 0) {
            heights[child] = ON_PATH;
            path[depth++] = (step){child, f->first[base_of(m, child)], 1};
        } else if (top->height <= height) top->height = height + 1;
    }
    return m->n_units;
}

static int is_utf8(const uint8_t *p, size_t n) {
    uint32_t c = 0;
    for (size_t i = 0; i < n && c != LF_NO_CHARACTER;) i += lf_utf8_read(p + i, p + n, &c);
    return c != LF_NO_CHARACTER;
}

/* No fewer than the characters that sentencepiece sees, which goes by first bytes. */
static size_t count(const uint8_t *p, size_t n) {
    size_t n_characters = n > 0;
    for (size_t i = 1; i < n; i++) n_characters += !lf_utf8_continues(p[i]) || !is_utf8(p, n);
    return n_characters;
}

/* Notes what rules and replacements there are, level by level: a unit is met first on the shortest way to it. Returns a
 * unit whose replacement is too long, n_units if there is none. */
static size_t take_notes(lf_charsmap *m, const family *f, uint16_t *seen, uint32_t *queue) {
    size_t n_queue = 0;
    queue[n_queue++] = 0;
    m->well_formed = 1;
    size_t depth = 0, level_ends = 1;
    for (size_t i = 0; i < n_queue; i++) {
        if (i == level_ends) depth++, level_ends = n_queue;
        const size_t at = queue[i];
        if (m->units[at] & LEAF) {
            const uint8_t *to = string_of(m, at);
            const size_t n = strlen((const char *)to);
            if (n > LF_CHARSMAP_MOST) return at;
            const size_t characters = count(to, n);
            if ((n + depth - 1) / depth > m->growth) m->growth = (n + depth - 1) / depth;
            if ((characters + depth - 1) / depth > m->characters) m->characters = (characters + depth - 1) / depth;
            m->well_formed &= is_utf8(to, n);
        }
        for (uint32_t c = f->first[base_of(m, at)]; c != NOBODY; c = f->next[c]) {
            const uint8_t byte = (uint8_t)m->units[c];
            if (at) m->inside[byte] = 1;
            else m->begins[byte] = 1, m->longer[byte] = f->first[base_of(m, c)] != NOBODY;
            if (!seen[c]) seen[c] = 1, queue[n_queue++] = c;
        }
    }
    return m->n_units;
}

static lf_status check(lf_charsmap *m, size_t *where) {
    *where = first_wrong(m);
    if (*where < m->n_units) return LF_EVALUE;
    family f = {malloc(m->n_units * sizeof *f.first), malloc(m->n_units * sizeof *f.next)};
    uint16_t *marks = calloc(m->n_units, sizeof *marks);
    uint32_t *queue = malloc(m->n_units * sizeof *queue);
    step *path = malloc((LF_CHARSMAP_LONGEST + 1) * sizeof *path);
    lf_status status = f.first && f.next && marks && queue && path ? LF_OK : LF_ENOMEM;
    if (status == LF_OK) {
        family_of(&f, m);
        *where = first_deep(m, &f, marks, path);
        if (*where == m->n_units) {
            memset(marks, 0, m->n_units * sizeof *marks);
            *where = take_notes(m, &f, marks, queue);
        }
        if (*where < m->n_units) status = LF_EVALUE;
    }
    free(f.first), free(f.next), free(marks), free(queue), free(path);
    return status;
}

lf_status lf_charsmap_new(lf_charsmap **map, const uint8_t *blob, size_t n, size_t *where) {
    *map = NULL;
    *where = 0;
    if (n <= 4) return LF_EVALUE;
    const size_t size = blob[0] | (size_t)blob[1] << 8 | (size_t)blob[2] << 16 | (size_t)blob[3] << 24;
    if (size >= n - 4 || size < 1024 || size % 1024) return LF_EVALUE;
    *where = n - 1;
    if (blob[n - 1] != 0) return LF_EVALUE;
    lf_charsmap *m = calloc(1, sizeof *m);
    if (!m) return LF_ENOMEM;
    m->n_units = size / 4, m->n_strings = n - 4 - size;
    m->units = malloc(size), m->strings = malloc(m->n_strings);
    if (!m->units || !m->strings) return lf_charsmap_free(m), LF_ENOMEM;
    for (size_t i = 0; i < m->n_units; i++) {
        const uint8_t *u = blob + 4 + 4 * i;
        m->units[i] = u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
    }
    memcpy(m->strings, blob + 4 + size, m->n_strings);
    const lf_status status = check(m, where);
    if (status != LF_OK) {
        *where = 4 + 4 * *where;
        return lf_charsmap_free(m), status;
    }
    *map = m;
    return LF_OK;
}

void lf_charsmap_free(lf_charsmap *map) {
    if (!map) return;
    free(map->units), free(map->strings);
    free(map);
}
