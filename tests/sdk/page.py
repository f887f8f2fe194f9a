"""The program on the SDK's page."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"


def program() -> ModuleType:
    """Return what the page's code makes, put together."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    module = ModuleType("sdk_page")
    exec(compile("\n\n".join(blocks), str(PAGE), "exec"), module.__dict__)  # noqa: S102 - the project's own page
    return module
