#!/bin/sh
# What a guest does with a DHCPv6 lease: called by ISC's dhclient with the event in $reason and the options in the
# environment. Writes the namespace's own resolv.conf by its true name, as udhcpc-script.sh does and says.
set -e
case "$reason" in
  BOUND6 | RENEW6 | REBIND6)
    ip -6 addr replace "$new_ip6_address/${new_ip6_prefixlen:-128}" dev "$interface"
    for server in ${new_dhcp6_name_servers:-}; do echo "nameserver $server"; done >"${RESOLV_CONF:?}"
    env >"$LEASE_FILE"
    ;;
esac
