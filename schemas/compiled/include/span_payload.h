/* A span that was read, and its JSON as plain_spans.py has it. */
typedef struct {
    Bytes trace_id, span_id, parent_id, state, name, message;
    uint64_t flags, start, end, dropped, kind, code;
    int statuses;
    char trace[TRACE_DIGITS], id[SPAN_DIGITS], parent[SPAN_DIGITS];
} Span;

static int put_status(Buffer *out, const Span *span) {
    if (put_number(out, ",\"status\":{\"code\":", span->code) < 0) return -1;
    int done = put_text(out, ",\"message\":", span->message);
    return done == 1 ? put_byte(out, '}') : done;
}

/* The JSON of the whole span, its members in the order of plain_spans.py. */
static int put_payload(Buffer *out, const Buffer *attributes, const Span *span) {
    if (put_digits(out, "{\"traceId\":\"", span->trace, TRACE_DIGITS) < 0) return -1;
    if (put_digits(out, ",\"spanId\":\"", span->id, SPAN_DIGITS) < 0) return -1;
    int done = put_text(out, ",\"name\":", span->name);
    if (done != 1) return done;
    if (put_number(out, ",\"kind\":", span->kind) < 0) return -1;
    if (put_number(out, ",\"startTimeUnixNano\":", span->start) < 0) return -1;
    if (put_number(out, ",\"endTimeUnixNano\":", span->end) < 0) return -1;
    if (put_name(out, ",\"attributes\":{") < 0) return -1;
    if (put_bytes(out, attributes->at, attributes->size) < 0 || put_byte(out, '}') < 0) return -1;
    if (size_of(span->parent_id) && put_digits(out, ",\"parentSpanId\":\"", span->parent, SPAN_DIGITS) < 0) return -1;
    if (span->code || size_of(span->message)) done = put_status(out, span);
    if (done != 1) return done;
    if (span->flags && put_number(out, ",\"flags\":", span->flags) < 0) return -1;
    if (size_of(span->state) && (done = put_text(out, ",\"traceState\":", span->state)) != 1) return done;
    if (put_byte(out, '}') < 0) return -1;
    return out->size <= PAYLOAD_MOST;
}
