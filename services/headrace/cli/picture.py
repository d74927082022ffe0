"""A picture of a page of our own, by the Chromium that is installed, if one is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LIMIT_S: Final = 60.0
_SIZE: Final = "1080,1500"


def picture_of(page: Path, picture: Path) -> Path | None:
    """``page`` (an HTML file) as a PNG of 1080 by 1500 pixels; None where there is no Chromium, or it does not make one."""
    browser = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if browser is None:
        return None
    options = ["--headless", "--disable-gpu", "--hide-scrollbars", f"--window-size={_SIZE}", f"--screenshot={picture}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # it refuses to be root's with one; the page has no script and is ours
    picture.unlink(missing_ok=True)
    try:
        subprocess.run([browser, *options, page.absolute().as_uri()], capture_output=True, timeout=_LIMIT_S)  # noqa: S603 (a browser, a file of ours)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return picture if picture.exists() else None
