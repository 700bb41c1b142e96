"""A Django application under its own server, asked for a page and for one that raises."""

from __future__ import annotations

import logging
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
import shop
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


class Quiet(WSGIRequestHandler):
    """Does not write what it serves."""

    def log_message(self, *_parts: object) -> None:
        """Nothing."""


def order(_request: HttpRequest, number: int) -> HttpResponse:
    """Asks a database, logs a warning, and gives the visitor a cookie."""
    logging.getLogger("shop.orders").warning("order %d is late", number)
    answer = HttpResponse(str(shop.look_up(number)))
    answer.set_cookie("visitor", "given-by-the-shop")
    return answer


def broken(_request: HttpRequest) -> HttpResponse:
    """Raises."""
    return HttpResponse(str(1 // 0))


urlpatterns = [path("orders/<int:number>", order), path("broken", broken)]


def main() -> None:
    shop.start()
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="django", LOGGING_CONFIG=None)
    django.setup()
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            statuses = [shop.ask(server.server_port, "/orders/41"), shop.ask(server.server_port, "/broken")]
        finally:
            server.shutdown()
            thread.join()
    shop.finish(statuses)


main()
