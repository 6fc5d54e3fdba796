# Run as root on a server that refused a login: says why, as far as sshd's settings, the account and PAM tell. It asks, and changes
# nothing. Its arguments: the account, the middle part of our public key, the address that we come from, and the address and port
# that we reach. It prints {"causes": [[words, hint], ...], "log": [lines]}; a hint is null where another run of Ostler mends the cause.
import fnmatch
import glob
import grp
import ipaddress
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
import time

causes = []


def cause(words, hint):
    causes.append([words, hint])


def run(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20)
        return done.returncode, done.stdout, done.stderr
    except (OSError, subprocess.SubprocessError) as error:
        return -1, "", str(error)


def lines_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def places(keyword):
    """Where sshd's files say a keyword, as FILE:LINE; those that they include come where they are included."""
    found, seen = [], set()

    def look(path):
        if path in seen or len(seen) > 200:
            return
        seen.add(path)
        for number, line in enumerate(lines_of(path), 1):
            words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
            if words[0].lower() == "include" and len(words) == 2:
                for pattern in words[1].split():
                    for name in sorted(glob.glob(os.path.join("/etc/ssh", pattern.strip('"')))):
                        look(name)
            elif words[0].lower() == keyword:
                found.append(f"{path}:{number}")

    look("/etc/ssh/sshd_config")
    return found


def at(keyword):
    found = places(keyword)
    return f" ({', '.join(found[:3])})" if found else ""


def settings(user, addr, laddr, lport):
    status, out, err = run(
        "/usr/sbin/sshd", "-T", "-C", f"user={user},host={addr},addr={addr},laddr={laddr},lport={lport}"
    )
    if status != 0:
        words = (err.strip().splitlines() or ["no words"])[-1]
        cause(f"sshd can't read its own settings: {words}", "`sshd -t` on the server shows the line: mend it")
        return None
    found = {}
    for line in out.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def host_matches(pattern, addr):
    try:
        return ipaddress.ip_address(addr) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return fnmatch.fnmatchcase(addr, pattern)


def user_in(patterns, user, addr):
    for pattern in patterns:
        name, _, host = pattern.rpartition("@") if "@" in pattern else (pattern, "", "")
        if fnmatch.fnmatchcase(user, name) and (not host or host_matches(host, addr)):
            return pattern
    return None


def group_in(patterns, groups):
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(group, pattern) for group in groups):
            return pattern
    return None


def check_lists(sshd, user, groups, addr):
    def words(key):
        return [word for value in sshd.get(key, []) for word in value.split()]

    denied, allowed = user_in(words("denyusers"), user, addr), words("allowusers")
    if denied:
        cause(f"DenyUsers of sshd names {denied}{at('denyusers')}", f"take it out, or give it an exception for {user}")
    if allowed and not user_in(allowed, user, addr):
        cause(
            f"AllowUsers of sshd does not name {user}, but {' '.join(allowed)}{at('allowusers')}",
            f"add {user} to that line",
        )
    denied, allowed = group_in(words("denygroups"), groups), words("allowgroups")
    if denied:
        cause(f"{user} is in group {denied}, which DenyGroups of sshd names{at('denygroups')}", "take one of them out")
    if allowed and not group_in(allowed, groups):
        cause(
            f"{user} is in none of the groups that AllowGroups of sshd names: {' '.join(allowed)}{at('allowgroups')}",
            f"`usermod -aG {shlex.quote(allowed[0])} {user}`",
        )


def expanded(pattern, account):
    tokens = {"%%": "%", "%h": account.pw_dir, "%u": account.pw_name, "%U": str(account.pw_uid)}
    path = re.sub("%.", lambda token: tokens.get(token.group(), token.group()), pattern)
    return os.path.join(account.pw_dir, path)


def loose(path, account):
    """What StrictModes minds of a file and the folders above it, as sshd's safe_path() does."""
    try:
        path, home = os.path.realpath(path), os.path.realpath(account.pw_dir)
        while True:
            info = os.stat(path)
            if info.st_uid not in (0, account.pw_uid):
                return path, f"belongs to user {owner(info.st_uid)}", f"`chown {account.pw_name}: {path}`"
            if stat.S_IMODE(info.st_mode) & 0o022:
                mode = stat.S_IMODE(info.st_mode)
                return path, f"can be written by others (mode {mode:04o})", f"`chmod go-w {path}`"
            if path in (home, "/"):
                return None
            path = os.path.dirname(path)
    except OSError:
        return None


