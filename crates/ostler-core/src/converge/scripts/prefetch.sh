# Run as root while Ansible is still on its way: fetches the index, or where that is fresh the packages ($@) that a run will
# install, and installs nothing. Who installs waits for the lock. A failure is no matter: the task that installs has the same, and
# says so.
set -u
exec 9>/run/ostler-prefetch.lock
flock -n 9 || exit 0
known=$(dpkg-query --show --showformat='${Package}=${db:Status-Status} ' "$@" 2>/dev/null)
missing=
for package; do
  case " $known" in
  *" $package=installed "*) ;;
  *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# What can't be fetched at the first try, the task tries again.
get="apt-get -q -y -o Acquire::Retries=0"
lists=/var/lib/apt/lists
# As old as the task itself accepts it.
if [ -z "$(find $lists -maxdepth 1 -name '*_Packages*' 2>/dev/null)" ] ||
  [ -z "$(find $lists $lists/partial -maxdepth 0 -mmin -1440 2>/dev/null)" ]; then
  # By the time that this is done Ansible has come, and opening apt's cache once more than needed costs a second.
  exec $get -o Acquire::Languages=none update
fi
$get --no-install-recommends --download-only install $missing
