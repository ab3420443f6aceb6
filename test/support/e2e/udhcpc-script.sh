#!/bin/sh
# What a guest does with a lease: called by busybox udhcpc with the event in $1 and the options in the environment.
# Writes the namespace's own resolv.conf by its true name: /etc is the machine's, and namespaces do not divide files.
set -e
case "$1" in
  bound | renew)
    ip addr flush dev "$interface" scope global
    ip addr add "$ip/$mask" dev "$interface"
    # The MTU offered is not taken: see guest.ts.
    for gateway in ${router:-}; do ip route replace default via "$gateway" dev "$interface"; done
    {
      [ -z "${search:-}" ] || echo "search $search"
      for server in ${dns:-}; do echo "nameserver $server"; done
    } >"${RESOLV_CONF:?}"
    # Where the test looks for the options' values.
    env >"$LEASE_FILE"
    ;;
esac
