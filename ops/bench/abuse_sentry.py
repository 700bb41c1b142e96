"""Abusive Sentry bodies: items, records, names and texts that cost more than they say. Made here, measured elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops.bench.abuse_shape import Kind, Shape, nested, numbered, repeated

ENVELOPE: Final = "sentry.envelope"
STORE: Final = "sentry.store"
ENVELOPE_TYPE: Final = "application/x-sentry-envelope"
JSON: Final = "application/json"
_ID: Final = b"a" * 32
_KEY: Final = b"ak_0123456789abcdef0123456789abcdef"
_NOW_S: Final = b"1795272300"

Part = Callable[[Shape], bytes]


def envelope(*items: bytes) -> bytes:
    """A header line and these items."""
    return b'{"event_id":"%b"}\n' % _ID + b"".join(items)


def item(kind: str, payload: bytes) -> bytes:
    """One item with its length."""
    return b'{"type":"%b","length":%d}\n%b\n' % (kind.encode(), len(payload), payload)


def _of(kind: str, payload: Part) -> Part:
    return lambda shape: envelope(item(kind, payload(shape)))


def _event(members: Part) -> Part:
    """An event with these members."""
    return _of("event", lambda shape: b'{"event_id":"%b",%b}' % (_ID, members(shape)))


def _member(name: str, value: Part) -> Part:
    return _event(lambda shape: b'"%b":%b' % (name.encode(), value(shape)))


def _list(unit: bytes | Part) -> Part:
    return lambda shape: b"[%b]" % repeated(unit(shape) if callable(unit) else unit, shape.size_bytes, b",")


def _object(value: bytes) -> Part:
    """An object of different names with the same value each."""
    return lambda shape: b"{%b}" % numbered(lambda n: b'"k%07d":%b' % (n, value), shape.size_bytes, b",")


def _text(unit: bytes) -> Part:
    return lambda shape: b'"%b"' % repeated(unit, shape.size_bytes)


def _deep(opening: bytes, closing: bytes) -> Part:
    return lambda shape: b"[%b]" % repeated(nested(opening, b"1", closing, shape.depth), shape.size_bytes, b",")


def _template(unit: bytes, params: bytes = b'{"a":1}') -> Part:
    return _member("logentry", lambda s: b'{"message":%b,"params":%b}' % (_text(unit)(s), params))


def _exceptions(value: Part) -> Part:
    """A chain of exceptions with a text each, as many as are read."""

    def make(shape: Shape) -> bytes:
        one = b'{"type":"E","value":"%b"}' % value(shape)
        return b'{"values":%b}' % _list(one)(shape)

    return _member("exception", make)


def _frames(frame: Part) -> Part:
    return _member("exception", lambda s: b'{"values":[{"type":"E","stacktrace":{"frames":%b}}]}' % _list(frame(s))(s))


def _many_traces(frame: bytes) -> Part:
    """Exceptions with `width` frames each."""
    return _member(
        "exception",
        lambda s: (
            b'{"values":%b}' % _list(b'{"type":"E","stacktrace":{"frames":[%b]}}' % b",".join([frame] * s.width))(s)
        ),
    )


def _transaction(spans: Part, members: Part = lambda _: b"") -> Part:
    def payload(shape: Shape) -> bytes:
        return (
            b'{"type":"transaction","transaction":"t","start_timestamp":%b,"timestamp":%b,%b"contexts":{"trace":'
            b'{"trace_id":"%b","span_id":"%b"}},"spans":%b}'
        ) % (_NOW_S, _NOW_S, members(shape), _ID, b"b" * 16, spans(shape))

    return _of("transaction", payload)


_SPAN: Final = b'{"trace_id":"%b","span_id":"%b","start_timestamp":1,"timestamp":2%%b}' % (_ID, b"b" * 16)


def _user(shape: Shape) -> bytes:
    return b'"user":{"id":"%b"},' % (b"u" * shape.text)


def _container(record: Part) -> Part:
    return lambda shape: b'{"version":2,"items":%b}' % _list(record(shape))(shape)


def _attributes(value: Part) -> Part:
    return lambda s: b"{%b}" % b",".join(b'"a%d":{"type":"string","value":%b}' % (n, value(s)) for n in range(s.width))


def _log(value: Part) -> Part:
    return _container(
        lambda s: (
            b'{"timestamp":%b,"trace_id":"%b","level":"info","body":"x","attributes":%b}'
            % (_NOW_S, _ID, _attributes(value)(s))
        )
    )


_LOG_TEMPLATE: Final = (
    b'{"timestamp":1795272300,"trace_id":"%b","level":"info","body":"x","attributes":{"sentry.message.template":'
    b'{"type":"string","value":"%%b"}}}' % _ID
)
_METRIC: Final = b'{"timestamp":1795272300,"trace_id":"%b","name":"m","type":"counter","value":1}' % _ID
_SPAN_V2: Final = (
    b'{"trace_id":"%b","span_id":"%b","name":"s","status":"ok","is_segment":true,"start_timestamp":1795272299,'
    b'"end_timestamp":1795272300,"attributes":%%b}' % (_ID, b"b" * 16)
)


def _items(one: Callable[[int], bytes]) -> Part:
    """As many items as one envelope may have."""
    return lambda shape: envelope(*(one(number) for number in range(min(500, shape.size_bytes // len(one(0)) or 1))))


def _reports(shape: Shape) -> bytes:
    """Client reports of as many reasons as are read, and no reason twice."""

    def report(number: int) -> bytes:
        entry = b'{"reason":"r%d.%d","category":"error","quantity":1}'
        return b'{"discarded_events":[%b]}' % b",".join(entry % (number, n) for n in range(shape.width))

    return _items(lambda number: item("client_report", report(number)))(shape)


def _sessions(aggregate: bytes, attributes: Part = lambda _: b"{}") -> Part:
    return _of("sessions", lambda s: b'{"attrs":%b,"aggregates":%b}' % (attributes(s), _list(aggregate)(s)))


def _strange(payload: Part) -> Part:
    """A NaN at the end: JSON that is read a second time, by a reader that is slower and makes objects."""
    return lambda shape: payload(shape)[:-1] + b",NaN]"


_EMPTY_LISTS: Final = _strange(_list(b"[]"))
_ALL: Final = 5_900_000
_LARGE: Final = Shape(size_bytes=_ALL)
_WIDE: Final = Shape(width=100)
_FRAME: Final = b'{"filename":"f.js","function":"f","module":"m","lineno":1,"in_app":true}'
_DATED: Final = b"at 10.0.0.1 Mon 3 Jan 2026 id a1b2c3d4e5 0xdeadbeef x@y.zz 550e8400-e29b-41d4-a716-446655440000 "


def _kinds(route: str, content_type: str, *made: tuple[str, Part] | tuple[str, Part, Shape]) -> tuple[Kind, ...]:
    return tuple(Kind(one[0], route, content_type, one[1], one[2] if len(one) == 3 else Shape()) for one in made)


EVENTS: Final = _kinds(
    ENVELOPE,
    ENVELOPE_TYPE,
    ("event: template of %(, with params", _template(b"%("), _LARGE),
    ("event: template of %(a)s", _template(b"%(a)s"), _LARGE),
    ("event: template of {a}", _template(b"{a}"), _LARGE),
    ("event: template of {a, not closed", _template(b"{" + b"a" * 199), _LARGE),
    ("event: template of %, with a list", _template(b"%-+#0", b"[1]"), _LARGE),
    ("event: message of addresses and ids", _member("message", _text(_DATED)), _LARGE),
    ("event: message of keys", _member("message", _text(_KEY + b" ")), _LARGE),
    ("event: message of beginnings of keys", _member("message", _text(b"ak_")), _LARGE),
    ("event: message of base64 keys", _member("message", _text(b"YWtf" + b"A" * 44 + b" ")), _LARGE),
    ("event: message of escapes", _member("message", _text(b"\\u00e9")), _LARGE),
    ("event: message of lone surrogates", _member("message", _text(b"\\ud800")), _LARGE),
    ("event: message of line ends", _member("message", _text(b"\\n")), _LARGE),
    ("event: extra of empty lists and NaN", _member("extra", _EMPTY_LISTS)),
    ("event: extra of empty lists and NaN, all that fit", _member("extra", _EMPTY_LISTS), _LARGE),
    ("event: extra of names", _member("extra", _object(b"1")), _LARGE),
    ("event: extra of deep lists", _member("extra", _deep(b"[", b"]")), Shape(size_bytes=_ALL, depth=900)),
    ("event: extra of deep objects", _member("extra", _deep(b'{"a":', b"}")), Shape(size_bytes=_ALL, depth=900)),
    ("event: extra of long numbers", _member("extra", _list(b"1" * 400)), _LARGE),
    ("event: extra of numbers beyond a double", _member("extra", _list(b"1e999")), _LARGE),
    ("event: contexts of names", _member("contexts", _object(b'{"a":1}')), _LARGE),
    ("event: contexts of one context", _member("contexts", lambda s: b'{"c":%b}' % _object(b"1")(s)), _LARGE),
    ("event: tags of names", _member("tags", _object(b'"v"')), _LARGE),
    ("event: tags of pairs", _member("tags", _list(b'["a b","v"]')), _LARGE),
    ("event: tags of objects", _member("tags", _list(b'{"key":"a","value":"v"}')), _LARGE),
    ("event: user of names", _member("user", _object(b'"v"')), _LARGE),
    ("event: user data of names", _member("user", lambda s: b'{"data":%b}' % _object(b"1")(s)), _LARGE),
    ("event: modules", _member("modules", _object(b'"1.0"')), _LARGE),
    ("event: fingerprint", _member("fingerprint", _list(b'"{{ default }}"')), _LARGE),
    ("event: fingerprint of blanks", _member("fingerprint", lambda s: b"[%b]" % _text(b"{{ ")(s)), _LARGE),
    ("event: breadcrumbs, empty", _member("breadcrumbs", _list(b"{}")), _LARGE),
    ("event: breadcrumbs, values", _member("breadcrumbs", lambda s: b'{"values":%b}' % _list(b'{"message":"x"}')(s)), _LARGE),
    ("event: headers of a request", _member("request", lambda s: b'{"headers":%b}' % _list(b'["a","b"]')(s)), _LARGE),
    ("event: headers of a request by name", _member("request", lambda s: b'{"headers":%b}' % _object(b'"v"')(s)), _LARGE),
    ("event: query of a request", _member("request", lambda s: b'{"url":"http://a/","query_string":%b}' % _text(b"a=b&")(s)), _LARGE),
    ("event: address of a request", _member("request", lambda s: b'{"url":%b}' % _text(b"http://a:b@c/?")(s)), _LARGE),
    ("event: exceptions, the least", _exceptions(lambda _: b"x"), _LARGE),
    ("event: exceptions of addresses", _exceptions(lambda s: b"a" * s.text + b"@"), Shape(size_bytes=_ALL, text=1_990)),
    ("event: exceptions of mail addresses", _exceptions(lambda s: b"a@b." * (s.text // 4)), Shape(size_bytes=_ALL, text=1_990)),
    ("event: exceptions of ids", _exceptions(lambda s: b"ab12-" * (s.text // 5)), Shape(size_bytes=_ALL, text=1_990)),
    ("event: exceptions of queries", _exceptions(lambda s: b"/?a" * (s.text // 3)), Shape(size_bytes=_ALL, text=1_990)),
    ("event: exceptions as bare texts", _member("exception", _list(b'"T: v"')), _LARGE),
    ("event: frames, empty", _frames(lambda _: b"{}"), _LARGE),
    ("event: frames of long names", _frames(lambda s: b'{"filename":"%b","function":"%b"}' % (b"0a" * s.text, b"lambda$" * s.text)), Shape(size_bytes=_ALL, text=500)),
    ("event: frames in many exceptions", _many_traces(_FRAME), Shape(size_bytes=_ALL, width=250)),
    ("event: empty frames in many exceptions", _many_traces(b"{}"), Shape(size_bytes=_ALL, width=250)),
    ("event: function names like generated ones", _frames(lambda s: b'{"function":"%b"}' % (b"$$A" * s.text)), Shape(size_bytes=_ALL, text=20_000)),
    ("event: a function name of lambda$", _frames(lambda s: b'{"function":"%b"}' % (b"lambda$a" * s.text)), Shape(size_bytes=_ALL, text=700_000)),
    ("event: a function name of Accessor", _frames(lambda s: b'{"function":"%b"}' % (b"Accessor" * s.text)), Shape(size_bytes=_ALL, text=700_000)),
    ("event: threads", _member("threads", lambda s: b'{"values":%b}' % _list(b"{}")(s)), _LARGE),
    ("event: debug_meta images", _member("debug_meta", lambda s: b'{"images":%b}' % _list(b"{}")(s)), _LARGE),
    ("event: unknown members", _event(lambda s: _object(b"1")(s)[1:-1]), _LARGE),
    ("event: feature flags", _member("contexts", lambda s: b'{"flags":{"values":%b}}' % _list(b'{"flag":"f","result":true}')(s)), _LARGE),
)  # fmt: skip
RECORDS: Final = _kinds(
    ENVELOPE,
    ENVELOPE_TYPE,
    ("transaction: spans, the least", _transaction(_list(_SPAN % b""))),
    ("transaction: spans, invalid", _transaction(_list(b"{}"))),
    ("transaction: spans with a user of 1 kB", _transaction(_list(b"{}"), _user), Shape(size_bytes=140_000, text=1_000)),
    ("transaction: valid spans with a user of 1 kB", _transaction(_list(_SPAN % b""), _user), Shape(size_bytes=_ALL, text=1_000)),
    ("transaction: spans of data", _transaction(lambda s: _list(_SPAN % (b',"data":{%b}' % b",".join(b'"d%d":1' % n for n in range(s.width))))(s)), _WIDE),
    ("transaction: spans of tags", _transaction(lambda s: _list(_SPAN % (b',"tags":{%b}' % b",".join(b'"d%d":"1"' % n for n in range(s.width))))(s)), _WIDE),
    ("transaction: measurements", _transaction(lambda _: b"[]", lambda s: b'"measurements":%b,' % _object(b'{"value":1}')(s)), _LARGE),
    ("spans: v2, the least", _of("span", _container(lambda _: _SPAN_V2 % b"{}"))),
    ("spans: v2, empty", _of("span", _container(lambda _: b"{}"))),
    ("spans: v2, attributes", _of("span", _container(lambda s: _SPAN_V2 % _attributes(lambda _: b'"v"')(s))), _WIDE),
    ("spans: v2, links", _of("span", _container(lambda s: _SPAN_V2[:-2].replace(b'"attributes":%', b'"attributes":{},"links":[%b]}' % b",".join([b"{}"] * s.width)))), _WIDE),
    ("logs: empty", _of("log", _container(lambda _: b"{}"))),
    ("logs: of a wrong kind", _of("log", _container(lambda _: b"0"))),
    ("logs: attributes", _of("log", _log(lambda _: b'"v"')), _WIDE),
    ("logs: attributes of a wrong kind", _of("log", _log(lambda _: b"[[[]]]")), _WIDE),
    ("logs: long attributes", _of("log", _log(lambda s: b'"%b"' % (b"v" * s.text))), Shape(width=2, text=4_000)),
    ("logs: templates of %(", _of("log", _container(lambda s: _LOG_TEMPLATE % (b"%(" * s.text))), Shape(size_bytes=_ALL, text=1_000_000)),
    ("logs: templates of addresses", _of("log", _container(lambda s: _LOG_TEMPLATE % (b"a" * s.text + b"@"))), Shape(size_bytes=_ALL, text=1_990)),
    ("metrics: the least", _of("trace_metric", _container(lambda _: _METRIC))),
    ("metrics: empty", _of("trace_metric", _container(lambda _: b"{}"))),
    ("sessions: aggregates, the least", _sessions(b'{"started":1795272300}')),
    ("sessions: aggregates, all that fit", _sessions(b'{"started":1795272300,"exited":1}'), Shape(size_bytes=3_400_000)),
    ("sessions: aggregates, invalid", _sessions(b"{}")),
    ("sessions: aggregates with large attributes", _sessions(b'{"started":1}', lambda s: b'{"release":"%b","environment":"%b","user_agent":"%b"}' % ((b"r" * s.text,) * 3)), Shape(text=400)),
    ("client reports: a reason each", _reports, Shape(width=500)),
    ("client reports: one entry each", _reports, Shape(width=1)),
    ("items: empty attachments", _items(lambda _: item("attachment", b""))),
    ("items: empty events", _items(lambda _: item("event", b"{}"))),
    ("items: empty transactions", _items(lambda _: item("transaction", b"{}"))),
    ("items: headers alone", _items(lambda _: b'{"type":"session"}\n{}\n')),
    ("items: types that nobody knows", _items(lambda n: item("t%07d" % n, b""))),
    ("items: statsd", _items(lambda _: item("statsd", b"a:1|c\n" * 500)), _LARGE),
    ("items: containers of one log", _items(lambda _: item("log", b'{"items":[{}]}'))),
    ("items: user reports", _items(lambda _: item("user_report", b'{"event_id":"%b","comments":"x"}' % _ID))),
    ("items: check-ins", _items(lambda _: item("check_in", b'{"monitor_slug":"a","status":"ok"}'))),
    ("check-in: a large schedule", _of("check_in", lambda s: b'{"monitor_slug":"a","status":"ok","monitor_config":%b}' % _object(b"1")(s)), _LARGE),
    ("feedback: names in contexts", _of("feedback", lambda s: b'{"contexts":{"feedback":%b}}' % _object(b'"v"')(s)), _LARGE),
    ("attachment: all zeros", _of("attachment", lambda s: bytes(s.size_bytes)), _LARGE),
)  # fmt: skip
STORED: Final = _kinds(
    STORE,
    JSON,
    ("store: empty lists and NaN", lambda s: b'{"message":"x","extra":{"a":%b}}' % _EMPTY_LISTS(s), _LARGE),
    ("store: deep lists and NaN", lambda s: b'{"extra":{"a":%b}}' % _strange(_deep(b"[", b"]"))(s), Shape(size_bytes=_ALL, depth=300)),
    ("store: names and NaN", lambda s: b'{"extra":%b,"a":NaN}' % _object(b"1")(s), _LARGE),
)  # fmt: skip
KINDS: Final = (*EVENTS, *RECORDS, *STORED)
