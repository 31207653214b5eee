"""Waits a little for each request; for /hang long."""

import time


def application(environ, start_response):
    time.sleep(60 if environ["PATH_INFO"] == "/hang" else 0.2)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
