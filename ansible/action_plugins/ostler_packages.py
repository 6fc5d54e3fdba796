"""The controller's half of ostler_packages: remembers for each host what this run has made sure of, and asks the target only for the rest.

So every role can install its own packages, and be complete without Ostler, at no cost after the one transaction at the start.
"""

from __future__ import annotations

from ansible.plugins.action import ActionBase

DONE, MISSING, OWN = "ostler_installed_packages", "ostler_missing_packages", "ostler_own_packages"


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        names = self._task.args.get("name") or []
        names = set([names] if isinstance(names, str) else names)
        done = set(task_vars.get(DONE, []))
        missing = set(task_vars.get(MISSING, []))

        if names and names <= done:
            return result | {"changed": False, "installed": [], "msg": "done before in this run"}

        # How long to wait for other package managers is the run's to say, unless the task does.
        patience = {"lock_timeout": task_vars["ostler_lock_timeout"]} if "ostler_lock_timeout" in task_vars else {}
        arguments = patience | self._task.args | {"name": sorted(names - done)}
        result |= self._execute_module(module_args=arguments, task_vars=task_vars)
        if not result.get("failed"):
            result["ansible_facts"] = {
                # The names as they were asked for (`a | b`), and those of the packages that are really there (`b`).
                DONE: sorted(done | names | set(result.pop("present", []))),
                # Packages are missing only in check mode, where a role has to skip what cannot be looked at before they are there.
                MISSING: sorted(missing | set(result.pop("missing", []))),
                OWN: result.pop("own", []),
            }
        return result
