# Run as root on a server whose tunnel is taken away: ends its end of it. The package stays.
set -u
systemctl -q disable --now ostler-cloudflared.service 2>/dev/null
rm -f /etc/systemd/system/ostler-cloudflared.service /etc/cloudflared/ostler-token
rmdir /etc/cloudflared 2>/dev/null
systemctl daemon-reload
exit 0
