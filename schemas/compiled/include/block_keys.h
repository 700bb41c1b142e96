/* The keys of a block's attributes: few, so each is looked at once. Maps refer to them by one byte. */
#define KEYS 256
#define SLOTS 1024
/* Keys whose hashes were chosen to be equal must not be compared with each other for ever. */
#define PROBES 16

typedef struct {
    Bytes key;
    uint32_t hash;
    size_t json, json_size; /* its place in `json`: the key, quoted, and a colon */
    Py_ssize_t last_record;   /* the last record that had it, counted from 1 */
    long care;
} Key;

typedef struct {
    Key keys[KEYS];
    uint16_t slots[SLOTS]; /* index + 1 */
    uint16_t next[KEYS + 1]; /* index + 1 of the key that last came behind each; [0]: of a span's first */
    uint16_t previous;
    int count;
    Buffer json;
    PyObject *texts; /* list */
} Keys;

/* What a key says of spans that have it: usual; odd; odd if its text has an @, as an address with a password. */
enum { USUAL, ODD, ODD_WITH_AT };

/* Asks once for each key. -1: a Python error. */
static int new_key(Keys *keys, Key *key, PyObject *needs_care) {
    PyObject *text = PyUnicode_DecodeUTF8((const char *)key->key.at, key->key.end - key->key.at, NULL);
    if (!text) return -1;
    PyObject *answer = PyList_Append(keys->texts, text) ? NULL : PyObject_CallFunctionObjArgs(needs_care, text, NULL);
    Py_DECREF(text);
    key->care = answer ? PyLong_AsLong(answer) : ODD;
    Py_XDECREF(answer);
    return PyErr_Occurred() ? -1 : 1;
}

static int add_key(Keys *keys, Bytes text, uint32_t hash, PyObject *needs_care) {
    if (keys->count == KEYS) return 0;
    Key *key = &keys->keys[keys->count];
    *key = (Key){text, hash, keys->json.size, 0, 0, 0};
    int done = json_text(&keys->json, text);
    if (done == 1) done = put_byte(&keys->json, ':');
    if (done == 1) done = new_key(keys, key, needs_care);
    if (done == 1) key->json_size = keys->json.size - key->json;
    else keys->json.size = key->json;
    if (done == 1) keys->count++;
    return done;
}

static int is_key(const Key *key, Bytes text) {
    return size_of(key->key) == size_of(text) && !memcmp(key->key.at, text.at, size_of(text));
}

/* 1 and its key; 0 for one that is not UTF-8 or one too many. */
static int look_up(Keys *keys, Bytes text, PyObject *needs_care, Key **out) {
    uint32_t hash = 2166136261u;
    for (const uint8_t *at = text.at; at < text.end; at++) hash = (hash ^ *at) * 16777619u;
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        uint16_t *slot = &keys->slots[(hash + probe) % SLOTS];
        if (!*slot) {
            int done = add_key(keys, text, hash, needs_care);
            if (done == 1) *slot = (uint16_t)keys->count;
            *out = done == 1 ? &keys->keys[keys->count - 1] : NULL;
            return done;
        }
        Key *key = &keys->keys[*slot - 1];
        if (key->hash == hash && is_key(key, text)) {
            *out = key;
            return 1;
        }
    }
    return 0;
}

/* The same; spans of one kind have the same keys in the same order, so the one that came last time is tried first. */
static int find_key(Keys *keys, Bytes text, PyObject *needs_care, Key **out) {
    uint16_t guess = keys->next[keys->previous];
    int done = 1;
    if (guess && is_key(&keys->keys[guess - 1], text)) *out = &keys->keys[guess - 1];
    else done = look_up(keys, text, needs_care, out);
    if (done != 1) return done;
    uint16_t place = (uint16_t)(*out - keys->keys + 1);
    keys->next[keys->previous] = place;
    keys->previous = place;
    return 1;
}