def owner(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_keys(sshd, account, key):
    def first(setting, default=""):
        return sshd.get(setting, [default])[0]

    if first("pubkeyauthentication") == "no":
        cause(f"sshd accepts no keys: PubkeyAuthentication is no{at('pubkeyauthentication')}", "make it yes for this account")
    forced = first("forcecommand", "none")
    if forced != "none":
        cause(
            f"sshd runs `{forced}` in place of every command (ForceCommand{at('forcecommand')})",
            f"make an exception for {account.pw_name}",
        )
    if first("refuseconnection") == "yes":
        cause(f"sshd refuses every connection: RefuseConnection is yes{at('refuseconnection')}", "take it out")
    methods = [method for value in sshd.get("authenticationmethods", []) for method in value.split()]
    if methods and "any" not in methods and "publickey" not in methods:
        cause(
            f"sshd asks for more than a key: AuthenticationMethods {' '.join(methods)}{at('authenticationmethods')}",
            f"let `publickey` suffice for {account.pw_name}, such as in a Match block of its own",
        )
    algorithms = first("pubkeyacceptedalgorithms")
    if algorithms and "ssh-ed25519" not in algorithms.split(","):
        cause(
            f"sshd accepts no ed25519 keys: PubkeyAcceptedAlgorithms{at('pubkeyacceptedalgorithms')}",
            "add `ssh-ed25519` there",
        )
    files = [expanded(pattern, account) for pattern in first("authorizedkeysfile").split() if pattern != "none"]
    holding = [path for path in files if any(key in line.split() for line in lines_of(path))]
    command = first("authorizedkeyscommand", "none")
    own = os.path.join(account.pw_dir, ".ssh/authorized_keys")
    if not holding and command in ("none", "") or not holding and not files:
        where = " or ".join(files) or "no file"
        if own in files:
            cause(f"Ostler's key is not in {where}", f"put the line `ssh-ed25519 {key} ostler` back into {own}")
        else:
            cause(
                f"sshd looks for the keys of {account.pw_name} in {where}, and Ostler's is in {own}{at('authorizedkeysfile')}",
                f"add `.ssh/authorized_keys` to AuthorizedKeysFile, for {account.pw_name} at least",
            )
    if first("strictmodes", "yes") == "yes":
        for path in holding:
            found = loose(path, account)
            if found:
                path, what, hint = found
                cause(f"{path} {what}, and sshd does not trust keys that lie there (StrictModes)", hint)


def shadow(name):
    for line in lines_of("/etc/shadow"):
        fields = line.split(":")
        if fields[0] == name and len(fields) >= 8:
            return fields
    return None


def number(text):
    return int(text) if re.fullmatch("[0-9]+", text) else None


def day(count):
    return time.strftime("%Y-%m-%d", time.gmtime(count * 86400))


def check_account(sshd, account):
    name, today = account.pw_name, int(time.time()) // 86400
    shell = account.pw_shell or "/bin/sh"
    if not os.access(shell, os.X_OK):
        cause(f"the shell of {name}, {shell}, does not exist", f"`usermod -s /bin/bash {name}`")
    elif os.path.basename(shell) in ("nologin", "false"):
        cause(f"the shell of {name} is {shell}, which allows no login", f"`usermod -s /bin/bash {name}`")
    if not os.path.isdir(account.pw_dir):
        cause(f"{name} has no home: {account.pw_dir} is not there", f"`mkhomedir_helper {name}`")
    fields = shadow(name)
    if not fields:
        return
    changed, most, inactive, expires = (number(fields[index]) for index in (2, 4, 6, 7))
    if expires is not None and today >= expires:
        cause(f"the account {name} has expired on {day(expires)}", f"`chage -E -1 {name}`")
    if changed == 0:
        cause(f"the password of {name} must be changed at the next login", f"`chage -d {day(today)} {name}`")
    elif changed is not None and most is not None and most < 99999 and today > changed + most:
        dead = inactive is not None and today > changed + most + inactive
        words = "has expired, and the account with it" if dead else "has expired"
        cause(f"the password of {name} {words}", f"`chage -d {day(today)} {name}`, or `chage -M -1 {name}`")
    if fields[1].startswith("!") and sshd and sshd.get("usepam", ["no"])[0] != "yes":
        cause(f"the account {name} is locked, and sshd works without PAM{at('usepam')}", f"`usermod -p '*' {name}`")


def pam_lines():
    """Lines of account and session rules for sshd, as (file, number, words)."""
    found, seen = [], set()

    def look(name):
        path = os.path.join("/etc/pam.d", name)
        if path in seen:
            return
        seen.add(path)
        for index, line in enumerate(lines_of(path), 1):
            words = line.split("#")[0].split()
            if words[:1] == ["@include"] and len(words) > 1:
                look(words[1])
            elif len(words) >= 3:
                found.append((path, index, words))

    look("sshd")
    return found


def check_pam(account, groups, addr):
    for path, index, words in pam_lines():
        if words[0].lstrip("-") not in ("account", "session", "auth") or words[0] == "auth":
            continue
        if any(word.endswith("pam_access.so") for word in words):
            given = [word.split("=", 1)[1] for word in words if word.startswith("accessfile=")]
            check_access_conf(given[0] if given else "/etc/security/access.conf", account.pw_name, groups, addr)
        if any(word.endswith("pam_shells.so") for word in words):
            listed = [line.strip() for line in lines_of("/etc/shells")]
            if (account.pw_shell or "/bin/sh") not in listed:
                cause(
                    f"the shell of {account.pw_name}, {account.pw_shell}, is not in /etc/shells, which pam_shells asks for"
                    f" ({path}:{index})",
                    "add it there",
                )
    for path in ("/run/nologin", "/etc/nologin", "/var/run/nologin"):
        if account.pw_uid != 0 and os.path.exists(path):
            said = " ".join(lines_of(path))[:200]
            cause(f"{path} keeps everybody but root out: {said or 'it says nothing'}", f"`rm {path}` to allow logins again")
            return


def check_access_conf(file, user, groups, addr):
    for path in [file] + sorted(glob.glob("/etc/security/access.d/*.conf")):
        for index, line in enumerate(lines_of(path), 1):
            parts = [part.strip() for part in line.split("#")[0].split(":", 2)]
            if len(parts) != 3:
                continue
            sign, who, origins = parts
            who = re.split(r"[,\s]+", who)
            who, but = (who[: who.index("EXCEPT")], who[who.index("EXCEPT") + 1 :]) if "EXCEPT" in who else (who, [])

            def names(words):
                return any(word in ("ALL", user) or word.strip("()@") in groups for word in words)

            here = any(
                origin == "ALL" or host_matches(origin, addr) or origin.endswith(".") and addr.startswith(origin)
                for origin in re.split(r"[,\s]+", origins)
            )
            if names(who) and not names(but) and here:
                if sign.startswith("-"):
                    cause(f"pam_access keeps {user} out ({path}:{index}: `{line.strip()}`)", f"let {user} in by a line before it")
                return


def journal(user, addr):
    """What sshd said of this user or address in the last minutes."""
    _, out, _ = run(
        "journalctl", "-q", "--no-pager", "-o", "cat", "-n", "200", "-S", "-3min", "_COMM=sshd", "+", "_COMM=sshd-session",
        "+", "_COMM=sshd-auth",
    )
    lines = [line for line in out.splitlines() if re.search(rf"(^|\W){re.escape(user)}(\W|$)", line) or addr in line]
    skip = re.compile(r"^(Accepted|pam_unix\(sshd:session\)|Starting session|Received disconnect|Disconnected from|Connection from)")
    return [line[:300] for line in lines if not skip.search(line)][-4:]


def main(user, key, addr, laddr, lport):
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        cause(f"there is no user {user}", None)
        return
    groups = {grp.getgrgid(gid).gr_name for gid in os.getgrouplist(user, account.pw_gid) if known(gid)}
    sshd = settings(user, addr, laddr, lport)
    check_account(sshd, account)
    if sshd:
        check_lists(sshd, user, groups, addr)
        check_keys(sshd, account, key)
    if not sshd or sshd.get("usepam", ["no"])[0] == "yes":
        check_pam(account, groups, addr)


def known(gid):
    try:
        return bool(grp.getgrgid(gid))
    except KeyError:
        return False


main(*sys.argv[1:6])
print(json.dumps({"causes": causes, "log": journal(sys.argv[1], sys.argv[3])}))
