"""`pyright --verifytypes gort`, part of `make lint`: fails, and names them, where public names have no type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Prints what has no type; the exit status."""
    # pyright looks for packages with the first python on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", "gort", "--ignoreexternal", "--outputjson"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    report = json.loads(done.stdout)
    symbols = report["typeCompleteness"]["symbols"]
    errors = [d["message"] for d in report["generalDiagnostics"] if d["severity"] == "error"]
    if errors or not any(s["name"] == "gort.run" for s in symbols):
        print("pyright did not find the package:", *errors, done.stdout[-2000:], sep="\n", file=sys.stderr)
        return 1
    wrong = [s for s in symbols if not s["isTypeKnown"] or s["isTypeAmbiguous"]]
    for symbol in wrong:
        for found in symbol["diagnostics"]:
            print(f"{symbol['name']}: {found['message']}", file=sys.stderr)
    print(f"verifytypes: {len(symbols) - len(wrong)} of {len(symbols)} names have a type")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
