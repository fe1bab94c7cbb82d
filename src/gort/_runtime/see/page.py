"""The live page's text: page.html with page.css, page.js and record.js in it.  They are files of their own, so that
editors know what they are.  Nothing is vendored, and nothing is loaded from elsewhere.

What does not live here: who may read it, and the policy that it runs under (server.py).
"""

from __future__ import annotations

import os

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _file(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as f:
        return f.read()


def text(nonce: str) -> str:
    """The page, whose script and style carry the nonce of the answer's policy."""
    whole = _file("page.html").replace("NONCE", nonce)
    return whole.replace("/*STYLE*/", _file("page.css")).replace("/*SCRIPT*/", _file("page.js") + _file("record.js"))
