"""One HTTP request, with the standard library alone."""

import http.client
import json


def request(address, method, path, body=None, timeout=10.0):
    """(status, text) of address "host:port"."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def get(address, path, timeout=10.0):
    status, text = request(address, "GET", path, timeout=timeout)
    if status != 200:
        raise OSError(f"http://{address}{path}: {status}")
    return text


def put_json(address, path, value):
    status, text = request(address, "PUT", path, body=json.dumps(value))
    if status != 200:
        raise OSError(f"http://{address}{path}: {status} {text.strip()}")


def answers(address, path="/", timeout=1.0):
    """Whether anything speaks HTTP there, and says 200."""
    try:
        return request(address, "GET", path, timeout=timeout)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
