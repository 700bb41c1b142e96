"""Hostile Sentry events: texts, names, frames and values that cost more than their size suggests."""

from __future__ import annotations

from typing import Final

from ops.bench.abuse.sentry import (
    ALL,
    EMPTY_LISTS,
    ENVELOPE,
    ENVELOPE_TYPE,
    KEY,
    LARGE,
    Part,
    abuse_kinds,
    build_event,
    deep_list,
    list_of,
    member,
    object_of,
    string_of,
)
from ops.bench.abuse.shape import Shape


def _template(unit: bytes, params: bytes = b'{"a":1}') -> Part:
    return member("logentry", lambda s: b'{"message":%b,"params":%b}' % (string_of(unit)(s), params))


def _exceptions(value: Part) -> Part:
    """A chain of exceptions with one text each, as long as is parsed."""

    def make(shape: Shape) -> bytes:
        exception = b'{"type":"E","value":"%b"}' % value(shape)
        return b'{"values":%b}' % list_of(exception)(shape)

    return member("exception", make)


def _frames(frame: Part) -> Part:
    return member("exception", lambda s: b'{"values":[{"type":"E","stacktrace":{"frames":%b}}]}' % list_of(frame(s))(s))


def _many_traces(frame: bytes) -> Part:
    """Exceptions with `width` frames each."""
    return member(
        "exception",
        lambda s: (
            b'{"values":%b}' % list_of(b'{"type":"E","stacktrace":{"frames":[%b]}}' % b",".join([frame] * s.width))(s)
        ),
    )


_FRAME: Final = b'{"filename":"f.js","function":"f","module":"m","lineno":1,"in_app":true}'


