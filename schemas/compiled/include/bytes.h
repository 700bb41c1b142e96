/* Some bytes of the input; none at all where `at` is NULL. */
#ifndef AXONPUSH_BYTES
#define AXONPUSH_BYTES
typedef struct { const uint8_t *at, *end; } Bytes;

/* Types of an attribute's value. */
enum { STRINGS, INTEGERS, DOUBLES, BOOLEANS, TYPES };

static size_t size_of(Bytes part) { return part.at ? (size_t)(part.end - part.at) : 0; }
#endif
