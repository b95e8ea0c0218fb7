"""Which modules of the server open connections to others, and why each may; and that none runs what others send."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALLING = frozenset(
    {"aiohttp", "ftplib", "http.client", "httpx", "requests", "smtplib", "socket", "urllib.request", "urllib3"}
)

MAY = {
    "providers/addresses.py": "resolves names, to check what they lead to",
    "providers/outbound.py": "asks vendors' URLs, at checked addresses alone",
    "providers/github.py": "the operator's GitHub",
    "providers/mail.py": "the operator's mail server",
    "providers/patience.py": "calls nobody: shuts the sockets of requests that take too long",
    "providers/probes.py": "the operator's addresses of RunPod, Hugging Face, Weights & Biases",
    "providers/runpod.py": "as runpod_api.py",
    "providers/runpod_api.py": "the operator's address of RunPod",
    "providers/runpod_failures.py": "names its client's errors",
    "providers/runpod_health.py": "servers at the addresses that RunPod's own API gave",
    "providers/runpod_hosting.py": "as runpod_api.py",
    "providers/runpod_pod_hosting.py": "as runpod_health.py",
    "prefect_api.py": "the operator's Prefect",
    "processes.py": "ports and processes of this machine",
    "sandbox/parts.py": "a port of this machine",
    "up.py": "ports of this machine",
}
"""A vendor's URL goes through ``providers/outbound.py``: whoever adds a module here says whose address it asks."""


def test_who_calls_out():
    """A new way out of the server is found, and an entry that is no longer true too."""
    server = ROOT / "src/mp_kit/server"
    files = [*server.rglob("*.py"), *(ROOT / "flows").glob("*.py")]
    found = {
        str(file.relative_to(server) if file.is_relative_to(server) else file.name) for file in files if _calls(file)
    }
    assert set(MAY) == found


RUNS = frozenset({"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"})


def test_nothing_of_others_is_run():
    """No module of ours reads pickles, evaluates text, or loads YAML that makes objects."""
    odd = []
    for file in [*(ROOT / "src/mp_kit").rglob("*.py"), *(ROOT / "flows").glob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        odd += [f"{file.name}: {name}" for name in sorted(_imported(tree) & RUNS)]
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            said = ast.unparse(call.func)
            runs = said in {"eval", "exec", "yaml.load", "torch.load"}
            if runs or any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in call.keywords):
                odd.append(f"{file.name}:{call.lineno}: {said}")
    assert [] == odd


def _calls(file: Path) -> bool:
    return bool(_imported(ast.parse(file.read_text(encoding="utf-8"))) & CALLING)


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
