/* Strict JSON (RFC 8259), token by token, for _plain_json.c. What is not taken as it stands is left to the caller.
 *
 * Every read of input is checked against its end. 0 stands for "not taken", -1 for a Python error.
 */
typedef struct {
    const uint8_t *at, *end;
    Buffer scratch; /* of a string with escapes: the text that they stand for */
} Text;

static void blanks(Text *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')) in->at++;
}

static int next_is(Text *in, char byte) {
    blanks(in);
    if (in->at == in->end || *in->at != (uint8_t)byte) return 0;
    in->at++;
    return 1;
}

/* The inside of a string, whatever it is; `is_plain` without escapes. */
static int string(Text *in, Bytes *out, int *is_plain) {
    if (!next_is(in, '"')) return 0;
    *is_plain = 1;
    for (out->at = in->at; in->at < in->end; in->at++) {
        in->at = past_plain(in->at, in->end);
        if (in->at == in->end) return 0;
        if (*in->at == '"') {
            out->end = in->at++;
            return 1;
        }
        if (*in->at == '\\') {
            *is_plain = 0;
            if (++in->at == in->end) return 0;
        } else if (*in->at < 0x20) {
            return 0;
        }
    }
    return 0;
}

static int plain_string(Text *in, Bytes *out) {
    int is_plain;
    return string(in, out, &is_plain) && is_plain;
}

static int is_name(Bytes part, const char *name) {
    return size_of(part) == strlen(name) && !memcmp(part.at, name, strlen(name));
}

/* Whether all of it is UTF-8. */
static int is_utf8(Bytes part) {
    while (part.at < part.end) {
        size_t size = *part.at < 0x80 ? 1 : character(part.at, part.end);
        if (!size) return 0;
        part.at += size;
    }
    return 1;
}

/* Four hex digits. */
static int unit(Bytes *in, uint32_t *value) {
    if (in->end - in->at < 4) return 0;
    *value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t byte = *in->at++, low = byte | 0x20;
        int digit = byte >= '0' && byte <= '9' ? byte - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
        if (digit < 0) return 0;
        *value = *value << 4 | (uint32_t)digit;
    }
    return 1;
}

/* A character as UTF-8. */
static int put_character(Buffer *out, uint32_t code) {
    if (code < 0x80) return put_byte(out, (uint8_t)code);
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t heads[] = {0, 0xC0, 0xE0, 0xF0};
    if (put_byte(out, (uint8_t)(heads[more] | code >> 6 * more)) < 0) return -1;
    while (more--)
        if (put_byte(out, (uint8_t)(0x80 | (code >> 6 * more & 0x3F))) < 0) return -1;
    return 1;
}

/* \uXXXX, its digits next: half a pair is not taken. */
static int put_unit(Buffer *out, Bytes *in) {
    uint32_t code, low;
    if (!unit(in, &code) || (code >= 0xDC00 && code <= 0xDFFF)) return 0;
    if (code >= 0xD800 && code < 0xDC00) {
        if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') return 0;
        in->at += 2;
        if (!unit(in, &low) || low < 0xDC00 || low > 0xDFFF) return 0;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return put_character(out, code);
}

/* The text of the inside of a string with escapes. */
static int unescaped(Buffer *out, Bytes in) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    out->size = 0;
    while (in.at < in.end) {
        const uint8_t *start = in.at, *slash = memchr(start, '\\', size_of(in));
        in.at = slash ? slash : in.end;
        if (put_bytes(out, start, (size_t)(in.at - start)) < 0) return -1;
        if (!slash) return 1;
        if (in.end - in.at < 2) return 0;
        uint8_t letter = in.at[1];
        in.at += 2;
        const char *found = letter ? strchr(letters, letter) : NULL;
        int done = letter == 'u' ? put_unit(out, &in) : found ? put_byte(out, (uint8_t)meant[found - letters]) : 0;
        if (done != 1) return done;
    }
    return 1;
}

