"""`quorate completion`."""

from __future__ import annotations

import sys
from typing import Literal

from clients.main import make_app


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a script with which your shell completes commands, options and their
    values.

    - bash: quorate completion bash > ~/.local/share/bash-completion/completions/quorate
    - zsh: quorate completion zsh > ~/.zfunc/_quorate, with ~/.zfunc in fpath before compinit
    - fish: quorate completion fish > ~/.config/fish/completions/quorate.fish

    Example: quorate completion bash > ~/.local/share/bash-completion/completions/quorate

    Parameters
    ----------
    shell
        Yours.
    """
    sys.stdout.write(make_app().generate_completion(shell=shell))
    return 0
