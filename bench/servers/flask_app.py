"""A peer: the service in Flask."""

import time

from flask import Flask, Response

application = Flask(__name__)


@application.get("/hello")
def hello():
    return Response("Hello, world!\n", mimetype="text/plain")


@application.get("/sleep")
def sleep():
    time.sleep(1)
    return Response("Hello, world!\n", mimetype="text/plain")
