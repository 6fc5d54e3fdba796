#!/usr/bin/python3
"""The whole policy of sshd in one idempotent step, on servers that somebody has configured before.

sshd takes the first value it meets, so ours stand in a file of their own that sorts first. Two things can still win over it: what is
read before that file, and `Port`, of which every one counts. Such lines become comments, which say where the setting is kept now; all
others stay. The result is tried as a whole before any file is written.
"""

import fnmatch
import glob
import os
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_sshd
short_description: Make sshd obey these settings, whatever else is configured
description:
  - Returns C(socket), whether systemd listens for sshd now or at the next boot; then it decides on the port, and not this configuration.
options:
  settings: {description: Keywords of sshd_config(5) and their values., type: dict, required: true}
  users: {description: Accounts for which a C(Match) block that says otherwise is worth a warning., type: list, elements: str, default: []}
"""

MAIN, OURS = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/00-ostler.conf"
# Old names of keywords, and how `sshd -T` prints a value that may be written in two ways.
ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
}
PRINTED = {"without-password": "prohibit-password"}
LISTEN = re.compile(r"(\[[^\]]+\]|[^\s:\[\]]+):\d+(\s.*)?")


def main():
    spec = {"settings": {"type": "dict", "required": True}, "users": {"type": "list", "elements": "str", "default": []}}
    Sshd(AnsibleModule(argument_spec=spec, supports_check_mode=True)).run()


class Sshd:
    def __init__(self, module):
        self.module = module
        self.settings = {keyword: str(value) for keyword, value in module.params["settings"].items()}
        lines = [f"{keyword} {value}" for keyword, value in self.settings.items()]
        self.files = {OURS: ["# Managed by Ostler. Changes here are overwritten.", *lines]}
        self.before = {OURS: self.read(OURS)}

    def run(self):
        if self.read(MAIN) is None:
            self.module.fail_json(msg=f"{MAIN} does not exist")
        self.give_way(list(self.walk(MAIN)))
        self.try_out()
        after = {path: "".join(line + "\n" for line in lines) for path, lines in self.files.items()}
        changed = [path for path in after if after[path] != self.before[path]]
        if not self.module.check_mode:
            for path in changed:
                self.write(path, after[path])
        diff = [{"before": self.before[path] or "", "after": after[path], "before_header": path, "after_header": path} for path in changed]
        self.module.exit_json(changed=bool(changed), socket=self.socket(), diff=diff)

    def socket(self):
        answers = [self.module.run_command(["systemctl", question, "ssh.socket"])[1].strip() for question in ("is-active", "is-enabled")]
        return answers[0] == "active" or answers[1] == "enabled"

    def walk(self, path):
        """(file, line, keyword, value) of all that holds for everybody, in sshd's order; OURS is one entry without a keyword."""
        if path == OURS:
            yield OURS, 0, "", ""
            return
        for number, line in enumerate(self.lines(path)):
            keyword, value = split(line)
            if keyword == "match":
                return
            if keyword == "include":
                for child in included(value):
                    yield from self.walk(child)
            elif keyword:
                yield path, number, ALIASES.get(keyword, keyword), value

    def give_way(self, entries):
        kept = {keyword.lower() for keyword in self.settings}
        ours = [index for index, (path, *_) in enumerate(entries) if path == OURS]
        for index, (path, number, keyword, value) in enumerate(entries):
            if path == OURS:
                continue
            line = self.files[path][number]
            if keyword == "port" and "port" in kept or keyword in kept and ours and index < ours[0]:
                self.files[path][number] = f"# Kept in {OURS} by Ostler: {line.strip()}"
            elif keyword == "listenaddress" and LISTEN.fullmatch(value):
                # Without a port of its own it goes on restricting the addresses.
                host, rest = LISTEN.fullmatch(value).groups()
                self.files[path][number] = f"ListenAddress {host}{rest or ''}"
        if not ours:
            self.files[MAIN].insert(0, f"Include {OURS}")

    def try_out(self):
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="ostler-sshd-", dir=self.module.tmpdir)
        try:
            names = {path: os.path.join(folder, str(index)) for index, path in enumerate(self.files)}
            for path, name in names.items():
                with open(name, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(line + "\n" for line in staged(self.files[path], names))
            base = ["/usr/sbin/sshd", "-f", names[MAIN]]
            code, _, err = self.module.run_command([*base, "-t"])
            if code != 0:
                for path, name in names.items():
                    err = re.sub(rf"{re.escape(name)}\b", path, err)
                self.module.fail_json(msg=f"sshd does not accept its configuration: {err.strip()}", stderr=err, rc=code)
            for keyword, value in self.differing([*base, "-T"]).items():
                self.module.fail_json(msg=f"sshd would not obey: {keyword} stays `{value}` instead of `{self.settings[keyword]}`")
            for user in self.module.params["users"]:
                for keyword, value in self.differing([*base, "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1"]).items():
                    self.module.warn(f"sshd: a `Match` block of your own stays: for {user}, {keyword} is `{value}`")
        finally:
            shutil.rmtree(folder)

    def differing(self, command):
        """The settings that this sshd would not obey, and the values that it takes instead."""
        code, out, err = self.module.run_command(command)
        if code != 0:
            self.module.fail_json(msg=f"`{' '.join(command)}` failed: {err.strip()}", stderr=err, rc=code)
        found = {}
        for line in out.splitlines():
            keyword, _, value = line.partition(" ")
            found.setdefault(keyword, []).append(PRINTED.get(value, value))
        return {k: " ".join(found[k.lower()]) for k, v in self.settings.items() if k.lower() in found and found[k.lower()] != [v]}

    def lines(self, path):
        if path not in self.files:
            self.before[path] = self.read(path)
            self.files[path] = (self.before[path] or "").splitlines()
        return list(self.files[path])

    def read(self, path):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, path, content):
        path = os.path.realpath(path)
        temporary = f"{path}.ostler-new"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600)
            file.write(content)
        os.replace(temporary, path)


def split(line):
    """Keyword and value; sshd also takes `Keyword=value`."""
    match = re.match(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
    return (match[1].lower(), match[2]) if match else ("", "")


def included(value):
    """The files of an Include line, in sshd's order. Ours counts, whether it is there yet or not."""
    for pattern in value.replace('"', "").split():
        pattern = os.path.join("/etc/ssh", pattern)
        found = set(glob.glob(pattern))
        yield from sorted(found | {OURS} if fnmatch.fnmatch(OURS, pattern) else found)


def staged(lines, names):
    """With each Include that holds for everybody leading to the copies."""
    everybody = True
    for line in lines:
        keyword, value = split(line)
        everybody = everybody and keyword != "match"
        if keyword == "include" and everybody:
            copies = [names[path] for path in included(value) if path in names]
            line = "Include " + " ".join(copies) if copies else ""
        yield line


if __name__ == "__main__":
    main()
