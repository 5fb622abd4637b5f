"""Open a page in headless Chromium, with a script of our own at its end."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def run_in_page(page: Path, script: str, *, width: int, height: int = 900) -> Any:
    """What ``script``, the body of a function, returns in ``page``; skips without a Chromium.

    The page is shown in a frame of ``width`` pixels, for a window is 500 wide at least. The network
    is shut off, so a page that needs something from elsewhere lacks it.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine (Debian's package: chromium)")
    call = (
        "<script>addEventListener('load', () => {let out; "
        f"try {{ out = (() => {{{script}}})(); }} catch (err) {{ out = String(err.stack); }} "
        "parent.document.getElementById('outcome').textContent = JSON.stringify(out);});</script>"
    )
    tested = page.read_text(encoding="utf-8").replace("</body>", f"{call}</body>")
    copy = page.with_name(f"framed-{page.name}")
    copy.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="outcome"></pre><iframe width="{width}" '
        f'height="{height}" style="border: 0" srcdoc="{escape(tested)}"></iframe>',
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={page.parent / 'profile'}",
            f"--window-size={width + 40},{height + 80}",
            "--dump-dom",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(unescape(found[1]))
