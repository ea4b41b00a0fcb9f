"""Plugins in a Python of their own, which tells what they load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from affectkit.plugins.contracts.candidate import hold

HEAVY = ("torch", "torchvision", "timm", "transformers", "sklearn", "onnxruntime", "ai_edge_litert", "pandas")


def loads_nothing_heavy(plugins: Sequence[type], then: Sequence[str] = ()) -> None:
    """Raises Broken where the modules of these classes import what is heavy, or the lines `then`, which follow: in them
    `plugin` is the last class."""
    lines = []
    for plugin in plugins:
        module, file = plugin.__module__, getattr(sys.modules.get(plugin.__module__), "__file__", None)
        if module.startswith("affectkit_plugin_"):
            lines.append(f"spec = spec_from_file_location({module!r}, {file!r})")
            lines.append(f"sys.modules[{module!r}] = own = module_from_spec(spec); spec.loader.exec_module(own)")
        else:
            lines.append(f"own = import_module({module!r})")
    if then:
        file = getattr(plugins[-1], "file", None)  # of a network whose class is made of its file
        lines.append(
            f"plugin = getattr(own, {plugins[-1].__name__!r})"
            if file is None
            else f"from pathlib import Path; plugin = own.from_file(Path({str(file)!r}))"
        )
    code = "\n".join([
        "import sys", f"sys.path[:] = {sys.path!r}", "from importlib import import_module",
        "from importlib.util import module_from_spec, spec_from_file_location", "import affectkit.plugins",
        *lines, *then, f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))",
    ])  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    what = "its card cannot be read" if then else "it cannot be imported"
    hold(ran.returncode == 0, f"{what} alone: {ran.stderr.strip().splitlines()[-1:]}")
    hold(not ran.stdout.strip(), f"{'reading its card' if then else 'importing it'} loads {ran.stdout.strip()}")
