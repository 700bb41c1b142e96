"""The look for keys that is compiled, beside the searches of Python: it may never miss what they would mask."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.compiled import readers as compiled
from schemas.key_masking import _FORMS, mask_keys, mask_keys_in
from tests.fuzz.twins import Twins

NEEDLES = [needle for needle, _ in _FORMS]
# Every byte of every needle, a neighbour or two, and zero.
ALPHABET = sorted({bytes([byte]) for needle in NEEDLES for byte in needle} | {b"x", b"-"})

MayHoldKey = Callable[[bytes], bool]


@pytest.fixture(scope="module")
def may_hold_key(built: Twins | str) -> MayHoldKey:
    """Built from the source as it is; skips where there is no compiler, and only there."""
    if isinstance(built, str):
        pytest.skip(built)
    assert built.may_hold_key is not None
    return built.may_hold_key


def found_in_python(data: bytes) -> bool:
    return any(needle in data for needle in NEEDLES)


def test_every_text_of_four_such_bytes(may_hold_key: MayHoldKey) -> None:
    """All of them: what comes first, last and twice is seen as Python sees it."""
    for letters in product(ALPHABET, repeat=4):
        data = b"".join(letters)
        assert may_hold_key(data) == found_in_python(data), data


def test_many_texts_of_any_length(may_hold_key: MayHoldKey) -> None:
    """Of the same bytes, so that a needle is in about every third."""
    rest = random.Random(1)
    verdicts = set()
    for _ in range(50_000):
        data = b"".join(rest.choices(ALPHABET, k=rest.randint(0, 12)))
        verdicts.add(may_hold_key(data))
        assert may_hold_key(data) == found_in_python(data), data
    assert verdicts == {True, False}


@given(st.binary(max_size=200), st.sampled_from(NEEDLES), st.binary(max_size=200))
def test_a_needle_is_found_wherever_it_stands(
    may_hold_key: MayHoldKey, before: bytes, needle: bytes, after: bytes
) -> None:
    """And any other bytes are judged as Python judges them."""
    assert may_hold_key(before + needle + after)
    assert may_hold_key(before + after) == found_in_python(before + after)


@pytest.mark.parametrize("wrong", [None, "text", 7, memoryview(b"ak_"), bytearray(b"ak_")])
def test_anything_but_bytes_is_a_type_error(may_hold_key: MayHoldKey, wrong: object) -> None:
    """No pointer is made of what has none."""
    with pytest.raises(TypeError):
        may_hold_key(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_what_is_masked_does_not_depend_on_it(
    may_hold_key: MayHoldKey, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain, in UTF-16 and as base64; and what only begins like a key stays as it is."""
    monkeypatch.setattr(compiled, "may_hold_key", may_hold_key if is_compiled else None)
    key = b"ak_" + b"a1B2" * 8
    assert mask_keys(b"x " + key) == b"x ak_" + b"*" * 32
    assert b"1" not in mask_keys(key.decode().encode("utf-16-le"))
    assert mask_keys(b"Basic YWtf" + b"Q" * 44) == b"Basic YWtf" + b"*" * 44
    assert mask_keys(b"pt_core_news and break_point") == b"pt_core_news and break_point"


def test_a_setting_leaves_it_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiled readers goes the compiled look."""
    for name in ("messages", "text", "may_hold_key"):
        monkeypatch.setattr(compiled, name, found_in_python)
    compiled.leave_out()
    assert compiled.may_hold_key is None
    assert not compiled.in_use()


def test_headers_and_answers_are_masked_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the receiver masks, Python masks: compiled code reads nobody's bytes in the process by the receiver."""

    def refuse(_data: bytes) -> bool:
        raise AssertionError

    monkeypatch.setattr(compiled, "may_hold_key", refuse)
    assert mask_keys_in("x ak_" + "a1B2" * 8) == "x ak_" + "*" * 32
    assert mask_keys_in("nothing") == "nothing"
