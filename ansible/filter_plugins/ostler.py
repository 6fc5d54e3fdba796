"""What the modules say of themselves in meta/ostler.yml, so that it is said once: a new module is a new directory and nothing else."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible.errors import AnsibleFilterError

MODULES = Path(__file__).resolve().parent.parent / "roles" / "modules"


def in_run_order(modules):
    """`{ufw: true, fail2ban: false}` -> the enabled names, by their `order`."""
    return _ordered(name for name, wanted in (modules or {}).items() if wanted)


def in_undo_order(modules):
    """`{ufw: true, fail2ban: false}` -> the names that are switched off, the last one first."""
    return _ordered(name for name, wanted in (modules or {}).items() if not wanted)[::-1]


def module_packages(name):
    """The Debian packages of a module."""
    return _meta(name)["packages"]


def _ordered(names):
    return sorted(map(str, names), key=lambda name: (_meta(name)["order"], name))


def _meta(name):
    try:
        return yaml.safe_load((MODULES / name / "meta" / "ostler.yml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(path.parent.parent.name for path in MODULES.glob("*/meta/ostler.yml")))
        raise AnsibleFilterError(f"modules: there is no module `{name}` (there are: {known})") from None


class FilterModule:
    def filters(self):
        return {"in_run_order": in_run_order, "in_undo_order": in_undo_order, "module_packages": module_packages}
