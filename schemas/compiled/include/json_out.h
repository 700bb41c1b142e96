/* JSON as orjson writes it. All return 1, or -1 with a Python error; json_text also 0. */
static int put_name(Buffer *out, const char *name) { return put_bytes(out, name, strlen(name)); }

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
