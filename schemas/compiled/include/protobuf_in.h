#include "bytes.h"
/* The protobuf wire format, as exporters write it. Every read is checked against its end; 0 stands for "odd". */
static int varint(Bytes *in, uint64_t *value) {
    uint64_t found = 0;
    for (int shift = 0; shift < 70 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        if (shift < 64) found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) { *value = found; return 1; }
    }
    return 0;
}

/* A number of 32 bits as every exporter writes it; a negative enum takes ten bytes and is odd. */
static int small(Bytes *in, uint64_t *value) { return varint(in, value) && *value <= INT32_MAX; }

/* A length in as few bytes as it takes: what other parsers make of padded ones differs. */
static int part(Bytes *in, Bytes *out) {
    const uint8_t *start = in->at;
    uint64_t size;
    if (!varint(in, &size) || size > (uint64_t)(in->end - in->at)) return 0;
    if (in->at - start > 1 && !in->at[-1]) return 0;
    out->at = in->at;
    out->end = in->at += size;
    return 1;
}

/* A field that may be there once; of several the last one counts, but the first has to be text, too. */
static int once(Bytes *in, Bytes *out) { return !out->at && part(in, out); }

static int fixed(Bytes *in, int size, uint64_t *value) {
    if (in->end - in->at < size) return 0;
    *value = 0;
    for (int i = size - 1; i >= 0; i--) *value = *value << 8 | in->at[i];
    in->at += size;
    return 1;
}

/* A KeyValue: its key, the type of its value, and the value: text in `content`, anything else as 64 bits. */
typedef struct { Bytes key, content; uint64_t number; int type; } Attribute;

/* KeyValue: 1 key, 2 value; AnyValue: 1 string, 2 bool, 3 int, 4 double. In this order, nothing else, each once. A long
 * key is as odd as it is to the Python, which counts what is odd. */
static int attribute(Bytes in, Attribute *out) {
    Bytes value;
    double real;
    if (in.at == in.end || *in.at++ != 0x0A || !part(&in, &out->key)) return 0;
    if (in.at == in.end || *in.at++ != 0x12 || !part(&in, &value) || in.at != in.end) return 0;
    if (value.at == value.end || out->key.end - out->key.at > 0x7F) return 0;
    uint8_t tag = *value.at++;
    if (tag == 0x0A) {
        if (!part(&value, &out->content)) return 0;
        out->type = STRINGS;
    } else if (tag == 0x18) {
        if (!varint(&value, &out->number)) return 0;
        out->type = INTEGERS;
    } else if (tag == 0x21) {
        if (!fixed(&value, 8, &out->number)) return 0;
        memcpy(&real, &out->number, 8);
        if (!isfinite(real)) return 0;
        out->type = DOUBLES;
    } else if (tag == 0x10) {
        if (value.end - value.at != 1 || !varint(&value, &out->number)) return 0;
        out->type = BOOLEANS;
    } else {
        return 0;
    }
    return value.at == value.end;
}
