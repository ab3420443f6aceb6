/** The arguments to append to QEMU's, so that it attaches to us. */
import type { AttachAddress, DgramAddress, StreamAddress } from "../attach/address.ts";
import { escapeValue } from "./qemu-options.ts";

/**
 * The two options for a guest with a virtio card on netdev `id`. None for a WebSocket, since QEMU cannot attach by
 * one. For `udp:`, QEMU takes a port of its own, which we learn from its first datagram.
 */
export function qemuArgs(id: string, address: AttachAddress): string[] {
  if (address.kind === "ws") return [];
  if (address.kind === "vhost-user") {
    return [
      ...sharedMemoryArguments(id, "512M"),
      ...vhostUserArguments(id, address.path),
      ...["-device", `virtio-net-pci,netdev=${id}`],
    ];
  }
  return ["-netdev", netdevArgument(id, address), "-device", `virtio-net-pci,netdev=${id}`];
}

/** Makes `size` of memory for the guest that another process can map. QEMU's `-m` must name the same size. */
export function sharedMemoryArguments(id: string, size: string): string[] {
  const memory = `${id}-memory`;
  return [
    ...["-m", size, "-object", `memory-backend-memfd,id=${memory},size=${size},share=on`],
    ...["-machine", `memory-backend=${memory}`],
  ];
}

/** The options for a netdev `id` over a vhost-user back-end's socket. */
export function vhostUserArguments(id: string, path: string): string[] {
  const chardev = `${id}-cable`;
  return [
    ...["-chardev", `socket,id=${chardev},path=${escapeValue(path)}`],
    ...["-netdev", `vhost-user,id=${id},chardev=${chardev}`],
  ];
}

/** The value of `-netdev` for a QEMU of 7.2 or later. */
export function netdevArgument(id: string, address: StreamAddress | DgramAddress): string {
  if (address.kind === "unix") {
    return `stream,id=${id},server=off,addr.type=unix,addr.path=${escapeValue(address.path)}`;
  }
  const host = reachable(address.host);
  if (address.kind === "tcp") {
    return `stream,id=${id},server=off,addr.type=inet,addr.host=${escapeValue(host)},addr.port=${address.port}`;
  }
  // A sender to QEMU's port can put frames on the guest's cable. So if we are on loopback, QEMU listens there only.
  const local = host === "::1" || host.startsWith("127.") ? host : host.includes(":") ? "::" : "0.0.0.0";
  return `dgram,id=${id},local.type=inet,local.host=${local},local.port=0,remote.type=inet,remote.host=${escapeValue(host)},remote.port=${address.port}`;
}

/** The address that a QEMU on this host dials: loopback if we listen on all addresses. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  return host === "::" ? "::1" : host;
}

/** Arguments as one line for a POSIX shell. */
export function shellLine(args: readonly string[]): string {
  return args
    .map((arg) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}
