# Boots a target until it powers off or is killed. Runs in the lab's namespaces. Arguments: lab's number, target's number,
# its folder, further options of systemd-nspawn.
#
# Each boot has a network namespace of its own: firewall rules and network settings don't survive a reboot of a real server
# either. And each target has a cgroup of its own, entered before nspawn starts: else targets share their units' cgroups,
# and stop each other's services. On a machine with both kinds of cgroups, nspawn uses these two hierarchies.
lab=$1 number=$2 folder=$3
shift 3
cgroups=/sys/fs/cgroup
[ -e $cgroups/cgroup.procs ] || cgroups="$cgroups/unified $cgroups/systemd"
for hierarchy in $cgroups; do
    mkdir -p "$hierarchy/ot$lab-$number"
    echo 0 >"$hierarchy/ot$lab-$number/cgroup.procs" || exit
done
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes SYSTEMD_SECCOMP=0
while :; do
    ip -force -batch "$folder/unplug" 2>/dev/null
    ip netns delete "t$number" 2>/dev/null
    ip netns add "t$number" || exit
    ip -batch "$folder/outside" || exit
    [ -e "$folder/cut" ] || ip -batch "$folder/plug" || exit
    ip -n "t$number" -batch "$folder/inside" || exit
    # nspawn mounts /sys before it enters the namespace that it is told, and so is put into it: else the target's facts speak of the
    # lab's network.
    nsenter --net="/run/netns/t$number" \
        systemd-nspawn --quiet --register=no --keep-unit --boot --directory="$folder/root" --machine="t$number" \
        --network-namespace-path="/run/netns/t$number" --resolv-conf=off --timezone=off --link-journal=no \
        --capability=all --private-users=no --console=pipe --kill-signal=SIGRTMIN+4 "$@"
    # With --keep-unit nspawn leaves a reboot to whoever started it: systemd-nspawn(1), 133.
    [ $? = 133 ] || break
done
# Nothing answers for a server that is off.
ip -force -batch "$folder/unplug" 2>/dev/null
