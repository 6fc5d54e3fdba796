#!/usr/bin/python3
"""Mounts volumes of a provider, which are made file systems of first where they hold nothing at all.

`community.general.filesystem` takes any device that blkid does not know for an empty one, and `ansible.posix.mount` writes an entry of fstab over
whatever stands there, mounts over files, and does not tell its own entries from others'.
"""

import os
import stat
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: ostler_volumes
short_description: Mount volumes of a provider
description:
  - Makes a file system on a device that holds neither a signature of anything nor any other data in its first and last MiB. No other is ever formatted.
  - Mounts it by UUID, with an entry in fstab that bears C(x-ostler.volume) and keeps no boot from coming to its end.
  - Grows the file system where the device has grown.
  - Unmounts what it mounted earlier and is not among O(volumes) any more. What is on the device stays there.
options:
  volumes:
    description: "Each with C(name), C(device) (a path that names this very volume; null where it is not attached yet), C(format) and C(mount)."
    type: list
    elements: dict
    required: true
"""

FSTAB, MARKS, OURS = "/etc/fstab", "/var/lib/ostler/volumes", "x-ostler.volume="
MIB = 1 << 20
# A device takes a moment to appear after it was attached.
PATIENCE = 30
MAKERS = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"]}


def main():
    module = AnsibleModule(argument_spec={"volumes": {"type": "list", "elements": "dict", "required": True}}, supports_check_mode=True)
    Volumes(module).run()


class Volumes:
    def __init__(self, module):
        self.module, self.wanted, self.check = module, module.params["volumes"], module.check_mode
        self.done = []
        self.before = ""
        if os.path.exists(FSTAB):
            with open(FSTAB, encoding="utf-8", errors="surrogateescape") as file:
                self.before = file.read()
        self.lines = self.before.splitlines()

    def run(self):
        self.let_go()
        for volume in self.wanted:
            self.bring(volume)
        diff = {"before_header": FSTAB, "after_header": FSTAB, "before": self.before, "after": self.text()} if self.text() != self.before else {}
        self.module.exit_json(changed=bool(self.done), done=self.done, diff=diff)

    def let_go(self):
        """Of what is not wanted any more, or at another place."""
        keep = {(volume["name"], volume["mount"]) for volume in self.wanted}
        gone = [(line, name, path) for line, name, path in self.ours() if (name, path) not in keep]
        # What is mounted within another goes first.
        for line, name, path in sorted(gone, key=lambda entry: entry[2], reverse=True):
            self.done.append(f"unmounted {name} from {path}")
            if not self.check and mounted_at(path):
                code, _out, err = self.module.run_command(["umount", path])
                if code:
                    self.fail(f"the volume {name} can't be unmounted from {path}: {err.strip()}: stop what uses it")
            self.lines.remove(line)
        if gone:
            self.save()

    def bring(self, volume):
        name, path = volume["name"], volume["mount"]
        device = self.device(volume)
        if device is None:
            self.done.append(f"mounted {name} at {path}")
            return
        number = os.stat(device).st_rdev
        there = mounted_at(path)
        if there not in (None, number):
            self.fail(f"something else than the volume {name} is mounted at {path}")
        self.is_free(volume, there)
        self.format(volume, device)
        if self.check and not self.kind(name, device):
            self.done.append(f"mounted {name} at {path}")
            return
        self.enter(volume, device)
        if there is None:
            self.done.append(f"mounted {name} at {path}")
            if self.check:
                return
            os.makedirs(path, mode=0o755, exist_ok=True)
            self.command(["mount", path], f"the volume {name} can't be mounted at {path}")
            if mounted_at(path) != number:
                self.fail(f"something else than the volume {name} is mounted at {path} now: another line of {FSTAB} names it")
        self.grow(volume, device)

    def device(self, volume):
        """The block device that a volume is; None where only its attaching makes it, and this is a look."""
        name, device = volume["name"], volume.get("device")
        until = time.monotonic() + (0 if self.check else PATIENCE)
        while device and not os.path.exists(device) and time.monotonic() < until:
            time.sleep(0.1)
        if device and os.path.exists(device):
            found = os.path.realpath(device)
            if stat.S_ISBLK(os.stat(found).st_mode):
                return found
            self.fail(f"{device} is no block device")
        if not self.check:
            self.fail(f"the volume {name} is not there: the server has no {device or 'device for it'}")
        return None

    def is_free(self, volume, there):
        """Refuses a place that somebody else has, or whose files would be hidden."""
        name, path = volume["name"], volume["mount"]
        ours = [line for line, _name, _path in self.ours()]
        for line in self.lines:
            fields = line.split()
            if line not in ours and len(fields) > 1 and not line.lstrip().startswith("#") and fields[1].rstrip("/") == path:
                self.fail(f"{FSTAB} has a line of somebody else for {path}: take it out, or mount the volume {name} at another place")
        if there is None and os.path.lexists(path):
            if os.path.realpath(path) != path or not os.path.isdir(path):
                self.fail(f"{path} is not a folder of its own, so the volume {name} can't be mounted there")
            if os.listdir(path):
                self.fail(f"{path} holds files, which the volume {name} would hide: move them away, or mount it at another place")
        elif os.path.realpath(path) != path:
            self.fail(f"{path} leads to {os.path.realpath(path)}: mount the volume {name} there, or at another place")

    def format(self, volume, device):
        name, wanted = volume["name"], volume["format"]
        kind = self.kind(name, device)
        if kind == wanted:
            return
        if kind:
            self.fail(f"the volume {name} holds {kind}, not {wanted}, and is never formatted anew: name what it holds as its format, or another volume")
        mark = os.path.join(MARKS, os.path.basename(volume["device"]))
        signatures = self.command(["wipefs", "--no-act", "--noheadings", "--output", "TYPE", device], f"the volume {name} can't be looked at").split()
        # Where an earlier attempt was cut off, what it had written is no one's.
        if signatures or (not os.path.exists(mark) and not is_blank(device)):
            what = ", ".join(signatures) or "data of no known kind"
            self.fail(f"the volume {name} holds {what}, so it is not formatted: empty it yourself if nobody needs that")
        self.done.append(f"formatted {name} as {wanted}")
        if self.check:
            return
        os.makedirs(MARKS, mode=0o755, exist_ok=True)
        with open(mark, "w", encoding="utf-8") as file:
            os.fsync(file.fileno())
        self.command([*MAKERS[wanted], device], f"the volume {name} can't be formatted")
        if self.kind(name, device) != wanted:
            self.fail(f"the volume {name} holds no {wanted} after it was formatted")
        os.unlink(mark)

    def kind(self, name, device):
        """What a device holds, as blkid(8) calls it; None: nothing that anybody knows."""
        # The cache may speak of a device that had the name before.
        code, out, err = self.module.run_command(["blkid", "--probe", "--output", "export", device])
        if code == 2:
            return None
        found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        if code or not (found.get("TYPE") or found.get("PTTYPE")):
            self.fail(f"what the volume {name} holds can't be told ({err.strip() or out.strip()}), so it is left alone")
        return found.get("TYPE") or f"a partition table ({found['PTTYPE']})"

    def enter(self, volume, device):
        """The entry of fstab. The boot waits for the device, so that nothing writes into the folder below it, and goes on without it."""
        name, path, kind = volume["name"], volume["mount"], volume["format"]
        uuid = self.command(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device], f"the volume {name} has no UUID").strip()
        options = f"defaults,nofail,discard,x-systemd.before=local-fs.target,x-systemd.device-timeout=30s,{OURS}{name}"
        wanted = f"UUID={uuid} {path} {kind} {options} 0 {2 if kind == 'ext4' else 0}"
        if wanted in self.lines:
            return
        self.lines = [line for line in self.lines if line not in [ours for ours, _name, at in self.ours() if at == path]] + [wanted]
        self.done.append(f"wrote {name} into {FSTAB}")
        self.save()

    def grow(self, volume, device):
        name, path, kind = volume["name"], volume["mount"], volume["format"]
        with open(device, "rb") as file:
            bytes_there = file.seek(0, os.SEEK_END)
        if kind == "ext4":
            told = self.command(["dumpe2fs", "-h", device], f"the size of the volume {name} can't be told")
            told = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
            block, blocks, least = (int(told[key]) for key in ("Block size", "Block count", "Blocks per group"))
            grow = ["resize2fs", device]
        else:
            told = self.command(["xfs_info", path], f"the size of the volume {name} can't be told")
            data = next(line for line in told.splitlines() if line.startswith("data"))
            fields = dict(field.split("=", 1) for field in data.replace(",", " ").split() if field.count("=") == 1)
            block, blocks, least = int(fields["bsize"]), int(fields["blocks"]), 4096
            grow = ["xfs_growfs", path]
        # A rest that is smaller than a group may stay unused.
        if bytes_there // block - blocks < least:
            return
        self.done.append(f"grew {name} to {bytes_there} bytes")
        if not self.check:
            self.command(grow, f"the file system of the volume {name} can't grow")

    def ours(self):
        """Entries of this module: line, name of the volume, path."""
        for line in self.lines:
            fields = line.split()
            if len(fields) > 3 and not line.lstrip().startswith("#"):
                names = [option[len(OURS) :] for option in fields[3].split(",") if option.startswith(OURS)]
                if names:
                    yield line, names[0], fields[1]

    def text(self):
        return "".join(line + "\n" for line in self.lines)

    def save(self):
        if self.check:
            return
        temporary = FSTAB + ".ostler"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(self.text())
            file.flush()
            os.fchmod(file.fileno(), stat.S_IMODE(os.stat(FSTAB).st_mode) if os.path.exists(FSTAB) else 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, FSTAB)
        self.command(["systemctl", "daemon-reload"], f"systemd does not take over {FSTAB}")

    def command(self, argv, what):
        code, out, err = self.module.run_command(argv)
        if code:
            self.fail(f"{what}: {(err or out).strip()}")
        return out

    def fail(self, message):
        self.module.fail_json(msg=message, done=self.done)


def mounted_at(path):
    """Number of the device that is mounted at a path, by proc_pid_mountinfo(5); None where nothing is."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[4] == path:
                major, minor = fields[2].split(":")
                found = os.makedev(int(major), int(minor))
    return found


def is_blank(device):
    """Whether its first and last MiB are zeros, as a new volume's are."""
    with open(device, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        for start in (0, max(0, end - MIB)):
            file.seek(start)
            if any(file.read(MIB)):
                return False
    return True


if __name__ == "__main__":
    main()
