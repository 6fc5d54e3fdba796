# Run as root, with a key and a chain of certificates in PEM as input: has the Traefik with its settings in $1, which it knows as $2, serve
# them on port $3. $4 names the files, $5 is the fingerprint and $6 the serial number of the certificate; the rest are names to ask for.
set -eu
folder=$1 seen=$2 port=$3 name=$4 fingerprint=$5 serial=$6
shift 6
certificates=$folder/certificates settings=$folder/dynamic/certificate-$name.yml
[ -d "$certificates" ] && [ -d "$folder/dynamic" ] || { echo "there is no Traefik: $certificates and $folder/dynamic are missing" >&2; exit 3; }
command -v openssl >/dev/null || { echo "openssl is missing, without which nobody sees what is served" >&2; exit 3; }

umask 077
work=$(mktemp -d "$certificates/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/all"
sed '/^-----BEGIN CERTIFICATE/,$d' "$work/all" >"$work/key"
sed -n '/^-----BEGIN CERTIFICATE/,$p' "$work/all" >"$work/crt"
chgrp "$(stat -c %g "$certificates")" "$work/key" "$work/crt"
chmod 0640 "$work/key" "$work/crt"
for kind in key crt; do
  file=$certificates/$name-$fingerprint.$kind
  cmp -s "$work/$kind" "$file" || { sync "$work/$kind"; mv "$work/$kind" "$file"; }
done
cat >"$work/yml" <<EOF
tls:
  certificates:
    - certFile: $seen/certificates/$name-$fingerprint.crt
      keyFile: $seen/certificates/$name-$fingerprint.key
EOF
chmod 0644 "$work/yml"
# Beside its place first: both folders may be file systems of their own. Traefik reads names that end in .yml only.
cmp -s "$work/yml" "$settings" || { cp -p "$work/yml" "$settings.new"; sync "$settings.new"; mv "$settings.new" "$settings"; }

served() {
  timeout 10 openssl s_client -connect "127.0.0.1:$port" -servername "$1" </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null | sed 's/^serial=//'
}
tries=0
for host in "$@"; do
  while now=$(served "$host") || true; [ "$now" != "$serial" ]; do
    tries=$((tries + 1))
    [ $tries -lt 120 ] || { echo "port $port serves the certificate ${now:-(none)} for $host, and not $serial; the old files are still there" >&2; exit 4; }
    sleep 0.5
  done
done
for file in "$certificates/$name"-????????????????.key "$certificates/$name"-????????????????.crt; do
  case $file in *"-$fingerprint."*) ;; *) rm -f "$file" ;; esac
done
