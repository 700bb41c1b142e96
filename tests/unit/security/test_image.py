"""The image: it runs as nobody in particular, is built of what is locked, and holds no secret.

That its root is read-only and it has no rights of the kernel is looked at by the tests of compose file and manifests.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def final_stage() -> list[str]:
    """Instructions of the image that is shipped, comments and continued lines joined away."""
    lines = re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    last = max(index for index, line in enumerate(kept) if line.startswith("FROM"))
    return kept[last:]


def test_the_image_does_not_run_as_root() -> None:
    """Its last USER is another, with a number of its own, and nothing is run or copied after it as somebody else."""
    users = [line.split()[1] for line in final_stage() if line.startswith("USER")]
    assert users
    assert users[-1] not in ("root", "0", "0:0")
    assert re.search(r"--uid \d{4,}", "\n".join(final_stage())) or re.fullmatch(r"\d{4,}(:\d+)?", users[-1])
    after = final_stage()[[line.startswith("USER") for line in final_stage()].index(True) :]
    assert not [line for line in after if line.startswith(("RUN", "COPY", "ADD"))]


def test_the_image_is_built_of_what_is_locked_and_holds_no_secret() -> None:
    """Nothing is fetched from an address, no key or password is an argument or a variable, no shell starts it."""
    assert "--constraint requirements.lock" in DOCKERFILE
    assert not re.search(r"^ADD|https?://|curl |wget ", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"^(ARG|ENV).*(PASSWORD|SECRET|TOKEN|_KEY)", DOCKERFILE, re.MULTILINE)
    assert [line for line in final_stage() if line.startswith('ENTRYPOINT ["')]
