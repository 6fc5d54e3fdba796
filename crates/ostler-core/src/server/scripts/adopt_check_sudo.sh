# Run as root: whether sudo makes the user $1 root without a password and without a terminal, as Ostler needs it. Where it does not, its
# own words come first, and then the file whose rule wins, if one does: the last one that matches.
set -u
said=$(runuser -u "$1" -- sudo -n true 2>&1 </dev/null) && exit 0
printf '%s\n' "$said" | grep -v 'unable to resolve host' >&2
# Under `requiretty` root, too, needs a terminal.
script -qc "sudo -ll -U $1" /dev/null </dev/null 2>/dev/null | tr -d '\r' | sed -n 's/^Sudoers entry: //p' | tail -n 1
exit 1
