/* Bytes that grow. All return 1, or -1 with a Python error. */
#include "bytes.h"
typedef struct { uint8_t *at; size_t size, room; } Buffer;

/* Where to write `more` bytes, which count as written; NULL with an error set. */
static uint8_t *grow(Buffer *out, size_t more) {
    if (out->room - out->size < more) {
        size_t room = out->room * 2 > out->size + more ? out->room * 2 : out->size + more + 256;
        uint8_t *at = PyMem_Realloc(out->at, room);
        if (!at) {
            PyErr_NoMemory();
            return NULL;
        }
        out->at = at;
        out->room = room;
    }
    out->size += more;
    return out->at + out->size - more;
}

static int put_bytes(Buffer *out, const void *from, size_t size) {
    if (!size) return 1; /* an empty buffer has no place to write nothing to */
    uint8_t *at = grow(out, size);
    if (!at) return -1;
    memcpy(at, from, size);
    return 1;
}

static int put_byte(Buffer *out, uint8_t byte) { return put_bytes(out, &byte, 1); }

/* Little endian on every machine. */
static int put_fixed(Buffer *out, uint64_t value, int size) {
    uint8_t *at = grow(out, (size_t)size);
    if (!at) return -1;
    for (int i = 0; i < size; i++, value >>= 8) at[i] = (uint8_t)value;
    return 1;
}

/* A String of ClickHouse: its length as a varint, and its bytes. */
static int put_string(Buffer *out, const void *from, size_t size) {
    uint8_t head[10];
    size_t length = 0, rest = size;
    for (; rest > 0x7F; rest >>= 7) head[length++] = (uint8_t)(rest | 0x80);
    head[length++] = (uint8_t)rest;
    return put_bytes(out, head, length) < 0 ? -1 : put_bytes(out, from, size);
}

/* The bytes of one character of more than one byte (Unicode, table 3-7); 0 if it is not UTF-8. */
static size_t character(const uint8_t *at, const uint8_t *end) {
    uint8_t first = *at;
    size_t size = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (!size || (size_t)(end - at) < size) return 0;
    uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < least || at[1] > most) return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80) return 0;
    return size;
}

/* Past characters that stand in JSON as they are, eight at once where that many are left. */
static const uint8_t *past_plain(const uint8_t *at, const uint8_t *end) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    for (uint64_t x; end - at >= 8; at += 8) {
        memcpy(&x, at, 8);
        uint64_t quote = x ^ (ones * '"'), slash = x ^ (ones * '\\');
        uint64_t found = x | ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        if (found & tops) break;
    }
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') at++;
    return at;
}
