"""The inventory. It comes from the running Ostler over a private socket, so no secret is on disk, in argv or in the environment."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import yaml
from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.parsing.vault import VaultLib, VaultSecret, VaultSecretsContext
from ansible.plugins.inventory import BaseInventoryPlugin

DOCUMENTATION = r"""
name: ostler
short_description: Hosts and variables from the running Ostler
description:
  - Sends C({"request":"inventory"}) to the UNIX socket in E(OSTLER_SOCKET) and reads one line of JSON in the format of an inventory script.
  - If the run can't begin for a reason that the user can fix, sends C({"request":"refuse","why":"..."}) to the same socket.
  - The values are data. None of them is ever evaluated as a template.
  - C(ostler_vault_password) of a host decrypts what the roles encrypted with C(ansible-vault). It does not become a variable, and what it
    decrypts is masked in events like every other secret.
options:
  plugin:
    description: Marks the file as a source for this plugin.
    required: true
    choices: [ostler]
"""

SECRET_MARK = "__ostler_secret__"
VAULT_PASSWORD = "ostler_vault_password"
# A whole encrypted file, or a single value, which is indented.
VAULTED = re.compile(rb"\$ANSIBLE_VAULT;[^\n]+\n(?:[ \t]*[0-9a-f]+[ \t\r]*(?:\n|$))+")
VAULTED_FILE_LIMIT = 1024 * 1024
ANSWER_LIMIT = 64 * 1024 * 1024
TIMEOUT_SECONDS = 30


class InventoryModule(BaseInventoryPlugin):
    NAME = "ostler"

    # Every secret that this process knows. The callback plugin reads the set from this class and masks the values wherever they appear.
    secrets: set[str] = set()

    def verify_file(self, path):
        name = os.path.basename(path)
        return super().verify_file(path) and (name == "ostler.yml" or name.endswith(".ostler.yml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        answer = self._ask({"request": "inventory"})

        hostvars = answer.pop("_meta", {}).get("hostvars", {})
        for group, content in answer.items():
            self._add_group(group, content)
        passwords = {self._reveal(variables.pop(VAULT_PASSWORD)) for variables in hostvars.values() if VAULT_PASSWORD in variables}
        if passwords:
            self._open_vault(loader, sorted(passwords))
        for host, variables in hostvars.items():
            if host not in self.inventory.hosts:
                self.inventory.add_host(host)
            self._set_variables(host, variables)

    def _add_group(self, group, content):
        group = self.inventory.add_group(group)
        for host in content.get("hosts", []):
            self.inventory.add_host(host, group)
        for child in content.get("children", []):
            self.inventory.add_child(group, self.inventory.add_group(child))
        self._set_variables(group, content.get("vars", {}))

    def _set_variables(self, entity, variables):
        # Strings from json.loads carry no trust tag, and ansible-core 2.19 evaluates only trusted strings as templates. So a user's
        # `{{ ... }}` arrives as plain text.
        for name, value in variables.items():
            self.inventory.set_variable(entity, name, self._reveal(value))

    def _reveal(self, value):
        if isinstance(value, dict):
            if set(value) == {SECRET_MARK}:
                self.secrets.add(str(value[SECRET_MARK]))
                return str(value[SECRET_MARK])
            return {key: self._reveal(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._reveal(item) for item in value]
        return value

    def _open_vault(self, loader, passwords):
        """Does what `--vault-password-file` does, without a file. A wrong password fails here, before anything is touched."""
        secrets = [("default", VaultSecret(password.encode())) for password in passwords]
        loader.set_vault_secrets(secrets)  # for whole files
        VaultSecretsContext.current().secrets = secrets  # for single values
        vault = VaultLib(secrets)
        for folder in [*C.DEFAULT_ROLES_PATH, *C.COLLECTIONS_PATHS]:
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                if path.stat().st_size <= VAULTED_FILE_LIMIT:
                    self._learn_vaulted(vault, path)

    def _learn_vaulted(self, vault, path):
        for match in VAULTED.finditer(path.read_bytes()):
            lines = [line.strip() for line in match.group().splitlines()]
            try:
                text = vault.decrypt(b"\n".join(lines) + b"\n").decode("utf-8", "replace")
            except AnsibleError:
                why = f"{path}: the catalog's vault password does not open this"
                self._ask({"request": "refuse", "why": why})
                raise AnsibleParserError(why) from None
            self.secrets.add(text)
            if match.start() == 0:
                try:
                    self.secrets.update(_texts(yaml.safe_load(text)))
                except yaml.YAMLError:
                    pass  # not a file of variables; its text is masked as a whole

    def _ask(self, request):
        path = os.environ.get("OSTLER_SOCKET")
        if not path:
            raise AnsibleParserError("OSTLER_SOCKET is not set: this inventory is only there while Ostler runs")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(TIMEOUT_SECONDS)
                connection.connect(path)
                connection.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    line = stream.readline(ANSWER_LIMIT)
        except OSError as error:
            raise AnsibleParserError(f"cannot ask Ostler for the inventory at {path}: {error}") from error
        # The answer contains secrets, so no message may quote it.
        try:
            answer = json.loads(line)
        except ValueError:
            raise AnsibleParserError(f"Ostler's inventory answer at {path} is not one line of JSON ({len(line)} bytes)") from None
        if not isinstance(answer, dict):
            raise AnsibleParserError(f"Ostler's inventory answer at {path} is not an object")
        if "error" in answer:
            raise AnsibleParserError(f"Ostler refused the inventory: {answer['error']}")
        return answer


def _texts(value):
    """Every text and number in plain data."""
    if isinstance(value, dict):
        return set().union(*map(_texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return set() if value is None or isinstance(value, bool) else {str(value)}
