/* double_array.h - a read-only trie with one load and one compare a byte.
 *
 * All nodes lie in one array of 8-byte units. The children of a node lie where its base says, each at base ^ byte, and a
 * unit bears the byte it is reached by. No two nodes with children share a base, so a unit with the right byte is the
 * right child:
 *
 *     unit = base (28 bits) | byte (8) | value (28)
 *
 * Units that are free bear a byte that no base in use reaches them by. Nodes without children have base 0, whose units
 * are all free. A walk therefore never leaves the array, whatever the text.
 *
 * Memory: 8 bytes a unit, a few units in a hundred free. Building is linear but for the search of a place, which looks
 * at a fixed number of blocks of 256 units. */
#ifndef LF_TEXT_DOUBLE_ARRAY_H
#define LF_TEXT_DOUBLE_ARRAY_H

#include "lf.h"
#include "text/trie.h"

#define LF_UNIT_NONE ((1u << 28) - 1) /* the value of a node where no string ends */

typedef struct {
    uint64_t *units;
    uint64_t root; /* the unit of the root, which is nobody's child */
    size_t n_units;
} lf_double_array;

/* The same strings and values as a trie, whose values must be below LF_UNIT_NONE. */
lf_status lf_double_array_new(lf_double_array *array, const lf_trie *trie);
void lf_double_array_free(lf_double_array *array);

static inline uint32_t lf_unit_value(uint64_t unit) { return (uint32_t)unit & LF_UNIT_NONE; }

/* Goes from a node to its child by a byte; 0, and the node stays, where it has none. */
static inline int lf_unit_step(const lf_double_array *array, uint64_t *node, uint8_t byte) {
    const uint64_t child = array->units[(*node >> 36) ^ byte];
    if ((uint8_t)(child >> 28) != byte) return 0;
    *node = child;
    return 1;
}

/* The value of a whole string, LF_UNIT_NONE if it is not there. */
static inline uint32_t lf_double_array_find(const lf_double_array *array, const uint8_t *string, size_t n) {
    uint64_t node = array->root;
    for (size_t i = 0; i < n; i++)
        if (!lf_unit_step(array, &node, string[i])) return LF_UNIT_NONE;
    return lf_unit_value(node);
}

#endif
