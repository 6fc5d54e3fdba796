# Keeps a lab: gives it a number and namespaces of its own, and removes it all when standard input ends, which is when the
# test process is gone, however it went. Arguments: the folder for the labs' files.
# Says on standard output: the lab's number and the process that its namespaces are told by; then `ready`.
#
# All processes are in one PID namespace and all mounts in one mount namespace, so the kernel itself ends and unmounts them.
# Left are one network device, cgroups and files. /run/ostler-lab/N is locked for as long as lab N lives and names its folder:
# what can be locked, and names one, belongs to a keeper that was killed, and is swept here.
trap '' HUP INT TERM
state=/run/ostler-lab
mkdir -p "$state" "$1"

# What lab $1 left on this machine.
clear_lab() {
    ip link delete "ot$1" 2>/dev/null
    for top in /sys/fs/cgroup/"ot$1"-* /sys/fs/cgroup/*/"ot$1"-*; do
        # A cgroup can't be removed until its last process is reaped.
        tries=50
        while [ -d "$top" ] && [ $tries -gt 0 ]; do
            find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
            tries=$((tries - 1))
        done
    done
    folder=$(cat "$state/$1")
    # Disks of targets, whose mounts are gone with their namespaces.
    losetup --list --noheadings --output NAME,BACK-FILE 2>/dev/null | while read -r device file; do
        case $file in "$folder"/*) [ -z "$folder" ] || losetup --detach "$device" ;; esac
    done
    [ -z "$folder" ] || rm -rf --one-file-system "$folder"
    : >"$state/$1"
}

for file in "$state"/*; do
    [ -e "$file" ] || continue
    exec 8<>"$file"
    if flock -n 8 && [ -s "$file" ]; then clear_lab "${file##*/}"; fi
done
exec 8>&-

# Not always from 1: a number that was given back should not be another's at once.
number=$(($$ % 249 + 1)) tries=249
while exec 9<>"$state/$number"; ! flock -n 9; do
    number=$((number % 249 + 1)) tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "all labs are in use" >&2; exit 1; }
done
folder=$1/lab-$number
echo "$folder" >"$state/$number"
rm -rf --one-file-system "$folder"
mkdir "$folder"

# A /run of its own: the names of network namespaces and nspawn's own files are in there. The first process reaps those of targets that
# were killed.
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc sh -c \
    'mount -t tmpfs tmpfs /run && mkdir /run/netns && echo ready && exec >/dev/null && { sleep infinity & wait; }' 9>&- </dev/null 2>"$folder/namespaces.log" &
namespaces=$!
echo "$number $namespaces"
exec >/dev/null
cat 9>&-
# Once the first process of a PID namespace is reaped, all others are gone.
kill -KILL $(cat "/proc/$namespaces/task/$namespaces/children")
wait
clear_lab "$number"
