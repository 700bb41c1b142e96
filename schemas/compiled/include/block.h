/* A block of records that become columns in ClickHouse's Native format. The file that includes this says what a record
 * is: `take_record`.
 *
 * Every read of input is checked against its end; a function that returns 0 found an odd record, -1 a Python error.
 */
#define COLUMNS_MOST 32
/* What row_id puts before a part of an id: its length. */
#define LENGTH 4
#define PAYLOAD_MOST 1048576
#define TRACE_DIGITS 32
#define SPAN_DIGITS 16

typedef struct {
    Buffer columns[COLUMNS_MOST];
    int width, maps;            /* how many columns there are, and the first of the maps: counts, keys, values of each type */
    Buffer attributes, payload; /* JSON of the record that is read */
    Keys keys, words;           /* of attributes; of a column of a few words */
    uint8_t counts[TYPES];      /* attributes of the record that is read */
    uint8_t hashed[HASHED_MOST]; /* of an id: what all begin with, its size, zeros behind */
    size_t prefix;
    long long earliest, latest, received;
    PyObject *needs_care, *number_of_word, *dumps, *segment_id, *segment_name;
    Py_ssize_t number;          /* of the record that is read, from 1 */
} Block;

/* A record: the bytes of a message, or an object where the file that includes this says so. */
#ifdef RECORDS_ARE_OBJECTS
typedef PyObject *Given;

static int given_of(PyObject *item, Given *out) {
    *out = item;
    return 1;
}
#else
typedef Bytes Given;

static int given_of(PyObject *item, Given *out) {
    char *data;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(item, &data, &size)) return -1;
    *out = (Bytes){(const uint8_t *)data, (const uint8_t *)data + size};
    return 1;
}
#endif

/* Appends one record; 0 if it is odd, then anything may have been appended. */
static int take_record(Block *block, Given in, Py_ssize_t index);

/* How many attributes of each type the record has. */
static int put_counts(Block *block) {
    for (int type = 0; type < TYPES; type++)
        if (put_byte(&block->columns[block->maps + 3 * type], block->counts[type]) < 0) return -1;
    return 1;
}

/* What all ids begin with; -1 with an error set for too much of it, with `more` bytes to come. */
static int begin_hash(uint8_t *hashed, PyObject *given, size_t more, size_t *size) {
    char *prefix;
    Py_ssize_t found;
    if (PyBytes_AsStringAndSize(given, &prefix, &found)) return -1;
    if ((size_t)found > HASHED_MOST - more) {
        PyErr_Format(PyExc_ValueError, "expected a prefix of at most %zu bytes, found %zd", HASHED_MOST - more, found);
        return -1;
    }
    memcpy(hashed, prefix, (size_t)found);
    *size = (size_t)found;
    return 1;
}

/* The first 128 bits of the hash of `hashed`, as ClickHouse writes a UUID: each half from its end. */
static int put_hash(Buffer *column, const uint8_t *hashed, size_t size) {
    uint64_t words[2];
    uint8_t *out = grow(column, 16);
    if (!out) return -1;
    blake2b_128(hashed, size, words);
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)(words[i / 8] >> (56 - 8 * (i % 8)));
    return 1;
}

/* 1 if the record was appended; 0 if it is odd, and nothing of it is left. */
static int read_record(Block *block, Given in, Py_ssize_t index) {
    size_t before[COLUMNS_MOST];
    for (int column = 0; column < block->width; column++) before[column] = block->columns[column].size;
    block->attributes.size = block->payload.size = 0;
    memset(block->counts, 0, sizeof block->counts);
    block->number++;
    block->keys.previous = block->words.previous = 0;
    int done = take_record(block, in, index);
    if (done == 0)
        for (int column = 0; column < block->width; column++) block->columns[column].size = before[column];
    return done;
}

/* Reads all records; the indexes of odd ones go to `odd`. 0 if they are more than `most_odd`. */
static int read_records(Block *block, PyObject *chunks, PyObject *odd, Py_ssize_t most_odd) {
    for (Py_ssize_t index = 0; index < PyList_Size(chunks); index++) {
        Given in;
        if (given_of(PyList_GetItem(chunks, index), &in) < 0) return -1;
        int done = read_record(block, in, index);
        if (done < 0) return -1;
        if (done == 1) continue;
        if (PyList_Size(odd) == most_odd) return 0;
        PyObject *number = PyLong_FromSsize_t(index);
        int failed = !number || PyList_Append(odd, number);
        Py_XDECREF(number);
        if (failed) return -1;
    }
    return 1;
}

static PyObject *columns_of(const Block *block) {
    PyObject *found = PyTuple_New(block->width);
    for (int column = 0; found && column < block->width; column++) {
        const Buffer *from = &block->columns[column];
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)from->at, (Py_ssize_t)from->size);
        if (!bytes || PyTuple_SetItem(found, column, bytes)) Py_CLEAR(found);
    }
    return found;
}

/* (columns, keys, indexes of odd records, words); None if too many are odd. */
static PyObject *block_of(Block *block, PyObject *given, Py_ssize_t most_odd) {
    PyObject *found = NULL, *columns, *odd = PyList_New(0), *chunks = PySequence_List(given);
    int done = odd && chunks ? read_records(block, chunks, odd, most_odd) : -1;
    if (done == 0) {
        found = Py_NewRef(Py_None);
    } else if (done == 1 && (columns = columns_of(block))) {
        found = PyTuple_Pack(4, columns, block->keys.texts, odd, block->words.texts);
        Py_DECREF(columns);
    }
    Py_XDECREF(odd);
    Py_XDECREF(chunks);
    return found;
}

/* NULL with an error set. */
static Block *new_block(int width, int maps) {
    Block *block = PyMem_Calloc(1, sizeof *block);
    if (!block) return (Block *)PyErr_NoMemory();
    block->width = width;
    block->maps = maps;
    block->keys.texts = PyList_New(0);
    block->words.texts = PyList_New(0);
    return block;
}

static void end(Block *block) {
    for (int column = 0; column < block->width; column++) PyMem_Free(block->columns[column].at);
    PyMem_Free(block->attributes.at);
    PyMem_Free(block->payload.at);
    PyMem_Free(block->keys.json.at);
    PyMem_Free(block->words.json.at);
    Py_XDECREF(block->keys.texts);
    Py_XDECREF(block->words.texts);
    PyMem_Free(block);
}
