/* Bytes that grow: ClickHouse's Native format and JSON. All return 1, or -1 with a Python error; json_text also 0. */
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
    uint8_t *at = grow(out, size);
    if (!at) return -1;
    if (size) memcpy(at, from, size);
    return 1;
}

static int put_byte(Buffer *out, uint8_t byte) { return put_bytes(out, &byte, 1); }

static int put_name(Buffer *out, const char *name) { return put_bytes(out, name, strlen(name)); }

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

static int put_decimal(Buffer *out, uint64_t value, int is_negative) {
    char digits[21];
    int at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    if (is_negative) digits[--at] = '-';
    return put_bytes(out, digits + at, sizeof digits - (size_t)at);
}

/* Two digits for each byte. */
static void hex(Bytes id, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (; id.at < id.end; id.at++) {
        *out++ = digits[*id.at >> 4];
        *out++ = digits[*id.at & 15];
    }
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

/* One character that JSON does not take as it is, as orjson writes it. */
static int put_escaped(Buffer *out, uint8_t byte) {
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = byte ? strchr(names, byte) : NULL;
    char text[7] = {'\\', 'u', '0', '0', (char)('0' + (byte >> 4)), "0123456789abcdef"[byte & 15], 0};
    if (found) {
        text[1] = letters[found - names];
        text[2] = 0;
    }
    return put_name(out, text);
}

/* A string of JSON with its quotes; 0 for what is not UTF-8. */
static int json_text(Buffer *out, Bytes in) {
    if (put_byte(out, '"') < 0) return -1;
    while (in.at < in.end) {
        const uint8_t *start = in.at;
        for (in.at = past_plain(in.at, in.end); in.at < in.end && *in.at >= 0x80; in.at = past_plain(in.at, in.end)) {
            size_t size = character(in.at, in.end);
            if (!size) return 0;
            in.at += size;
        }
        if (put_bytes(out, start, (size_t)(in.at - start)) < 0) return -1;
        if (in.at < in.end && put_escaped(out, *in.at++) < 0) return -1;
    }
    return put_byte(out, '"');
}
