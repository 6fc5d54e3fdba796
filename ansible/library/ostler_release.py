#!/usr/bin/python3
"""Which release the server runs.

Not `ansible.builtin.setup`: also for a single fact it carries the collectors of all of them to the server and compiles them there.
"""

import platform

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_release
short_description: Require a release of Debian
description:
  - Fails where the server runs anything else.
  - Sets the facts C(distribution), C(distribution_release), C(distribution_version) and C(distribution_major_version), as C(setup) does.
options:
  major_version: {description: The one that is required., type: int, required: true}
"""


def main():
    module = AnsibleModule(argument_spec={"major_version": {"type": "int", "required": True}}, supports_check_mode=True)
    try:
        release = platform.freedesktop_os_release()
    except OSError as error:
        module.fail_json(msg=f"this server does not say what it runs: {error}")
    wanted, version = module.params["major_version"], release.get("VERSION_ID", "")
    # What derives from Debian has an ID of its own; testing and unstable have no version.
    if release["ID"] != "debian" or version != str(wanted):
        module.fail_json(msg=f"this server runs {release['PRETTY_NAME']}, and Ostler manages Debian {wanted} servers only")
    try:
        with open("/etc/debian_version", encoding="utf-8") as file:
            version = file.read().strip()
    except FileNotFoundError:
        pass
    facts = {
        "distribution": "Debian",
        "distribution_release": release.get("VERSION_CODENAME", ""),
        "distribution_version": version,
        "distribution_major_version": str(wanted),
    }
    module.exit_json(ansible_facts=facts)


if __name__ == "__main__":
    main()
