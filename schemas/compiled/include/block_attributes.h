/* What spans and logs in protobuf share: their attributes, as columns of a block and as JSON of the payload. */
/* A double as orjson writes it. */
static int put_double(Block *block, double value) {
    PyObject *number = PyFloat_FromDouble(value);
    PyObject *text = number ? PyObject_CallFunctionObjArgs(block->dumps, number, NULL) : NULL;
    char *at;
    Py_ssize_t size;
    int done = text && !PyBytes_AsStringAndSize(text, &at, &size) ? put_bytes(&block->attributes, at, (size_t)size) : -1;
    Py_XDECREF(text);
    Py_XDECREF(number);
    return done;
}

static int put_value(Block *block, const Attribute *found) {
    Buffer *values = &block->columns[block->maps + 3 * found->type + 2], *json = &block->attributes;
    double real;
    switch (found->type) {
    case STRINGS:
        if (put_string(values, found->content.at, size_of(found->content)) < 0) return -1;
        return json_text(json, found->content);
    case INTEGERS: {
        int is_negative = found->number >> 63 != 0;
        if (put_fixed(values, found->number, 8) < 0) return -1;
        return put_decimal(json, is_negative ? 0 - found->number : found->number, is_negative);
    }
    case DOUBLES:
        memcpy(&real, &found->number, 8);
        return put_fixed(values, found->number, 8) < 0 ? -1 : put_double(block, real);
    default:
        return put_byte(values, found->number != 0) < 0 ? -1 : put_name(json, found->number ? "true" : "false");
    }
}

static int has_at(const Attribute *found) {
    return found->type == STRINGS && size_of(found->content) && memchr(found->content.at, '@', size_of(found->content));
}

/* One attribute into its map and into the JSON. */
static int take_attribute(Block *block, Bytes in) {
    Attribute found = {0};
    Key *key;
    int done = attribute(in, &found);
    if (done == 1) done = find_key(&block->keys, found.key, block->needs_care, &key);
    if (done != 1) return done;
    if (key->care != USUAL && (key->care != ODD_WITH_AT || has_at(&found))) return 0;
    if (key->last_record == block->number || block->counts[found.type] == UINT8_MAX) return 0;
    key->last_record = block->number;
    block->counts[found.type]++;
    if (block->attributes.size && put_byte(&block->attributes, ',') < 0) return -1;
    if (put_bytes(&block->attributes, block->keys.json.at + key->json, key->json_size) < 0) return -1;
    if (put_byte(&block->columns[block->maps + 3 * found.type + 1], (uint8_t)(key - block->keys.keys)) < 0) return -1;
    return put_value(block, &found);
}

/* `"name":123` */
static int put_number(Buffer *out, const char *name, uint64_t value) {
    return put_name(out, name) < 0 ? -1 : put_decimal(out, value, 0);
}

/* `"name":"text"` */
static int put_text(Buffer *out, const char *name, Bytes text) {
    return put_name(out, name) < 0 ? -1 : json_text(out, text);
}

/* `"name":"0af7"` */
static int put_digits(Buffer *out, const char *name, const char *digits, size_t size) {
    if (put_name(out, name) < 0 || put_bytes(out, digits, size) < 0) return -1;
    return put_byte(out, '"');
}

static int is_zero(Bytes id) {
    for (; id.at < id.end; id.at++)
        if (*id.at) return 0;
    return 1;
}
