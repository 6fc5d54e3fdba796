#!/bin/sh
# Puts the settings back that a server had before Ostler changed them, unless Ostler confirms the new ones. What is saved and put back
# is the business of the guards in guard.d, one for each kind of setting; this keeps the clock and the journal.
# /var/lib/ostler/rollback/rollback, called by ostler-rollback.service and by Ostler:
#   arm SECONDS CLIENT ADDRESS PORT USER   saves the settings, if that is not done already, and sets the time; who logs in, from where and to where
#   extend SECONDS                         sets the time anew
#   disarm                                 the new settings stay
#   now                                    puts the old ones back
#   boot                                   puts the old files back if the machine was restarted in between
#   watch                                  waits for the time, and finishes what was cut off
# Exit status 3: nothing is armed (any more).
#
# The journal is three names for one file, changed by rename: `armed` (the clock runs), `restoring` (the old settings are being put back;
# whoever finds it goes on), `rolled-back` (they are back). A file that keeps its name keeps its space, so a full disk stops nothing.
set -u
umask 077
here=/var/lib/ostler/rollback
cd "$here" || exit 1
exec 9<>lock
log=log
{ : >>log; } 2>/dev/null || log=/dev/null
# There once the clock was watched since the machine was started: from then on daemons run that must be told of files that change.
running=/run/ostler-rollback-running

# Only what the shell does by itself: this is asked again and again, on slow servers too.
look_at_clock() {
  read -r up _ </proc/uptime
  up=${up%%.*}
  read -r this_boot </proc/sys/kernel/random/boot_id
}

set_time() {
  look_at_clock
  line="$this_boot $((up + $1))"
  { echo "$line" >armed.new && sync armed.new; } 2>/dev/null && mv armed.new armed && sync . && return
  # A full disk is no reason to let the clock run out: the space that the file has is enough.
  rm -f armed.new
  [ -s armed ] && echo "$line" 1<>armed && sync armed
}

is_of_this_boot() { look_at_clock && read -r boot deadline <armed && [ "$boot" = "$this_boot" ]; }

# A clock that can't be read has run out.
is_due() {
  [ -e armed ] || return 1
  is_of_this_boot 2>/dev/null || return 0
  [ "$up" -ge "$deadline" ] 2>/dev/null || case $deadline in *[!0-9]* | '') return 0 ;; *) return 1 ;; esac
}

locked() { flock 9 || exit 1; }

# Calls each guard with $1 and its folder in $2; all of them, whatever one of them says.
guards() {
  verb=$1 top=$2 failed=
  shift 2
  for guard in guard.d/*; do
    folder=$here/$top/${guard##*/}
    # Ostler 0.1 had one folder for all.
    [ -d "$folder" ] || folder=$here/$top
    sh "$guard" "$verb" "$folder" "$@" || failed=$guard
  done
  [ -z "$failed" ]
}

# The copies lie on the file system of /etc: there they can be put back without any space.
save() {
  rm -rf saved.new
  if [ "$(stat -c %d /etc)" = "$(stat -c %d .)" ]; then
    mkdir saved.new || return
  else
    rm -rf /etc/.ostler-rollback.new
    mkdir /etc/.ostler-rollback.new && ln -s /etc/.ostler-rollback.new saved.new || return
  fi
  for guard in guard.d/*; do mkdir "saved.new/${guard##*/}" || return; done
  # Half a copy must never be put back.
  guards save saved.new "$@" || return
  rm -rf saved
  if [ -L saved.new ]; then
    rm -rf saved.new /etc/.ostler-rollback
    mv -T /etc/.ostler-rollback.new /etc/.ostler-rollback && ln -s /etc/.ostler-rollback saved.new || return
  fi
  sync -f /etc "$here"
  mv -T saved.new saved && sync .
}

forget() { rm -rf saved saved.new /etc/.ostler-rollback /etc/.ostler-rollback.new; }

# The first line of the journal: when and why.
note() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" 1<>restoring; }

begin() {
  mv -T armed restoring 2>/dev/null || exit 3
  note "$1"
  sync restoring .
}

# Puts the old settings back; begun again, it ends the same. $1: `files` where nothing runs yet.
finish() {
  read -r when _ <restoring
  case $when in *T*Z) ;; *) note "what was cut off is done" ;; esac
  guards restore saved "${1-live}"
  status=$?
  [ "${1-live}" = live ] || return $status
  # Where files can't be put back, the way in still can.
  guards verify saved && [ $status = 0 ] || return
  sync -f /etc "$here"
  mv -T restoring rolled-back && sync .
} >>$log 2>&1

# After a boot, what systemd is about to start gets its chance first.
await_boot() {
  tries=60
  while [ $tries -gt 0 ] && timeout 10 systemctl --no-legend list-jobs 2>/dev/null | grep -qE ' (ssh|ufw|ostler-iptables|systemd-sysctl)\.'; do
    tries=$((tries - 1))
    sleep 1
  done
}

case $1 in
arm)
  locked
  # What is half put back must not be saved as if it were whole.
  if [ -e restoring ] && ! finish; then
    echo "settings from before can't be put back: $(tail -n 1 "$log")" >&2
    exit 1
  fi
  # What an interrupted run left armed is older than what is there now, and the last that was confirmed.
  seconds=$2
  shift 2
  [ -e armed ] || save "$@" || exit 1
  set_time "$seconds"
  ;;
extend)
  locked
  [ -e armed ] || exit 3
  set_time "$2"
  ;;
disarm)
  locked
  [ -e armed ] || exit 3
  # The new settings are on the disk before the old ones are given up.
  sync -f /etc "$here"
  mv -T armed disarmed 2>/dev/null || exit 3
  sync .
  rm -f disarmed
  forget
  ;;
now)
  locked
  [ -e restoring ] || begin "on request"
  finish
  ;;
boot)
  # The unit may also be started again because the watch was killed; what is left to do is the watch's then.
  [ ! -e $running ] || exit 0
  locked
  if [ -e armed ] && ! is_of_this_boot; then begin "the server was restarted before the new settings were confirmed"; fi
  [ ! -e restoring ] || finish files
  ;;
watch)
  : >$running
  pause=2
  while [ -e armed ] || [ -e restoring ]; do
    if [ -e restoring ] || is_due; then
      locked
      # Somebody may have set the clock anew, or stopped it, just now.
      if [ ! -e restoring ] && is_due; then begin "nobody confirmed the new settings in time"; fi
      if [ -e restoring ]; then
        await_boot
        finish || pause=$((pause < 16 ? pause * 2 : 30))
      fi
      flock -u 9
    fi
    sleep $pause
  done
  ;;
esac
