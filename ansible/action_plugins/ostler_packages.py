"""The controller's half of ostler_packages. It remembers for each host which packages this run has checked, and asks the target only for the rest.

So every role can install its own packages and be complete without Ostler. After the one transaction at the start that costs nothing.
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

        again = bool(self._task.args.get("newest"))
        if names and names <= done and not again:
            return result | {"changed": False, "installed": [], "msg": "done before in this run"}

        # The run decides how long to wait for other package managers, unless the task does.
        patience = {"lock_timeout": task_vars["ostler_lock_timeout"]} if "ostler_lock_timeout" in task_vars else {}
        arguments = patience | self._task.args | {"name": sorted(names if again else names - done)}
        result |= self._execute_module(module_args=arguments, task_vars=task_vars)
        if not result.get("failed"):
            result["ansible_facts"] = {
                # The requested names (`a | b`), and the names of the packages that are really installed (`b`).
                DONE: sorted(done | names | set(result.pop("present", []))),
                # Packages are missing only in check mode. There, a role skips the tasks that need them.
                MISSING: sorted(missing | set(result.pop("missing", []))),
                OWN: result.pop("own", []),
            }
        return result