/* A string as UTF-8: in the input, or in `scratch` until the next one is read. */
static int text(Text *in, Bytes *out) {
    int is_plain, done = 1;
    if (!string(in, out, &is_plain)) return 0;
    if (!is_plain) {
        if ((done = unescaped(&in->scratch, *out)) != 1) return done;
        *out = (Bytes){in->scratch.at, in->scratch.at + in->scratch.size};
    }
    return is_utf8(*out);
}

/* RFC 8259, section 6. */
static int number(Text *in, Bytes *out, int *is_integer) {
    blanks(in);
    const uint8_t *at = out->at = in->at, *end = in->end, *digits;
    if (at < end && *at == '-') at++;
    for (digits = at; at < end && *at >= '0' && *at <= '9'; at++) {}
    if (at == digits || (*digits == '0' && at - digits > 1)) return 0;
    *is_integer = 1;
    if (at < end && *at == '.') {
        *is_integer = 0;
        for (digits = ++at; at < end && *at >= '0' && *at <= '9'; at++) {}
        if (at == digits) return 0;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        *is_integer = 0;
        if (++at < end && (*at == '+' || *at == '-')) at++;
        for (digits = at; at < end && *at >= '0' && *at <= '9'; at++) {}
        if (at == digits) return 0;
    }
    out->end = in->at = at;
    return 1;
}

/* A decimal of up to 19 digits that fits; a sign costs one of them. */
static int decimal(Bytes part, long long *value) {
    size_t size = size_of(part), is_negative = size && *part.at == '-';
    unsigned long long found = 0;
    if (size == is_negative || size > 19) return 0;
    for (size_t i = is_negative; i < size; i++) {
        if (part.at[i] < '0' || part.at[i] > '9') return 0;
        found = found * 10 + (unsigned long long)(part.at[i] - '0');
    }
    if (found > INT64_MAX) return 0;
    *value = is_negative ? -(long long)found : (long long)found;
    return 1;
}

/* A number, or one in quotes. */
static int integer(Text *in, long long least, long long most, long long *value) {
    Bytes part;
    int is_integer = 1;
    blanks(in);
    int is_text = in->at < in->end && *in->at == '"';
    if (!(is_text ? plain_string(in, &part) : number(in, &part, &is_integer)) || !is_integer) return 0;
    return decimal(part, value) && *value >= least && *value <= most;
}

/* Counts and enums are numbers; in quotes they are read elsewhere. */
static int count(Text *in, long long *value) {
    blanks(in);
    return in->at < in->end && *in->at != '"' && integer(in, 0, INT32_MAX, value);
}

static int real(Text *in, double *value) {
    Bytes part;
    int is_integer;
    long long whole;
    char copy[64];
    if (!number(in, &part, &is_integer) || size_of(part) >= sizeof copy) return 0;
    if (is_integer) {
        if (!decimal(part, &whole)) return 0;
        *value = (double)whole;
        return 1;
    }
    memcpy(copy, part.at, size_of(part));
    copy[size_of(part)] = 0;
    *value = PyOS_string_to_double(copy, NULL, NULL);
    if (*value == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) return -1;
        PyErr_Clear(); /* for Python to explain; that memory is short is not */
        return 0;
    }
    return isfinite(*value) != 0;
}

static int boolean(Text *in, int *is_true) {
    blanks(in);
    *is_true = in->end - in->at >= 4 && !memcmp(in->at, "true", 4);
    if (!*is_true && (in->end - in->at < 5 || memcmp(in->at, "false", 5))) return 0;
    in->at += *is_true ? 4 : 5;
    return 1;
}

/* Past any value, by its quotes and brackets alone: whether it is JSON is for the caller's parser to say. */
static int skip(Text *in) {
    Bytes part;
    Py_ssize_t depth = 0;
    int is_plain;
    do {
        blanks(in);
        if (in->at == in->end) return 0;
        if (*in->at == '"') {
            if (!string(in, &part, &is_plain)) return 0;
            continue;
        }
        if (*in->at == '{' || *in->at == '[') depth++;
        else if (*in->at == '}' || *in->at == ']') depth--;
        else if (!depth) {
            while (in->at < in->end && !strchr(",]} \n\t\r", *in->at)) in->at++;
            return 1;
        }
        in->at++;
    } while (depth > 0);
    return depth == 0;
}
