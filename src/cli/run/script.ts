/**
 * What runs in the new namespaces before COMMAND, and for as long as it does: process 1 there, a POSIX shell.
 *
 * Descriptors: 3 is read (we say `mapped` when it has its users, and `go` when it has its TAP; its end means that we are gone),
 * 4 says how far it is (`up PID`, `ready`, `on`, `failed WHY`), 5 is the standard error that COMMAND gets, 7 is
 * `/dev/net/tun`, which `host/tap-device` takes. The script's own errors go to a file, whose first line is the reason.
 *
 * What needs no TAP is done first: meanwhile we load the network.
 *
 * What COMMAND must not change is bound over from a file system of its own, which is read-only and has no other path: a file in
 * the host's folder for temporary files would be the user's to write. It is mounted where the new /proc then covers it. Folders of daemons that look names up are covered
 * whole, since a daemon that starts again binds a new socket. Settings of the network (/proc/sys) are files that root may
 * write without any capability; of an ordinary user's command the kernel refuses that, and /proc stays uncovered, or no
 * sandbox in COMMAND could mount one.
 *
 * A shell's child in the foreground stays in the terminal's foreground group, with stdin and signals as they were. What
 * `wait`s for the end of 3 runs beside it and kills all there is; COMMAND's end ends process 1, and the kernel then kills
 * whatever is left.
 */
export const SCRIPT = `read -r pid rest </proc/self/stat
folder=$1 ping=$2 bounding=$3 keep=$4 who=$5
shift 5
exec 2>"$folder/errors"
fail() {
  read -r why <"$folder/errors" || why=unknown
  echo "failed $1: $why" >&4
  exit 125
}
# Who began this has ended, and cannot clean up.
gone() {
  rm -rf "$folder"
  exit 125
}
[ -c /dev/net/tun ] || {
  echo "no such device" >"$folder/errors"
  fail "/dev/net/tun cannot be opened"
}
exec 7<>/dev/net/tun || fail "/dev/net/tun cannot be opened"
echo "up $pid" >&4
read -r mapped <&3 || gone
echo "$ping" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null
: >"$folder/errors"
own=/proc/driver
{
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec,size=1m tslirp "$own" &&
    cp -R "$folder/covers/." "$own" && chmod -R a=rX "$own" && mount -o remount,ro "$own"
} || fail "its own files cannot be made"
for run in /run /var/run; do
  [ ! -L "$run" ] || continue
  for cover in resolved:systemd/resolve nothing:nscd nothing:avahi-daemon; do
    place=$run/\${cover#*:}
    [ ! -d "$place" ] || mount --bind "$own/\${cover%%:*}" "$place" || fail "$place cannot be covered"
  done
done
mount --bind "$own/resolv.conf" /etc/resolv.conf || fail "/etc/resolv.conf cannot be replaced"
[ ! -e /etc/hosts ] || mount --bind "$own/hosts" /etc/hosts || fail "/etc/hosts cannot be replaced"
# Where that is not allowed (in some containers), processes see the host's, and nobody can be waited for.
mount -t proc proc /proc 2>/dev/null || keep=
echo ready >&4
read -r go <&3 || gone
exec 7>&-
for key in accept_ra accept_dad autoconf; do
  echo 0 >"/proc/sys/net/ipv6/conf/tap0/$key"
done 2>/dev/null
: >"$folder/errors"
ip -batch "$folder/ip" || fail "the network cannot be set up"
[ "$who" = user ] || {
  mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys
} || fail "/proc/sys cannot be made read-only"
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
