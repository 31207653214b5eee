"""The shop as most are: Flask, python3-requests, a PostgreSQL query through psycopg2. It knows nothing of Penstock."""

import os

import psycopg2.pool
import requests
from flask import Flask, render_template, request

# Of each connect and read, not of the request.
TIMEOUT_S = 30

app = Flask(__name__)
third_parties = dict(entry.split("=", 1) for entry in os.environ["SHOP_THIRD_PARTIES"].split(","))
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=100))
database = psycopg2.pool.ThreadedConnectionPool(10, 100, os.environ["SHOP_DATABASE"])


def products():
    connection = database.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT name, price FROM products WHERE shelf = %s ORDER BY name", (request.path,))
            return cursor.fetchall()
    finally:
        database.putconn(connection)


def call(name):
    answer = session.get(
        third_parties[name], headers={"X-Try": request.headers.get("X-Try", "")}, timeout=TIMEOUT_S
    )
    answer.raise_for_status()
    return answer.text


def page(title, *names):
    """What the shop itself has, what each third party says, one after the other, and a page of both."""
    found = products()
    return render_template("page.html", title=title, products=found, answers=[call(name) for name in names])


@app.get("/checkout")
def checkout():
    return page("Your order", "A", "B", "C")


@app.get("/browse")
def browse():
    return page("Our shop", "B", "C", "B")


@app.get("/history")
def history():
    return page("Your orders", "A", "A", "C")


@app.get("/about")
def about():
    return page("About us", "C", "C", "C")


@app.errorhandler(requests.RequestException)
def third_party_failed(error):
    return f"a third party failed: {error}\n", 502
