# `address ADDRESS`: the server's own address in each family, for scripts that tell it with something else.
# Documentation addresses: nobody is asked, the kernel only says which address of ours it would take.
for far in 192.0.2.1 2001:db8::1; do
  ip route get "$far" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/address \1/p'
done
