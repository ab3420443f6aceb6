/**
 * The script that runs in the new namespaces before COMMAND, and as long as COMMAND does. It is process 1 there, a
 * POSIX shell. The script, and all that it writes, are arguments of the shell or come by descriptor 3. COMMAND could
 * change a file, and some shells read further in their script while it runs.
 *
 * Descriptor 3 is read, and its end means that we are gone. We write `mapped` when users are mapped; `made` when the
 * TAP is there, with the settings behind it (`keep` or `end`, then the commands for `ip -batch`, an empty line,
 * resolv.conf and an empty line); and `go` when the network is open. Descriptor 4 reports progress (`up PID`, `ready`,
 * `on`, `failed WHY`). Descriptor 5 is COMMAND's standard error. Descriptor 7 is `/dev/net/tun`, which
 * `host/tap-device` takes. Descriptor 8 is the resolv.conf that COMMAND will see.
 *
 * What needs no settings is set up while we are still loading our code (`early`), the rest while we open the network.
 * Before `go`, `cover` and a path, as `printf %b` reads it, cover one of our sockets.
 *
 * Files that COMMAND must not change are bind mounts from a file system that is read-only by then and has no other
 * path: it is mounted at a place that the new /proc then covers. Folders of daemons that look names up are covered
 * whole, since a daemon that starts again makes a new socket. Settings of the network (/proc/sys) are files that root
 * may write without any capability, so root's /proc/sys is made read-only. For other users the kernel refuses such
 * writes, and their /proc must stay uncovered: a sandbox inside COMMAND could not mount one otherwise. The TAP does not
 * exist yet when /proc/sys is closed, so its settings are those that new devices get; nobody inside can make another.
 *
 * The folders in which processes of this user tell each other of their ports (`host/port-registry`) are replaced by
 * empty ones.
 *
 * The shell passes COMMAND its environment on. So its own variables have names that no other program uses, and `namespace`
 * passes what a shell would change or lose.
 *
 * A shell's child in the foreground stays in the terminal's foreground group, with stdin and signals as they were.
 * When COMMAND ends, process 1 ends, as it does when we end (`namespace`), and the kernel kills all other processes.
 */
export const SCRIPT = `read -r tslirp_pid tslirp_rest </proc/self/stat
tslirp_ping=$1 tslirp_bounding=$2 tslirp_who=$3 tslirp_hosts=$4 tslirp_table=$5
shift 5
fail() {
  echo "failed $1: \${tslirp_why:-unknown}" >&4
  exit 125
}
# Does what follows the first word; where that fails, the first line of its errors says why the first word was not to be.
try() {
  tslirp_what=$1
  shift
  tslirp_why=$("$@" 2>&1) && return
  tslirp_why=\${tslirp_why%%"
"*}
  fail "$tslirp_what"
}
makes() (
  umask 222
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec,size=1m tslirp "$tslirp_own" || exit
  : >"$tslirp_own/resolv.conf" && printf %s "$tslirp_hosts" >"$tslirp_own/hosts" || exit
  [ -z "$tslirp_covers" ] || mkdir "$tslirp_own/nothing" "$tslirp_own/resolved" || exit
  [ -z "$tslirp_resolved" ] || {
    ln "$tslirp_own/resolv.conf" "$tslirp_own/resolved/resolv.conf" && ln "$tslirp_own/resolv.conf" "$tslirp_own/resolved/stub-resolv.conf"
  }
)
# All in one process, in this order.
mounts() { printf %s "$tslirp_table" >"$tslirp_own/fstab" && mount --all --fstab "$tslirp_own/fstab"; }
opens() { : <>/dev/net/tun; }
sets_up() { printf %s "$tslirp_setup" | ip -batch -; }
closes() { mount -o bind,ro,nosuid,nodev,noexec /proc/sys /proc/sys; }
# With a source, since \`mount\` repeats the options of before otherwise: in a namespace whose root is no root outside, the
# kernel does not take its own uid= back.
freezes() { mount -o remount,ro,mode=755,nosuid,nodev,noexec tslirp /etc/resolv.conf; }
# The lines up to an empty one.
lines() {
  tslirp_read=
  while IFS= read -r tslirp_line <&3 || exit 125; do
    [ -n "$tslirp_line" ] || return 0
    tslirp_read="$tslirp_read$tslirp_line
"
  done
}
[ -c /dev/net/tun ] || {
  tslirp_why="no such device"
  fail "/dev/net/tun cannot be opened"
}
try "/dev/net/tun cannot be opened" opens
exec 7<>/dev/net/tun
for tslirp_key in accept_ra accept_dad autoconf; do
  echo 0 >"/proc/sys/net/ipv6/conf/default/$tslirp_key"
done 2>/dev/null
echo "up $tslirp_pid" >&4
read -r tslirp_word <&3 || exit 125
tslirp_own=/proc/driver tslirp_covers= tslirp_resolved=
for tslirp_run in /run /var/run; do
  [ ! -L "$tslirp_run" ] || continue
  for tslirp_cover in resolved:systemd/resolve nothing:nscd nothing:avahi-daemon; do
    tslirp_place=$tslirp_run/\${tslirp_cover#*:}
    [ -d "$tslirp_place" ] || continue
    tslirp_covers=$tslirp_covers"$tslirp_own/\${tslirp_cover%%:*} $tslirp_place none bind
"
    [ "\${tslirp_cover%%:*}" = nothing ] || tslirp_resolved=yes
  done
done
try "its own files cannot be made" makes
exec 8>"$tslirp_own/resolv.conf"
tslirp_table=$tslirp_covers$tslirp_table"$tslirp_own/resolv.conf /etc/resolv.conf none bind
"
[ ! -e /etc/hosts ] || tslirp_table=$tslirp_table"$tslirp_own/hosts /etc/hosts none bind
"
try "its own files cannot be mounted" mounts
echo "$tslirp_ping" >/proc/sys/net/ipv4/ping_group_range 2>/dev/null
# Where that is not allowed (in some containers), processes see the host's, and nobody can be waited for.
tslirp_waits=keep
mount -t proc proc /proc 2>/dev/null || tslirp_waits=
[ "$tslirp_who" = user ] || try "/proc/sys cannot be made read-only" closes
read -r tslirp_word <&3 || exit 125
exec 7>&-
read -r tslirp_keep <&3 || exit 125
lines
tslirp_setup=$tslirp_read
lines
printf %s "$tslirp_read" >&8
exec 8>&-
freezes 2>/dev/null &
tslirp_frozen=$!
try "the network cannot be set up" sets_up
wait "$tslirp_frozen" || try "/etc/resolv.conf cannot be made read-only" freezes
echo ready >&4
while read -r tslirp_word <&3 || exit 125; do
  [ "$tslirp_word" = cover ] || break
  read -r tslirp_place <&3 || exit 125
  # The dot keeps a newline at the end.
  tslirp_place=$(printf %b. "$tslirp_place")
  tslirp_place=\${tslirp_place%.}
  # A file that is read-only already: who connects to it is refused.
  try "$tslirp_place cannot be covered" mount --bind /etc/resolv.conf "$tslirp_place"
done
echo on >&4
exec 2>&5 3<&- 4>&- 5>&-
trap : HUP INT QUIT TERM
setpriv --ambient-caps=-all --inh-caps=-all --bounding-set="$tslirp_bounding" -- "$@"
tslirp_status=$?
if [ "$tslirp_keep" = keep ] && [ -n "$tslirp_waits" ]; then
  while set -- /proc/[0-9]*; [ $# -gt 1 ]; do sleep 0.2; done
fi
exit $tslirp_status
`;
