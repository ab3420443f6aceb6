/**
 * A segment of other machines, in a namespace that a cable joins to the host's, and VXLAN over that:
 *
 *     host namespace                        segment namespace
 *       und0 10.96.0.1 ─────────────────── und1 10.96.0.2
 *       tslirp ═══ VXLAN, UDP port 4789 ═══ vx0 (the kernel's) ── br0 192.168.77.1 ── udhcpd, services
 *
 * Where the kernel has no `vxlan` device or no bridge, the far end is another tslirp: the same addresses, its own DHCP.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Backend } from "./backend.ts";
import { Namespace } from "./namespace.ts";

export const HERE = "10.96.0.1";
export const THERE = "10.96.0.2";
export const VNI = 42;
export const ROUTER = "192.168.77.1";

/** Joins two namespaces by a cable; names and addresses (`IP/PREFIX`) of its ends. */
export function joinNamespaces(
  a: Namespace,
  [aName, aAddress]: readonly [string, string],
  b: Namespace,
  [bName, bAddress]: readonly [string, string],
): void {
  a.ip("link", "add", aName, "type", "veth", "peer", "name", bName, "netns", b.name);
  for (const [namespace, name, address] of [
    [a, aName, aAddress],
    [b, bName, bAddress],
  ] as const) {
    namespace.ip("addr", "add", address, "dev", name);
    namespace.ip("link", "set", name, "up");
  }
}

export class Segment {
  readonly namespace: Namespace;
  /** Why the kernel cannot be its end; null when it is. */
  readonly lacking: string | null;

  private constructor(namespace: Namespace, lacking: string | null) {
    this.namespace = namespace;
    this.lacking = lacking;
  }

  /** For a host's `prepare`: with `count` ways to it, VNIs 42 and on at ports 4789 and on, all in one bridge. */
  static async join(host: Namespace, folder: string, count = 1): Promise<Segment> {
    const namespace = new Namespace("segment");
    joinNamespaces(host, ["und0", `${HERE}/24`], namespace, ["und1", `${THERE}/24`]);
    let lacking: string | null = null;
    try {
      namespace.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
      for (let i = 0; i < count; i++) {
        const ends = ["local", THERE, "remote", HERE, "dstport", `${4789 + i}`];
        namespace.ip("link", "add", `vx${i}`, "type", "vxlan", "id", `${VNI + i}`, ...ends);
        namespace.ip("link", "set", `vx${i}`, "master", "br0", "up");
      }
    } catch (error) {
      lacking = String(error).replaceAll(/\s+/g, " ");
      process.stderr.write(`NOTE: the kernel cannot be VXLAN's other end (${lacking}): it is another tslirp\n`);
    }
    if (lacking === null) await kernelsEnd(namespace, folder);
    else await ourEnd(namespace, folder);
    return new Segment(namespace, lacking);
  }

  /** Frames that have come to the kernel's end by now. */
  async received(device: string): Promise<number> {
    const { stdout } = await this.namespace.sh(`cat /sys/class/net/${device}/statistics/rx_packets`);
    return Number(stdout);
  }

  close(): Promise<void> {
    return this.namespace.close();
  }
}

/** The bridge's own address and DHCP server. */
async function kernelsEnd(namespace: Namespace, folder: string): Promise<void> {
  namespace.ip("addr", "add", `${ROUTER}/24`, "dev", "br0");
  namespace.ip("link", "set", "br0", "up");
  // Between namespaces the kernel leaves checksums and segmentation to whoever reads last; a network card would do both.
  for (const device of ["br0", "vx0", "und1"])
    await namespace.run("ethtool", ["-K", device, "tx", "off", "tso", "off", "gso", "off"]);
  const file = join(folder, "udhcpd.conf");
  const leases = join(folder, "udhcpd.leases");
  writeFileSync(leases, "");
  writeFileSync(
    file,
    [
      ...["start 192.168.77.100", "end 192.168.77.110", "interface br0"],
      ...[`lease_file ${leases}`, `pidfile ${join(folder, "udhcpd.pid")}`],
      ...["option subnet 255.255.255.0", `option router ${ROUTER}`, "option lease 3600", "option mtu 1450", ""],
    ].join("\n"),
  );
  namespace.spawn("busybox", ["udhcpd", "-f", file], { stdio: "ignore" });
}

async function ourEnd(namespace: Namespace, folder: string): Promise<void> {
  const net = ["--net", "192.168.77.0/24", "--host", ROUTER, "--dhcpstart", "192.168.77.100", "--ipv6", "off"];
  const uplink = ["--uplink", `vxlan://${HERE}?vni=${VNI}&local=${THERE}`];
  await Backend.start(namespace, join(folder, "segment"), { kind: "tslirp", args: [...net, ...uplink] });
}
