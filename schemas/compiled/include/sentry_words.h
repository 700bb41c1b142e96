/* Texts of parsed JSON, and the words of Sentry's spans: kinds and statuses. */
enum { KINDS = 6 };
static const char *const kind_names[KINDS][2] = {
    {"", ""}, {"INTERNAL", "internal"}, {"SERVER", "server"}, {"CLIENT", "client"}, {"PRODUCER", "producer"},
    {"CONSUMER", "consumer"},
};
/* Sentry's words for a status, and which of transaction_blocks.CODES each is. All but the plain ones are the message. */
enum { UNSET, OK, FAILED };
static const struct { const char *word; uint8_t code, is_plain; } statuses[] = {
    {"", UNSET, 1}, {"ok", OK, 1}, {"error", FAILED, 1}, {"cancelled", UNSET, 0}, {"unknown", UNSET, 0},
    {"internal_error", FAILED, 0}, {"not_found", FAILED, 0}, {"invalid_argument", FAILED, 0}, {"deadline_exceeded", FAILED, 0},
    {"already_exists", FAILED, 0}, {"permission_denied", FAILED, 0}, {"resource_exhausted", FAILED, 0},
    {"failed_precondition", FAILED, 0}, {"aborted", FAILED, 0}, {"out_of_range", FAILED, 0}, {"unimplemented", FAILED, 0},
    {"unavailable", FAILED, 0}, {"data_loss", FAILED, 0}, {"unauthenticated", FAILED, 0},
};
enum { STATUSES = sizeof statuses / sizeof *statuses };

/* A text; 0 for anything else, and for halves of surrogate pairs. */
static int text_of(PyObject *value, Bytes *out) {
    Py_ssize_t size;
    if (!PyUnicode_CheckExact(value)) return 0;
    const char *at = PyUnicode_AsUTF8AndSize(value, &size);
    if (at) {
        *out = (Bytes){(const uint8_t *)at, (const uint8_t *)at + size};
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeError)) return -1;
    PyErr_Clear();
    return 0;
}

static int is_text(Bytes text, const char *word) {
    return size_of(text) == strlen(word) && !memcmp(text.at, word, strlen(word));
}

static int kind_of(Bytes text) {
    for (int kind = 1; kind < KINDS; kind++)
        if (is_text(text, kind_names[kind][0]) || is_text(text, kind_names[kind][1])) return kind;
    return 0;
}
