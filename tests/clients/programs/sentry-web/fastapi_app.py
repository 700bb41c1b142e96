"""A FastAPI application under uvicorn, asked for a page and for one that raises."""

from __future__ import annotations

import logging
import socket
import threading

import shop
import uvicorn
from fastapi import FastAPI, Response

app = FastAPI()


@app.get("/orders/{number}")
def order(number: int, response: Response) -> dict[str, int]:
    """Asks a database, logs a warning, and gives the visitor a cookie."""
    logging.getLogger("shop.orders").warning("order %d is late", number)
    response.set_cookie("visitor", "given-by-the-shop")
    return {"found": shop.look_up(number)}


@app.get("/broken")
def broken() -> int:
    """Raises."""
    return 1 // 0


def main() -> None:
    shop.start()
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        port = listening.getsockname()[1]
        statuses = [shop.ask(port, "/orders/41"), shop.ask(port, "/broken")]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
    shop.finish(statuses)


main()
