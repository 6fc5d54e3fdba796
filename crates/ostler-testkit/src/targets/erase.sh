# Removes what is left of a target that is off. Runs in the lab's namespaces. Arguments: lab's number, target's number, its folder.
lab=$1 number=$2 folder=$3
ip netns delete "t$number" 2>/dev/null
umount "$folder/root"
mountpoint -q "$folder/disk" && umount "$folder/disk"
rm -rf --one-file-system "$folder"
for top in /sys/fs/cgroup/"ot$lab-$number" /sys/fs/cgroup/*/"ot$lab-$number"; do
    # A cgroup can't be removed until its last process is reaped.
    tries=50
    while [ -d "$top" ] && [ $tries -gt 0 ]; do
        find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        tries=$((tries - 1))
    done
done
[ ! -e "$folder" ]
