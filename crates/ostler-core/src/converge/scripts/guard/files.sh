# What guards share: copies of files, and how they get back. Read by them from /var/lib/ostler/rollback/files.
#
# A copy lies in the guard's folder under the path of its original. The folder's file `paths` names all that was looked at, so that
# what was not there then can go again.

newline='
'
# A guard's `changing` is called before anything is put back or taken away.
changing() { :; }

# Copies each path into $saved. What is not there is noted too.
save_paths() {
  for path; do
    echo "$path" >>"$saved/paths"
    [ -e "$path" ] || [ -L "$path" ] || continue
    mkdir -p "$saved${path%/*}" && cp -aT "$path" "$saved$path" || return
  done
}

# Two files, links or missing files that are the same to whoever reads them.
same() {
  if [ -L "$1" ] || [ -L "$2" ]; then
    [ "$(readlink "$1")" = "$(readlink "$2")" ]
  else
    cmp -s "$1" "$2" && [ "$(stat -c '%a %u %g' "$1")" = "$(stat -c '%a %u %g' "$2")" ]
  fi
}

staged() { echo "${1%/*}/.${1##*/}.ostler-new"; }

# Puts a copy of $1 beside $2, where it is one rename away.
stage() {
  beside=$(staged "$2")
  [ -d "${2%/*}" ] || mkdir -p "${2%/*}" || return
  rm -rf "$beside"
  if cp -a "$1" "$beside" && same "$1" "$beside"; then return; fi
  # On a full disk, another name for the copy needs no space.
  rm -f "$beside"
  ln -P "$1" "$beside" && same "$1" "$beside"
}

# Puts what save_paths saved back; nothing is taken away before all that replaces it is there. New files go from the folders in $pruned.
# Nothing is synced here: the journal says `restoring` until all is on the disk, and whoever finds that after a power cut begins again.
restore_paths() {
  swaps= gone= rest=$IFS
  IFS=$newline
  set -f
  for path in $(cat "$saved/paths" 2>/dev/null || echo "${paths_before_0_2-}"); do
    if [ ! -e "$saved$path" ] && [ ! -L "$saved$path" ]; then
      if [ -e "$path" ] || [ -L "$path" ]; then gone="$gone$newline$path"; fi
      continue
    fi
    for copy in $(find "$saved$path" -type d); do
      original=${copy#"$saved"}
      [ -d "$original" ] || { rm -f "$original" && mkdir -p "$original" && chmod --reference="$copy" "$original"; }
    done
    for copy in $(find "$saved$path" ! -type d); do
      original=${copy#"$saved"}
      same "$copy" "$original" && continue
      stage "$copy" "$original" || { IFS=$rest; set +f; return 1; }
      swaps="$swaps$newline$original"
    done
  done
  for folder in ${pruned-}; do
    [ -d "$saved$folder" ] && [ -d "$folder" ] || continue
    for original in $(find "$folder/" ! -type d ! -name '.*.ostler-new'); do
      [ -e "$saved$original" ] || [ -L "$saved$original" ] || gone="$gone$newline$original"
    done
  done
  [ -z "$swaps$gone" ] || changing
  for original in $swaps; do
    [ ! -d "$original" ] || [ -L "$original" ] || rm -rf "$original"
    mv -T "$(staged "$original")" "$original" || { IFS=$rest; set +f; return 1; }
    echo "put back $original"
  done
  for original in $gone; do
    rm -rf "$original"
    echo "took away $original"
  done
  # Of a try that was cut off.
  for folder in ${pruned-}; do
    [ ! -d "$folder" ] || find "$folder/" -name '.*.ostler-new' -delete
  done
  IFS=$rest
  set +f
}
