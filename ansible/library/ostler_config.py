#!/usr/bin/python3
"""Writes a configuration file on a server that somebody may have configured before.

`ansible.builtin.template` copies the old file aside before it knows whether the new one is valid, and does not know who wrote the old one.
This module validates the new text first. A file is somebody's own if neither its package nor Ostler wrote its content. The module says what
will happen to such a file before it touches it, in check mode too.
"""

import codecs
import hashlib
import json
import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.ostler_netfilter import brief

DOCUMENTATION = r"""
module: ostler_config
short_description: Write a file, and keep what somebody else wrote there
description:
  - Keeps somebody's own file as C(PATH.before-ostler), with a warning that says so, or leaves it in place (C(theirs)).
  - If C(validate) refuses the new file, nothing changes and nothing is left behind.
  - Records the checksum of what it wrote in C(/var/lib/ostler/files.json). A file of ours that was changed since is somebody's own too.
options:
  path: {description: The file. Its directory is created if it is missing., type: path, required: true}
  content: {description: The whole text., type: str}
  merge: {description: "Instead of C(content): members of a JSON object. Other members stay.", type: dict}
  mode: {description: Its permissions., type: str, default: "0644"}
  theirs: {description: What happens to somebody's own file., choices: [keep_beside, stay], default: keep_beside}
  holds:
    description: What the warning names of somebody's own file, as C(what) (such as C(shares)) and C(pattern), whose first group is a name.
    type: dict
  quiet: {description: Do not warn when somebody's own file stays., type: bool, default: false}
  validate: {description: "A command whose exit code tells whether the file is valid; C(%s) is the file.", type: str}
"""

RECORD = "/var/lib/ostler/files.json"
MARK = "Managed by Ostler"
DPKG, UCF = "/var/lib/dpkg", "/var/lib/ucf/hashfile"
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "merge": {"type": "dict"},
            "mode": {"type": "str", "default": "0644"},
            "theirs": {"choices": ["keep_beside", "stay"], "default": "keep_beside"},
            "holds": {"type": "dict"},
            "quiet": {"type": "bool", "default": False},
            "validate": {"type": "str"},
        },
        required_one_of=[["content", "merge"]],
        mutually_exclusive=[["content", "merge"]],
        supports_check_mode=True,
    )
    Config(module).run()


