"""Reads what modules declare in meta/ostler.yml, the only place for it. So a new module is just a new directory."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible.errors import AnsibleFilterError

# Modules of which a server has one.
FIREWALLS = ("ufw", "iptables")
MODULES = Path(__file__).resolve().parent.parent / "roles" / "modules"


def in_steps(modules, apps, user, ssh, pending, all_facts, tunnel=False, volumes=False):
    """All steps of a run, in order: a file of tasks/ and the role that it handles.

    `{ufw: true, fail2ban: false}` -> fail2ban is switched off first, and ufw is applied after the user is set up.
    """
    on = _ordered(name for name, wanted in modules.items() if wanted)
    firewalls = [name for name in FIREWALLS if name in on]
    # A firewall takes over from the other by itself, so that there is no moment without rules.
    replaced = FIREWALLS if firewalls else ()
    off = _ordered(name for name, wanted in modules.items() if not wanted and name not in replaced)[::-1]

    def apply(roles):
        return [{"tasks": "apply_with_pending" if role in pending else "apply", "role": role} for role in roles]

    steps = [{"tasks": "switch_off", "role": role} for role in off]
    # What runs on the server may live on its volumes.
    first = (["target_user"] if user != "root" else []) + (["volumes"] if volumes else [])
    steps += apply(first + on + (["ssh_policy"] if ssh else []))
    if ssh:
        steps += [{"tasks": "close_old_port", "role": name} for name in firewalls]
    if tunnel:
        steps += apply(["cloudflared"])
    if all_facts:
        steps.append({"tasks": "gather_facts"})
    return steps + apply(map(str, apps))


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
        return {"in_steps": in_steps, "module_packages": module_packages}
