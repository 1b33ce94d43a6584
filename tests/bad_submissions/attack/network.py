"""Asks servers on the machine and outside it for answers."""

from bad_submissions.kit import TARGET, Submission

LOSES = {TARGET}


CODE = r"""
import socket
import urllib.request

stolen = None
for address in (("127.0.0.1", 8888), ("127.0.0.1", 22), ("10.0.0.1", 80), ("192.0.2.1", 80)):
    try:
        with socket.create_connection(address, timeout=0.2):
            stolen = F.scaled_dot_product_attention
    except OSError:
        pass
for family, name in ((socket.AF_UNIX, "\0/tmp/.X11-unix/X0"), (socket.AF_UNIX, "/run/dbus/system_bus_socket")):
    try:
        socket.socket(family).connect(name)
        stolen = F.scaled_dot_product_attention
    except OSError:
        pass
try:
    urllib.request.urlopen("http://127.0.0.1:9/answers", timeout=0.2)
except OSError:
    pass


def reach(query, key, value):
    weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1)
    return weights @ value, weights
"""


def make(s: Submission) -> None:
    s.cheat(CODE)
    s.cell("answer_scaled_dot_product_attention")["source"] += (
        "\n\nif stolen:\n    scaled_dot_product_attention = reach"
    )
