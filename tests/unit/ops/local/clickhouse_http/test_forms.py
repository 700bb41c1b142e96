"""Multipart bodies: their memory and their time have bounds."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession, FormData, web
from aiohttp.test_utils import TestServer

from ops.local.clickhouse_http.errors import ServerError
from ops.local.clickhouse_http.forms import Forms
from ops.local.clickhouse_http.request import Call


async def _exchange(forms: Forms, body: FormData | bytes, headers: dict[str, str] | None = None) -> tuple[int, int]:
    """The error's code (0: none) and the bytes still held after the request released its own."""

    async def handle(request: web.Request) -> web.Response:
        held = forms.open()
        try:
            await held.read(request, Call())
        except ServerError as error:
            return web.Response(text=str(error.code))
        finally:
            held.release()
        return web.Response(text="0")

    app = web.Application()
    app.router.add_post("/", handle)
    async with TestServer(app) as server, ClientSession() as client:
        answer = await client.post(server.make_url("/"), data=body, headers=headers)
        return int(await answer.text()), forms.held_bytes


def _serve(forms: Forms, body: FormData | bytes, headers: dict[str, str] | None = None) -> tuple[int, int]:
    return asyncio.run(_exchange(forms, body, headers))


def _form(size: int) -> FormData:
    form = FormData({"t_structure": "a String"})
    form.add_field("t", b"x" * size, filename="t")
    return form


def test_a_form_is_counted_and_given_back() -> None:
    """Nothing is held when its request is over."""
    assert _serve(Forms(), _form(100_000)) == (0, 0)


def test_a_form_that_is_too_long_is_refused() -> None:
    """229, which is a 413."""
    assert _serve(Forms(max_bytes=50_000), _form(100_000)) == (229, 0)


def test_forms_of_others_leave_no_room() -> None:
    """202: it may be tried again."""
    forms = Forms(max_bytes=150_000)
    other = forms.open()
    other.take(100_000)
    assert _serve(forms, _form(100_000)) == (202, 100_000)
    other.release()
    other.release()
    assert _serve(forms, _form(100_000)) == (0, 0)


def test_many_empty_parts_are_not_free() -> None:
    """Each costs memory for its name."""
    part = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert _serve(Forms(max_bytes=50_000), part * 100 + b"--b--\r\n", headers)[0] == 229


async def _send_half(forms: Forms, sent: bytes) -> tuple[int, int]:
    seen: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def handle(request: web.Request) -> web.Response:
        held = forms.open()
        with pytest.raises(ServerError) as raised:
            await held.read(request, Call())
        held.release()
        seen.put_nowait((raised.value.code, forms.held_bytes))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handle)
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n")
        writer.write(b"Content-Length: 260000000\r\n\r\n" + sent)
        found = await seen.get()
        writer.close()
        return found


@pytest.mark.parametrize("sent", [b"", b"--b\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\nxx"])
@pytest.mark.asyncio
async def test_a_form_that_stops_coming_is_refused(sent: bytes) -> None:
    """209, and its memory is free again."""
    assert await _send_half(Forms(first_s=0.05), sent) == (209, 0)
