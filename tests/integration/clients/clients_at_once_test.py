"""Unmodified clients with real servers: a hundred calls of a second, on fibers of one thread, end after about one."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.environ["PENSTOCK_SOURCE"], "bench"))
import clients  # noqa: E402

COUNT = 100
BUILD = os.environ["PENSTOCK_BUILD"]


class ClientsAtOnce(unittest.TestCase):
    def test_each_waits_as_a_fiber(self):
        with tempfile.TemporaryDirectory(prefix="penstock-clients-") as folder:
            os.chmod(folder, 0o755)
            with clients.servers(BUILD, folder, COUNT) as places:
                for client, where in places.items():
                    with self.subTest(client):
                        measured = clients.measure(BUILD, "penstock", client, where, COUNT)
                        self.assertEqual(measured["failed"], 0)
                        self.assertGreaterEqual(measured["wall_s"], 1)
                        # One after the other they would take a hundred; TLS handshakes are part of one.
                        self.assertLess(measured["wall_s"], 15)


if __name__ == "__main__":
    unittest.main()