class Config:
    def __init__(self, module):
        self.module, self.path = module, module.params["path"]
        self.merging = module.params["merge"] is not None
        # Merging follows a symbolic link. A whole text replaces the link, and the file that it pointed to stays.
        self.path = os.path.realpath(self.path) if self.merging else self.path
        self.before = read(self.path)
        self.mode = int(module.params["mode"], 8)
        self.record = recorded()

    def run(self):
        after = self.merged() if self.merging else (self.module.params["content"].rstrip("\n") + "\n").encode("utf-8", "surrogateescape")
        theirs = self.before is not None and self.before != after and not self.is_ours() and not self.is_packaged()
        stays = theirs and self.module.params["theirs"] == "stay"
        if stays:
            after = self.before
        kept = self.beside() if theirs and not stays else None
        self.announce(kept, stays)
        other_mode = self.before is not None and not stays and os.stat(self.path).st_mode & 0o7777 != self.mode
        changed = self.before != after or other_mode
        if changed and not self.module.check_mode:
            if self.before != after:
                self.write(after, kept)
            else:
                os.chmod(self.path, self.mode)
        if not stays and not self.module.check_mode:
            self.remember(after)
        sides = {"before": text(self.before), "after": text(after), "before_header": self.path, "after_header": self.path}
        self.module.exit_json(changed=changed, kept=kept, diff=sides)

    def merged(self):
        """The JSON object with the wanted members; the unchanged file if it already has them."""
        found = self.parsed()
        wanted = combined(found, self.module.params["merge"])
        if self.before is not None and found == wanted:
            return self.before
        return (json.dumps(wanted, indent=4, ensure_ascii=False) + "\n").encode()

    def parsed(self):
        """The JSON object in the file. Others wrote it, so they have to fix whatever is wrong with it."""
        raw = self.before or b""
        encoding = next((name for mark, name in BOMS.items() if raw.startswith(mark)), "utf-8")
        try:
            content = raw.decode(encoding)
            found = json.loads(content) if content.strip() else {}
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.damaged(f", line {line}: this is not UTF-8, as JSON has to be")
        except ValueError as error:
            self.damaged(f" is not valid JSON: {error}")
        if not isinstance(found, dict):
            kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(found), "a number")
            self.damaged(f" holds {kind} and not an object {{...}}")
        return found

    def damaged(self, how):
        self.module.fail_json(msg=f"{self.path}{how}. Mend it, or move it away. Ostler left it as it is")

    def is_ours(self):
        wrote = self.record.get(self.path)
        return sum_of(self.before) == wrote if wrote else MARK in text(self.before)[:300]

    def is_packaged(self):
        """Whether the package wrote this content: as a conffile, as another file, or through ucf."""
        md5 = hashlib.md5(self.before, usedforsecurity=False).hexdigest()
        name = self.path.lstrip("/")
        if re.search(rf"(?m)^ {re.escape(self.path)} {md5}\b", text(read(f"{DPKG}/status"))):
            return True
        if re.search(rf"(?m)^{md5} +{re.escape(self.path)}$", text(read(UCF))):
            return True
        return any(f"{md5}  {name}\n" in text(read(f"{DPKG}/info/{owner}.md5sums")) for owner in self.owners())

    def owners(self):
        code, out, _ = self.module.run_command(["dpkg-query", "--search", self.path])
        return out.partition(": ")[0].split(", ") if code == 0 else []

    def beside(self):
        number, path = 1, f"{self.path}.before-ostler"
        while os.path.lexists(path) and read(path) != self.before:
            number, path = number + 1, f"{self.path}.before-ostler.{number + 1}"
        return path

    def announce(self, kept, stays):
        if stays and not self.module.params["quiet"]:
            self.module.warn(f"{self.path} is somebody's own: it stays as it is, and Ostler's is not written")
        if kept and not self.merging:
            self.module.warn(f"{self.path} is somebody's own: it is kept as {kept}, and Ostler's takes its place{self.held()}")

    def held(self):
        holds = self.module.params["holds"]
        names = re.findall("(?m)" + holds["pattern"], text(self.before)) if holds else []
        return f". It has the {holds['what']} {', '.join(dict.fromkeys(names))}: {holds['becomes']}" if names else ""

    def write(self, after, kept):
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(after)
            self.validate(temporary)
            if kept and not os.path.lexists(kept):
                self.copy_aside(kept)
            os.chmod(temporary, self.mode)
            if os.path.islink(self.path):
                os.remove(self.path)
            self.module.atomic_move(temporary, self.path, keep_dest_attrs=False)
            os.chmod(self.path, self.mode)
            os.chown(self.path, 0, 0)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def copy_aside(self, kept):
        if os.path.islink(self.path):
            os.symlink(os.readlink(self.path), kept)
        else:
            self.module.preserved_copy(self.path, kept)

    def validate(self, temporary):
        command = self.module.params["validate"]
        if command:
            code, out, err = self.module.run_command(command % temporary)
            if code != 0:
                words = brief((err or out).replace(temporary, self.path))
                self.module.fail_json(msg=f"{self.path} was not written, because it would not be valid: {words}", rc=code, stdout=out, stderr=err)

    def remember(self, after):
        if self.record.get(self.path) == sum_of(after):
            return
        self.record[self.path] = sum_of(after)
        os.makedirs(os.path.dirname(RECORD), mode=0o755, exist_ok=True)
        with open(RECORD + ".new", "w", encoding="utf-8") as file:
            json.dump(self.record, file, indent=1, sort_keys=True)
        os.replace(RECORD + ".new", RECORD)


def recorded():
    """The checksums of what Ostler wrote, by path. A file of ours without one is recognised by its first lines."""
    try:
        found = json.loads(text(read(RECORD)) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def combined(old, new):
    both = dict(old)
    for name, value in new.items():
        inner = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = combined(both[name], value) if inner else value
    return both


def sum_of(content):
    return hashlib.sha256(content).hexdigest()


def text(content):
    return (content or b"").decode("utf-8", "replace")


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
