/* Strict JSON (RFC 8259), token by token, for _plain_json.c. What is not taken as it stands is left to the caller.
 *
 * Every read of input is checked against its end. 0, or NULL without an error set, stand for "not taken"; -1, or NULL
 * with one, for a Python error.
 */
#define KEYS 512

typedef struct {
    const char *at, *end;
    PyObject *loads;        /* reads strings with escapes */
    PyObject *keys[KEYS];   /* attribute keys are few: each an object of its own would be hashed anew for every span */
} Text;
typedef struct { const char *at; Py_ssize_t size; } Part;

static PyObject *empty_text;

static void blanks(Text *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r')) in->at++;
}

static int next_is(Text *in, char byte) {
    blanks(in);
    if (in->at == in->end || *in->at != byte) return 0;
    in->at++;
    return 1;
}

/* The inside of a string; `is_plain` without escapes. */
static int string(Text *in, Part *out, int *is_plain) {
    if (!next_is(in, '"')) return 0;
    *is_plain = 1;
    for (out->at = in->at; in->at < in->end; in->at++) {
        if (*in->at == '"') {
            out->size = in->at++ - out->at;
            return 1;
        }
        if (*in->at == '\\') {
            *is_plain = 0;
            if (++in->at == in->end) return 0;
        } else if ((unsigned char)*in->at < 0x20) {
            return 0;
        }
    }
    return 0;
}

static int plain_string(Text *in, Part *out) {
    int is_plain;
    return string(in, out, &is_plain) && is_plain;
}

static int is_name(Part part, const char *name) {
    return (size_t)part.size == strlen(name) && !memcmp(part.at, name, part.size);
}

/* Text that is none is for Python to explain; that memory is short is not. */
static void forgive(void) {
    if (PyErr_ExceptionMatches(PyExc_ValueError)) PyErr_Clear();
}

/* What NULL stands for: 0 not taken, -1 a Python error. */
static int refused(void) { return PyErr_Occurred() ? -1 : 0; }

/* A string with its quotes to the caller's parser. No format strings: what `#` means in them depends on the Python. */
static PyObject *unescaped(Text *in, Part part) {
    PyObject *quoted = PyBytes_FromStringAndSize(part.at - 1, part.size + 2);
    PyObject *found = quoted ? PyObject_CallFunctionObjArgs(in->loads, quoted, NULL) : NULL;
    Py_XDECREF(quoted);
    if (!found) forgive();
    return found;
}

/* NULL without an error where the other parser refuses the text, too. */
static PyObject *text(Text *in) {
    Part part;
    int is_plain;
    if (!string(in, &part, &is_plain)) return NULL;
    if (!part.size) return Py_NewRef(empty_text);
    if (!is_plain) return unescaped(in, part);
    PyObject *found = PyUnicode_DecodeUTF8(part.at, part.size, NULL);
    if (!found) forgive();
    return found;
}

/* A borrowed reference. */
static PyObject *key_text(Text *in) {
    const char *start = in->at;
    Part part;
    uint32_t hash = 2166136261u;
    if (!plain_string(in, &part)) {
        in->at = start;
        return NULL;
    }
    for (Py_ssize_t i = 0; i < part.size; i++) hash = (hash ^ (unsigned char)part.at[i]) * 16777619u;
    PyObject **slot = &in->keys[hash % KEYS];
    if (*slot) {
        Py_ssize_t size;
        const char *known = PyUnicode_AsUTF8AndSize(*slot, &size);
        if (!known) return NULL;
        if (size == part.size && !memcmp(known, part.at, size)) return *slot;
        Py_CLEAR(*slot);
    }
    if (!(*slot = PyUnicode_DecodeUTF8(part.at, part.size, NULL))) forgive();
    return *slot;
}

/* RFC 8259, section 6. */
static int number(Text *in, Part *out, int *is_integer) {
    blanks(in);
    const char *at = out->at = in->at, *end = in->end, *digits;
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
    out->size = at - out->at;
    in->at = at;
    return 1;
}

/* A decimal of up to 19 digits that fits; a sign costs one of them. */
static int decimal(Part part, long long *value) {
    int is_negative = part.size && *part.at == '-';
    unsigned long long found = 0;
    if (part.size == is_negative || part.size > 19) return 0;
    for (Py_ssize_t i = is_negative; i < part.size; i++) {
        if (part.at[i] < '0' || part.at[i] > '9') return 0;
        found = found * 10 + (unsigned long long)(part.at[i] - '0');
    }
    if (found > INT64_MAX) return 0;
    *value = is_negative ? -(long long)found : (long long)found;
    return 1;
}

/* A number, or one in quotes. */
static int integer(Text *in, long long least, long long most, long long *value) {
    Part part;
    int is_integer = 1;
    blanks(in);
    int is_text = in->at < in->end && *in->at == '"';
    if (!(is_text ? plain_string(in, &part) : number(in, &part, &is_integer)) || !is_integer) return 0;
    return decimal(part, value) && *value >= least && *value <= most;
}

static PyObject *integer_value(Text *in, long long least, long long most) {
    long long value;
    return integer(in, least, most, &value) ? PyLong_FromLongLong(value) : NULL;
}

/* Counts and enums are numbers; in quotes they are read elsewhere. */
static PyObject *small(Text *in) {
    blanks(in);
    return in->at < in->end && *in->at != '"' ? integer_value(in, 0, INT32_MAX) : NULL;
}

static PyObject *real(Text *in) {
    Part part;
    int is_integer;
    long long whole;
    char copy[64];
    if (!number(in, &part, &is_integer) || part.size >= (Py_ssize_t)sizeof copy) return NULL;
    if (is_integer) return decimal(part, &whole) ? PyFloat_FromDouble((double)whole) : NULL;
    memcpy(copy, part.at, part.size);
    copy[part.size] = 0;
    double value = PyOS_string_to_double(copy, NULL, NULL);
    if (value == -1 && PyErr_Occurred()) {
        forgive();
        return NULL;
    }
    return isfinite(value) ? PyFloat_FromDouble(value) : NULL;
}

static PyObject *boolean(Text *in) {
    blanks(in);
    int is_true = in->end - in->at >= 4 && !memcmp(in->at, "true", 4);
    if (!is_true && (in->end - in->at < 5 || memcmp(in->at, "false", 5))) return NULL;
    in->at += is_true ? 4 : 5;
    return PyBool_FromLong(is_true);
}

/* Past any value, by its quotes and brackets alone: whether it is JSON is for the caller's parser to say. */
static int skip(Text *in) {
    Part part;
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
