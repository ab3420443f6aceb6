/**
 * More of the world than one machine: a router and a far host, each in a namespace of its own.
 *
 *     host namespace                router                       far
 *       wan0 10.98.0.2 ─── wan1 10.98.0.1, far1 10.97.0.1 ─── far0 10.97.0.2
 *            fd98::2            fd98::1        fd97::1             fd97::2
 *
 * The link to the far host carries 1400 bytes. The router throws away what goes to 10.97.1.0/24 (silence) and prohibits
 * 10.97.2.0/24; of IPv6 fd97:1::/64 and fd97:2::/64.
 */
import { Namespace } from "./namespace.ts";

export const ROUTER = "10.98.0.1";
export const FAR = "10.97.0.2";
export const FAR6 = "fd97::2";
export const ROUTER6 = "fd98::1";
export const SILENT = "10.97.1.1";
export const PROHIBITED = "10.97.2.1";
export const SILENT6 = "fd97:1::1";
export const PROHIBITED6 = "fd97:2::1";
export const FAR_MTU = 1400;

export class World {
  readonly router: Namespace;
  readonly far: Namespace;

  private constructor(router: Namespace, far: Namespace) {
    this.router = router;
    this.far = far;
  }

  /** Joins the world to a host's namespace. */
  static async join(host: Namespace): Promise<World> {
    const router = new Namespace("router");
    const far = new Namespace("far");
    link(host, "wan0", ["10.98.0.2/24", "fd98::2/64"], router, "wan1", ["10.98.0.1/24", "fd98::1/64"]);
    link(router, "far1", ["10.97.0.1/24", "fd97::1/64"], far, "far0", ["10.97.0.2/24", "fd97::2/64"]);
    for (const [namespace, name] of [
      [router, "far1"],
      [far, "far0"],
    ] as const)
      namespace.ip("link", "set", name, "mtu", `${FAR_MTU}`);
    await router.sh(
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0",
    );
    await far.sh("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
    for (const [kind, net, net6] of [
      ["blackhole", "10.97.1.0/24", "fd97:1::/64"],
      ["prohibit", "10.97.2.0/24", "fd97:2::/64"],
    ] as const) {
      router.ip("route", "add", kind, net);
      router.ip("-6", "route", "add", kind, net6);
    }
    host.ip("route", "add", "10.97.0.0/16", "via", "10.98.0.1");
    host.ip("-6", "route", "add", "fd97::/16", "via", "fd98::1");
    far.ip("route", "add", "default", "via", "10.97.0.1");
    far.ip("-6", "route", "add", "default", "via", "fd97::1");
    return new World(router, far);
  }

  /** The far host answers echo requests, or keeps silent. */
  async answering(yes: boolean): Promise<void> {
    const value = yes ? 0 : 1;
    await this.far.sh(`sysctl -qw net.ipv4.icmp_echo_ignore_all=${value} net.ipv6.icmp.echo_ignore_all=${value}`);
  }

  async close(): Promise<void> {
    await this.far.close();
    await this.router.close();
  }
}

/** A cable between two namespaces; IPv6 addresses are there at once. */
function link(
  a: Namespace,
  aName: string,
  aAddresses: readonly string[],
  b: Namespace,
  bName: string,
  bAddresses: readonly string[],
): void {
  a.ip("link", "add", aName, "type", "veth", "peer", "name", bName);
  a.ip("link", "set", bName, "netns", b.name);
  for (const [namespace, name, addresses] of [
    [a, aName, aAddresses],
    [b, bName, bAddresses],
  ] as const) {
    for (const address of addresses)
      namespace.ip("addr", "add", address, "dev", name, ...(address.includes(":") ? ["nodad"] : []));
    namespace.ip("link", "set", name, "up");
  }
}
