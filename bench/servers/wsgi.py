"""A peer: the service as a plain WSGI application."""

import time


def application(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "14")])
    return [b"Hello, world!\n"]
