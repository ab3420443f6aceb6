/**
 * What runs in the new namespaces before COMMAND, and for as long as it does: process 1 there, a POSIX shell.
 *
 * Descriptors: 3 is read (we say `go`; its end means that we are gone), 4 says how far it is (`up PID`, `on`, `failed WHY`),
 * 5 is the standard error that COMMAND gets, 7 is `/dev/net/tun`, which `host/tap-device` takes. The script's own errors go
 * to a file, whose first line is the reason.
 *
 * A shell's child in the foreground stays in the terminal's foreground group, with stdin and signals as they were. What
 * `wait`s for the end of 3 runs beside it and kills all there is; COMMAND's end ends process 1, and the kernel then kills
 * whatever is left.
 */
export const SCRIPT = `read -r pid rest </proc/self/stat
folder=$1 ping=$2 bounding=$3 keep=$4
shift 4
exec 2>"$folder/errors"
fail() {
  read -r why <"$folder/errors" || why=unknown
  echo "failed $1: $why" >&4
  exit 125
}
[ -c /dev/net/tun ] || {
  echo "no such device" >"$folder/errors"
  fail "/dev/net/tun cannot be opened"
}
exec 7<>/dev/net/tun || fail "/dev/net/tun cannot be opened"
echo "up $pid" >&4
read -r go <&3 || exit 125
exec 7>&-
for key in accept_ra accept_dad autoconf; do
  echo 0 >"/proc/sys/net/ipv6/conf/tap0/$key"
done 2>/dev/null
ip -batch "$folder/ip" || fail "the network cannot be set up"
echo "$ping" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null
: >"$folder/errors"
mount --bind "$folder/resolv.conf" /etc/resolv.conf || fail "/etc/resolv.conf cannot be replaced"
[ ! -e /etc/hosts ] || mount --bind "$folder/hosts" /etc/hosts || fail "/etc/hosts cannot be replaced"
for socket in /run/systemd/resolve/io.systemd.Resolve /run/nscd/socket /run/avahi-daemon/socket; do
  [ ! -S "$socket" ] || mount --bind /dev/null "$socket"
done
# Where that is not allowed (in some containers), processes see the host's, and nobody can be waited for.
mount -t proc proc /proc 2>/dev/null || keep=
{
  while read -r word; do :; done
  kill -KILL -1
} <&3 4>&- 5>&- &
echo on >&4
exec 2>&5 3<&- 4>&- 5>&-
trap : HUP INT QUIT TERM
setpriv --ambient-caps=-all --inh-caps=-all --bounding-set="$bounding" -- "$@"
status=$?
if [ "$keep" = keep ]; then
  # This shell, the one that waits for our end, and the one that counts.
  while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.2; done
fi
rm -rf "$folder"
exit $status
`;