_DATED: Final = b"at 10.0.0.1 Mon 3 Jan 2026 id a1b2c3d4e5 0xdeadbeef x@y.zz 550e8400-e29b-41d4-a716-446655440000 "
EVENTS: Final = abuse_kinds(
    ENVELOPE,
    ENVELOPE_TYPE,
    ("event: template of %(, with params", _template(b"%("), LARGE),
    ("event: template of %(a)s", _template(b"%(a)s"), LARGE),
    ("event: template of {a}", _template(b"{a}"), LARGE),
    ("event: template of {a, not closed", _template(b"{" + b"a" * 199), LARGE),
    ("event: template of %, with a list", _template(b"%-+#0", b"[1]"), LARGE),
    ("event: message of addresses and ids", member("message", string_of(_DATED)), LARGE),
    ("event: message of keys", member("message", string_of(KEY + b" ")), LARGE),
    ("event: message of beginnings of keys", member("message", string_of(b"ak_")), LARGE),
    ("event: message of base64 keys", member("message", string_of(b"YWtf" + b"A" * 44 + b" ")), LARGE),
    ("event: message of escapes", member("message", string_of(b"\\u00e9")), LARGE),
    ("event: message of lone surrogates", member("message", string_of(b"\\ud800")), LARGE),
    ("event: message of line ends", member("message", string_of(b"\\n")), LARGE),
    ("event: extra of empty lists and NaN", member("extra", EMPTY_LISTS)),
    ("event: extra of empty lists and NaN, all that fit", member("extra", EMPTY_LISTS), LARGE),
    ("event: extra of names", member("extra", object_of(b"1")), LARGE),
    ("event: extra of deep lists", member("extra", deep_list(b"[", b"]")), Shape(size_bytes=ALL, depth=900)),
    ("event: extra of deep objects", member("extra", deep_list(b'{"a":', b"}")), Shape(size_bytes=ALL, depth=900)),
    ("event: extra of long numbers", member("extra", list_of(b"1" * 400)), LARGE),
    ("event: extra of numbers beyond a double", member("extra", list_of(b"1e999")), LARGE),
    ("event: contexts of names", member("contexts", object_of(b'{"a":1}')), LARGE),
    ("event: contexts of one context", member("contexts", lambda s: b'{"c":%b}' % object_of(b"1")(s)), LARGE),
    ("event: tags of names", member("tags", object_of(b'"v"')), LARGE),
    ("event: tags of pairs", member("tags", list_of(b'["a b","v"]')), LARGE),
    ("event: tags of objects", member("tags", list_of(b'{"key":"a","value":"v"}')), LARGE),
    ("event: user of names", member("user", object_of(b'"v"')), LARGE),
    ("event: user data of names", member("user", lambda s: b'{"data":%b}' % object_of(b"1")(s)), LARGE),
    ("event: modules", member("modules", object_of(b'"1.0"')), LARGE),
    ("event: fingerprint", member("fingerprint", list_of(b'"{{ default }}"')), LARGE),
    ("event: fingerprint of blanks", member("fingerprint", lambda s: b"[%b]" % string_of(b"{{ ")(s)), LARGE),
    ("event: breadcrumbs, empty", member("breadcrumbs", list_of(b"{}")), LARGE),
    (
        "event: breadcrumbs, values",
        member("breadcrumbs", lambda s: b'{"values":%b}' % list_of(b'{"message":"x"}')(s)),
        LARGE,
    ),
    ("event: headers of a request", member("request", lambda s: b'{"headers":%b}' % list_of(b'["a","b"]')(s)), LARGE),
    (
        "event: headers of a request by name",
        member("request", lambda s: b'{"headers":%b}' % object_of(b'"v"')(s)),
        LARGE,
    ),
    (
        "event: query of a request",
        member("request", lambda s: b'{"url":"http://a/","query_string":%b}' % string_of(b"a=b&")(s)),
        LARGE,
    ),
    (
        "event: address of a request",
        member("request", lambda s: b'{"url":%b}' % string_of(b"http://a:b@c/?")(s)),
        LARGE,
    ),
    ("event: exceptions, the least", _exceptions(lambda _: b"x"), LARGE),
    ("event: exceptions of addresses", _exceptions(lambda s: b"a" * s.text + b"@"), Shape(size_bytes=ALL, text=1_990)),
    (
        "event: exceptions of mail addresses",
        _exceptions(lambda s: b"a@b." * (s.text // 4)),
        Shape(size_bytes=ALL, text=1_990),
    ),
    ("event: exceptions of ids", _exceptions(lambda s: b"ab12-" * (s.text // 5)), Shape(size_bytes=ALL, text=1_990)),
    ("event: exceptions of queries", _exceptions(lambda s: b"/?a" * (s.text // 3)), Shape(size_bytes=ALL, text=1_990)),
    ("event: exceptions as bare texts", member("exception", list_of(b'"T: v"')), LARGE),
    ("event: frames, empty", _frames(lambda _: b"{}"), LARGE),
    (
        "event: frames of long names",
        _frames(lambda s: b'{"filename":"%b","function":"%b"}' % (b"0a" * s.text, b"lambda$" * s.text)),
        Shape(size_bytes=ALL, text=500),
    ),
    ("event: frames in many exceptions", _many_traces(_FRAME), Shape(size_bytes=ALL, width=250)),
    ("event: empty frames in many exceptions", _many_traces(b"{}"), Shape(size_bytes=ALL, width=250)),
    (
        "event: function names like generated ones",
        _frames(lambda s: b'{"function":"%b"}' % (b"$$A" * s.text)),
        Shape(size_bytes=ALL, text=20_000),
    ),
    (
        "event: a function name of lambda$",
        _frames(lambda s: b'{"function":"%b"}' % (b"lambda$a" * s.text)),
        Shape(size_bytes=ALL, text=700_000),
    ),
    (
        "event: a function name of Accessor",
        _frames(lambda s: b'{"function":"%b"}' % (b"Accessor" * s.text)),
        Shape(size_bytes=ALL, text=700_000),
    ),
    ("event: threads", member("threads", lambda s: b'{"values":%b}' % list_of(b"{}")(s)), LARGE),
    ("event: debug_meta images", member("debug_meta", lambda s: b'{"images":%b}' % list_of(b"{}")(s)), LARGE),
    ("event: unknown members", build_event(lambda s: object_of(b"1")(s)[1:-1]), LARGE),
    (
        "event: feature flags",
        member("contexts", lambda s: b'{"flags":{"values":%b}}' % list_of(b'{"flag":"f","result":true}')(s)),
        LARGE,
    ),
)
