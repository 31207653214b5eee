"""A peer: gevent's own WSGI server. Prints its address. (uWSGI's gevent loop serves one request a connection.)"""

from gevent import monkey

monkey.patch_all()

from gevent.pywsgi import WSGIServer  # noqa: E402 after the patch, as gevent wants it

import wsgi  # noqa: E402

server = WSGIServer(("127.0.0.1", 0), wsgi.application, backlog=4096, log=None)
server.start()
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
