/* Times in Sentry payloads, as workers/normalise/timestamps.py reads them: seconds as a number, or ISO 8601 in UTC. All
 * return 1 and nanoseconds since 1970, or 0 for what is left to the Python.
 */
/* The year 2255: nanoseconds of it fit into 64 bits. */
#define LAST_SECOND 9000000000

static int digits(const uint8_t *at, int count, int64_t *out) {
    for (*out = 0; count; count--, at++) {
        if (*at < '0' || *at > '9') return 0;
        *out = *out * 10 + (*at - '0');
    }
    return 1;
}

/* Days since 1970 of a day of the Gregorian calendar; -1 if there is no such day. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    static const int length[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1970 || year > 2250 || month < 1 || month > 12 || day < 1) return -1;
    int is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > length[month - 1] + (is_leap && month == 2)) return -1;
    int64_t past = year - 1;
    int64_t leaps = past / 4 - past / 100 + past / 400 - 477; /* 477 before 1970 */
    return (year - 1970) * 365 + leaps + before[month - 1] + (is_leap && month > 2) + day - 1;
}

/* 2026-11-21T14:46:05Z, with no, three or six digits of a fraction. */
static int iso_time(Bytes text, int64_t *out) {
    int64_t year, month, day, hour, minute, second, fraction = 0;
    const uint8_t *at = text.at;
    size_t size = size_of(text);
    if ((size != 20 && size != 24 && size != 27) || at[size - 1] != 'Z') return 0;
    if (at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':') return 0;
    if (!digits(at, 4, &year) || !digits(at + 5, 2, &month) || !digits(at + 8, 2, &day)) return 0;
    if (!digits(at + 11, 2, &hour) || !digits(at + 14, 2, &minute) || !digits(at + 17, 2, &second)) return 0;
    if (size > 20 && (at[19] != '.' || !digits(at + 20, (int)size - 21, &fraction))) return 0;
    int64_t days = days_of(year, month, day);
    if (days < 0 || hour > 23 || minute > 59 || second > 59) return 0;
    int64_t nanos = fraction * (size == 24 ? 1000000 : 1000);
    *out = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000000000 + nanos;
    return 1;
}

/* Doubles are kept to microseconds. -1: a Python error. */
static int time_of(PyObject *value, int64_t *out) {
    if (PyFloat_CheckExact(value)) {
        double seconds = PyFloat_AsDouble(value);
        if (!(seconds >= 0 && seconds < LAST_SECOND)) return 0;
        *out = (int64_t)rint(seconds * 1000000) * 1000;
        return 1;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long seconds = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow || seconds < 0 || seconds >= LAST_SECOND) return 0;
        *out = seconds * 1000000000;
        return 1;
    }
    Bytes text;
    int done = text_of(value, &text);
    return done == 1 ? iso_time(text, out) : done;
}
