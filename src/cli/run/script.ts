/**
 * The script that runs in the new namespaces before COMMAND, and as long as COMMAND does. It is process 1 there, a
 * POSIX shell. The script, and all that it writes, are arguments of the shell. COMMAND could change a file, and some
 * shells read further in their script while it runs.
 *
 * Descriptor 3 is read: we write `made` when users are mapped and the TAP is there, and `go` when the network is
 * open. Its end means that we are gone. Descriptor 4 reports progress (`up PID`, `ready`, `on`, `failed WHY`).
 * Descriptor 5 is COMMAND's standard error. Descriptor 7 is `/dev/net/tun`, which `host/tap-device` takes.
 *
 * Everything is set up while we open the network. Before `go`, `cover` and a path cover one of our sockets.
 *
 * Files that COMMAND must not change are bind mounts from a file system that is read-only and has no other path: it
 * is mounted at a place that the new /proc then covers. Folders of daemons that look names up are covered whole,
 * since a daemon that starts again makes a new socket. Settings of the network (/proc/sys) are files that root may
 * write without any capability, so root's /proc/sys is made read-only. For other users the kernel refuses such
 * writes, and their /proc must stay uncovered: a sandbox inside COMMAND could not mount one otherwise.
 *
 * The folders in which processes of this user tell each other of their ports (`host/port-registry`) are replaced by
 * empty ones.
 *
 * A shell's child in the foreground stays in the terminal's foreground group, with stdin and signals as they were.
 * When COMMAND ends, process 1 ends, as it does when we end (`namespace`), and the kernel kills all other processes.
 */
export const SCRIPT = `read -r pid rest </proc/self/stat
ping=$1 bounding=$2 keep=$3 who=$4 setup=$5 resolver=$6 hosts=$7 emptied=$8
shift 8
fail() {
  echo "failed $1: \${why:-unknown}" >&4
  exit 125
}
# Does what follows the first word; where that fails, the first line of its errors says why the first word was not to be.
try() {
  what=$1
  shift
  why=$("$@" 2>&1) && return
  why=\${why%%"
"*}
  fail "$what"
}
writes() (
  umask 022
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec,size=1m tslirp "$own" && mkdir "$own/nothing" "$own/resolved" || exit
  for name in resolv.conf resolved/resolv.conf resolved/stub-resolv.conf; do
    printf %s "$resolver" >"$own/$name" || exit
  done
  printf %s "$hosts" >"$own/hosts" && chmod -R a=rX "$own" && mount -o remount,ro "$own"
)
opens() { : <>/dev/net/tun; }
sets_up() { printf %s "$setup" | ip -batch -; }
# Where there is a mount nothing can be renamed: the folder around it is one, too.
empties() { mount --rbind "\${1%/*}" "\${1%/*}" && mount -t tmpfs -o mode=700,nosuid,nodev,noexec,size=1m tslirp "$1"; }
closes() { mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys; }
[ -c /dev/net/tun ] || {
  why="no such device"
  fail "/dev/net/tun cannot be opened"
}
try "/dev/net/tun cannot be opened" opens
exec 7<>/dev/net/tun
echo "up $pid" >&4
read -r made <&3 || exit 125
exec 7>&-
for key in accept_ra accept_dad autoconf; do
  echo 0 >"/proc/sys/net/ipv6/conf/tap0/$key"
done 2>/dev/null
try "the network cannot be set up" sets_up
echo "$ping" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null
own=/proc/driver
try "its own files cannot be made" writes
for run in /run /var/run; do
  [ ! -L "$run" ] || continue
  for cover in resolved:systemd/resolve nothing:nscd nothing:avahi-daemon; do
    place=$run/\${cover#*:}
    [ ! -d "$place" ] || try "$place cannot be covered" mount --bind "$own/\${cover%%:*}" "$place"
  done
done
set -f
IFS="
"
for place in $emptied; do
  unset IFS
  try "$place cannot be emptied" empties "$place"
done
unset IFS
set +f
try "/etc/resolv.conf cannot be replaced" mount --bind "$own/resolv.conf" /etc/resolv.conf
[ ! -e /etc/hosts ] || try "/etc/hosts cannot be replaced" mount --bind "$own/hosts" /etc/hosts
# Where that is not allowed (in some containers), processes see the host's, and nobody can be waited for.
mount -t proc proc /proc 2>/dev/null || keep=
[ "$who" = user ] || try "/proc/sys cannot be made read-only" closes
echo ready >&4
while read -r word <&3 || exit 125; do
  [ "$word" = cover ] || break
  IFS= read -r place <&3 || exit 125
  # A file that is read-only already: who connects to it is refused.
  try "$place cannot be covered" mount --bind /etc/resolv.conf "$place"
done
echo on >&4
exec 2>&5 3<&- 4>&- 5>&-
trap : HUP INT QUIT TERM
setpriv --ambient-caps=-all --inh-caps=-all --bounding-set="$bounding" -- "$@"
status=$?
if [ "$keep" = keep ]; then
  while set -- /proc/[0-9]*; [ $# -gt 1 ]; do sleep 0.2; done
fi
exit $status
`;
