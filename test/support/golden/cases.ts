/**
 * The script that both back-ends are put through. A case starts with a guest that has answered for its addresses, says
 * what a guest would say, and gives what it saw as fields.
 */
import type { Namespace } from "../e2e/namespace.ts";
import { GATEWAY, OUTSIDE, OUTSIDE_NAME, RESOLVER } from "../e2e/rig.ts";
import type { Frame, FrameSpec } from "../frames.ts";
import type { ServicePorts } from "../services.ts";
import type { Fields } from "./compare.ts";
import { dhcpFields, dnsFields, dnsMessageFields, frameFields } from "./fields.ts";
import { IP, MAC, type Wire } from "./wire.ts";

/** What a case runs in: a wire into one network, and the host beyond it. */
export interface World {
  readonly wire: Wire;
  readonly host: Namespace;
  readonly ports: ServicePorts;
  /** Host ports that lead to port 80 and, over UDP, to port 85 of the guest. */
  readonly forwards: { readonly tcp: number; readonly udp: number };
}
export type Case = (world: World) => Promise<Fields>;
/** Cases by name for each network: the plain one, one with every text option and a TFTP folder, a restricted one. */
export type Script = Readonly<Record<string, Case>>;

/** Something on the host where nobody listens. */
const CLOSED = 4;

const isIp = ({ ip, arp }: Frame): boolean => ip !== undefined && arp === undefined;
const isDhcp = ({ udp }: Frame): boolean => udp?.dstPort === 68;
const isTcp = ({ tcp }: Frame): boolean => tcp !== undefined;

// --- DHCP and BOOTP

interface Dhcp {
  readonly type?: number;
  readonly mac?: string;
  readonly ciaddr?: string;
  readonly broadcast?: boolean;
  readonly options?: readonly (readonly number[])[];
  /** To the server by its address instead of to all. */
  readonly unicast?: boolean;
}
const ip4 = (text: string): number[] => text.split(".").map(Number);
const ASKED = [55, 13, 1, 3, 6, 12, 15, 26, 51, 54, 58, 59, 66, 67, 119];
const SERVER = [54, 4, ...ip4(GATEWAY)];

function dhcp({ type, mac = MAC, ciaddr = "0.0.0.0", broadcast = false, options = [], unicast }: Dhcp): FrameSpec {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, broadcast ? 0x80 : 0, 0, ...ip4(ciaddr)]);
  message.set(
    mac.split(":").map((part) => Number.parseInt(part, 16)),
    28,
  );
  if (type !== undefined) message.set([99, 130, 83, 99, 53, 1, type, ...ASKED, ...options.flat(), 255], 236);
  return {
    eth: { src: mac, ...(unicast ? {} : { dst: "ff:ff:ff:ff:ff:ff" }) },
    ip: { src: ciaddr, dst: unicast ? GATEWAY : "255.255.255.255" },
    udp: { srcPort: 68, dstPort: 67 },
    payload: message,
  };
}

function dhcpCase(message: Dhcp): Case {
  return async ({ wire }) => dhcpFields(await wire.ask(dhcp(message), isDhcp));
}

const LEASE: Script = {
  "DHCP DISCOVER": dhcpCase({ type: 1 }),
  "DHCP REQUEST": dhcpCase({ type: 3, options: [[50, 4, ...ip4(IP)], SERVER] }),
};
/** The same where leases begin elsewhere. */
const OTHER_LEASE: Script = {
  "DHCP DISCOVER": dhcpCase({ type: 1 }),
  "DHCP REQUEST": dhcpCase({ type: 3, options: [[50, 4, 10, 0, 2, 20], SERVER] }),
};

const DHCP: Script = {
  ...LEASE,
  "DHCP DISCOVER that asks for a broadcast": dhcpCase({ type: 1, broadcast: true }),
  "DHCP REQUEST for an address of another network": dhcpCase({ type: 3, options: [[50, 4, 192, 0, 2, 7]] }),
  "DHCP REQUEST that renews": dhcpCase({ type: 3, ciaddr: IP, unicast: true }),
  "DHCP INFORM": dhcpCase({ type: 8, ciaddr: IP }),
  "DHCP DISCOVER of a second guest": dhcpCase({ type: 1, mac: "52:54:00:12:34:57" }),
  "DHCP REQUEST of a second guest for the first one's address": dhcpCase({
    type: 3,
    mac: "52:54:00:12:34:57",
    options: [[50, 4, ...ip4(IP)], SERVER],
  }),
  BOOTP: dhcpCase({ mac: "52:54:00:12:34:58" }),
};

// --- ARP

function arpCase(targetIp: string): Case {
  return async ({ wire }) => frameFields(await wire.ask({ arp: { targetIp } }, ({ arp }) => arp?.op === "reply"));
}
const ARP: Script = {
  "ARP for the gateway": arpCase(GATEWAY),
  "ARP for the DNS server": arpCase(RESOLVER),
  "ARP for an address that nobody has": arpCase("10.0.2.77"),
  "ARP for an address outside": arpCase(OUTSIDE),
};

// --- ICMP

function echoCase(dst: string, ttl = 64): Case {
  return async ({ wire }) => {
    const echo = { ip: { dst, ttl }, icmp: { type: 8, id: 77, seq: 1 }, payload: "abcdefgh" };
    return frameFields(await wire.ask(echo, ({ icmp }) => icmp !== undefined, 2_000));
  };
}
const ICMP: Script = {
  "ping to the gateway": echoCase(GATEWAY),
  "ping to the DNS server": echoCase(RESOLVER),
  "ping to the outside": echoCase(OUTSIDE),
  "ping to the outside with TTL 1": echoCase(OUTSIDE, 1),
  "UDP with TTL 1": async ({ wire }) =>
    frameFields(
      await wire.ask(
        { ip: { dst: OUTSIDE, ttl: 1 }, udp: { srcPort: wire.freePort(), dstPort: 7 }, payload: "x" },
        isIp,
      ),
    ),
};

// --- UDP and DNS

function udpCase(dst: string, dstPort: (ports: ServicePorts) => number): Case {
  return async ({ wire, ports }) =>
    frameFields(
      await wire.ask({ ip: { dst }, udp: { srcPort: 5000, dstPort: dstPort(ports) }, payload: "hello" }, isIp),
    );
}
const UDP: Script = {
  "UDP to the gateway": udpCase(GATEWAY, ({ udpEcho }) => udpEcho),
  "UDP to the outside": udpCase(OUTSIDE, ({ udpEcho }) => udpEcho),
  "UDP to a closed port of the gateway": udpCase(GATEWAY, () => CLOSED),
  "UDP to a closed port outside": udpCase(OUTSIDE, () => CLOSED),
};

function query(name: string, type: number): Uint8Array {
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1]);
}
function dnsCase(name: string, type: number): Case {
  return async ({ wire }) =>
    dnsFields(
      await wire.ask(
        { ip: { dst: RESOLVER }, udp: { srcPort: wire.freePort(), dstPort: 53 }, payload: query(name, type) },
        isIp,
        3_000,
      ),
    );
}
const DNS: Script = {
  "DNS A": dnsCase(OUTSIDE_NAME, 1),
  "DNS AAAA": dnsCase(OUTSIDE_NAME, 28),
  "DNS name that does not exist": dnsCase("nothing.e2e.test", 1),
  "DNS answer too long for UDP": dnsCase("long.e2e.test", 16),
  "DNS over TCP": async ({ wire }) => {
    const tcp = await Tcp.open(wire, RESOLVER, 53);
    if (!(tcp instanceof Tcp)) return tcp;
    const asked = query(OUTSIDE_NAME, 1);
    const answer = await tcp.talk(Uint8Array.from([0, asked.length, ...asked]), 14);
    return dnsMessageFields(answer.subarray(2));
  },
};

// --- TCP

/** A guest's connection, far enough for these cases: in order, no loss. */
class Tcp {
  readonly synAck: Frame;
  readonly #wire: Wire;
  readonly #fields: { readonly srcPort: number; readonly dstPort: number };
  readonly #dst: string;
  #seq: number;
  #ack: number;

  private constructor(wire: Wire, dst: string, fields: Tcp["fields"], synAck: Frame) {
    this.#wire = wire;
    this.#dst = dst;
    this.#fields = fields;
    this.synAck = synAck;
    this.#seq = 1001;
    this.#ack = (synAck.tcp!.seq + 1) >>> 0;
  }

  get fields(): { readonly srcPort: number; readonly dstPort: number } {
    return this.#fields;
  }

  /** The connection, or what came instead of a SYN-ACK. */
  static async open(wire: Wire, dst: string, dstPort: number): Promise<Tcp | Fields> {
    const fields = { srcPort: wire.freePort(), dstPort };
    const syn = { ip: { dst }, tcp: { ...fields, seq: 1000, flags: "SYN", options: { mss: 1460 } } };
    const ours = ({ tcp, icmp }: Frame): boolean => tcp?.dstPort === fields.srcPort || icmp !== undefined;
    const answer = await wire.ask(syn, ours, 3_000);
    if (answer?.tcp?.flags !== "SYN ACK") return answeredFields(answer, 1000);
    const tcp = new Tcp(wire, dst, fields, answer);
    tcp.send("ACK");
    return tcp;
  }

  send(flags: string, payload: string | Uint8Array = ""): void {
    const spec = { ...this.#fields, seq: this.#seq, ack: this.#ack, flags };
    this.#wire.send({ ip: { dst: this.#dst }, tcp: spec, payload });
    this.#seq += payload.length + (flags.includes("FIN") ? 1 : 0);
  }

  /** The next segment of this connection that is wanted; what it carries is acknowledged. */
  async next(wanted: (frame: Frame) => boolean = () => true): Promise<Frame | null> {
    const { srcPort, dstPort } = this.#fields;
    const frame = await this.#wire.next(
      (each) => each.tcp?.dstPort === srcPort && each.tcp.srcPort === dstPort && wanted(each),
    );
    const length = (frame?.payload.length ?? 0) + (frame?.tcp?.flags.includes("FIN") ? 1 : 0);
    if (frame?.tcp && length > 0) {
      this.#ack = (frame.tcp.seq + length) >>> 0;
      this.send("ACK");
    }
    return frame;
  }

  /** Says something and collects the answer until it is so long. */
  async talk(payload: Uint8Array, length: number): Promise<Buffer> {
    this.send("PSH ACK", payload);
    let answer = Buffer.alloc(0);
    while (answer.length < length) {
      const frame = await this.next(({ payload: bytes }) => bytes.length > 0);
      if (frame === null) break;
      answer = Buffer.concat([answer, frame.payload]);
    }
    return answer;
  }
}

/** A RST's numbers, seen from our sequence number (RFC 9293 section 3.5.2). */
function answeredFields(frame: Frame | null, seq: number): Fields {
  const tcp = frame?.tcp;
  return { ...frameFields(frame), ...(tcp ? { "tcp.ack": `SEQ+${tcp.ack - seq}`, "tcp.seq": String(tcp.seq) } : {}) };
}

function openCase(dst: string, dstPort: (ports: ServicePorts) => number): Case {
  return async ({ wire, ports }) => {
    const tcp = await Tcp.open(wire, dst, dstPort(ports));
    if (!(tcp instanceof Tcp)) return tcp;
    tcp.send("RST ACK");
    return frameFields(tcp.synAck);
  };
}
const flagsOf = (frame: Frame | null): string => frame?.tcp?.flags.replace("PSH ", "").replace(" PSH", "") ?? "none";

const TCP: Script = {
  "TCP to the gateway": openCase(GATEWAY, ({ echo }) => echo),
  "TCP to the outside": openCase(OUTSIDE, ({ echo }) => echo),
  "TCP to a closed port of the gateway": openCase(GATEWAY, () => CLOSED),
  "TCP to a closed port outside": openCase(OUTSIDE, () => CLOSED),
  "TCP to an address of the network that nobody has": openCase("10.0.2.77", ({ echo }) => echo),
  "TCP segment of no connection": async ({ wire }) => {
    const stray = { srcPort: wire.freePort(), dstPort: 80, seq: 7_000, ack: 9_000, flags: "ACK" };
    const answer = await wire.ask({ ip: { dst: OUTSIDE }, tcp: stray }, isTcp);
    return { ...frameFields(answer), ...(answer?.tcp ? { "tcp.seq": String(answer.tcp.seq) } : {}) };
  },
  "TCP half-close: the guest ends first and is still answered": async ({ wire, ports }) => {
    const tcp = await Tcp.open(wire, GATEWAY, ports.digest);
    if (!(tcp instanceof Tcp)) return tcp;
    tcp.send("FIN ACK", "what is to be digested");
    const answer = await tcp.next(({ payload }) => payload.length > 0);
    const fin = answer?.tcp?.flags.includes("FIN") ? answer : await tcp.next(({ tcp: t }) => t!.flags.includes("FIN"));
    return { answer: Buffer.from(answer?.payload ?? []).toString("latin1"), fin: String(fin !== null) };
  },
  "TCP half-close: the host ends first and still hears": async ({ wire, ports }) => {
    const tcp = await Tcp.open(wire, GATEWAY, ports.greet);
    if (!(tcp instanceof Tcp)) return tcp;
    const greeting = await tcp.next(({ payload }) => payload.length > 0);
    const fin = greeting?.tcp?.flags.includes("FIN")
      ? greeting
      : await tcp.next(({ tcp: t }) => t!.flags.includes("FIN"));
    tcp.send("PSH ACK", "more");
    const heard = await tcp.next(({ tcp: t }) => t!.flags.includes("ACK"));
    tcp.send("FIN ACK");
    return { greeting: String(greeting?.payload.length), fin: String(fin !== null), heard: flagsOf(heard) };
  },
  "TCP reset by the host": async ({ wire, ports }) => {
    const tcp = await Tcp.open(wire, GATEWAY, ports.reset);
    if (!(tcp instanceof Tcp)) return tcp;
    tcp.send("PSH ACK", "x");
    return { flags: flagsOf(await tcp.next(({ tcp: t }) => /RST|FIN/.test(t!.flags))) };
  },
};

// --- Forwards

/** A client on the host that opens `port` of `to`; what the guest is to see is a SYN for its port 80. */
async function dialled({ wire, host, forwards }: World, to: string, answer: "SYN ACK" | "RST ACK"): Promise<Fields> {
  const client = host.run("busybox", ["timeout", "3", "nc", to, String(forwards.tcp)], 5_000);
  const syn = await wire.next(({ tcp }) => tcp?.dstPort === 80 && tcp.flags === "SYN", 3_000);
  if (syn?.tcp) {
    const { srcPort, dstPort, seq } = syn.tcp;
    const back = { srcPort: dstPort, dstPort: srcPort, seq: 500, ack: (seq + 1) >>> 0 };
    wire.send({ ip: { dst: syn.ip!.src }, tcp: { ...back, flags: answer } });
    if (answer === "SYN ACK") wire.send({ ip: { dst: syn.ip!.src }, tcp: { ...back, seq: 501, flags: "RST ACK" } });
  }
  await client;
  return frameFields(syn);
}
const FORWARDS: Script = {
  "forward of TCP, from the host itself": (world) => dialled(world, "127.0.0.1", "SYN ACK"),
  "forward of TCP, from another address": (world) => dialled(world, OUTSIDE, "RST ACK"),
  "forward of UDP": async ({ wire, host, forwards }) => {
    const client = host.sh(`echo hello | busybox timeout 1 nc -u 127.0.0.1 ${forwards.udp}`, 3_000);
    const seen = await wire.next(({ udp }) => udp?.dstPort === 85, 2_000);
    await client;
    // The port is the host's choice.
    const { "udp.srcPort": _, ...fields } = frameFields(seen);
    return fields;
  },
};

// --- TFTP

function tftpCase(opcode: number, ...words: readonly string[]): Case {
  return async ({ wire }) => {
    const srcPort = wire.freePort();
    const payload = Uint8Array.from([0, opcode, ...Buffer.from(words.map((word) => `${word}\0`).join(""))]);
    const request = { ip: { dst: GATEWAY }, udp: { srcPort, dstPort: 69 }, payload };
    const answer = await wire.ask(request, ({ udp, icmp }) => udp?.dstPort === srcPort || icmp !== undefined);
    if (!answer?.udp) return frameFields(answer);
    const bytes = Buffer.from(answer.payload);
    const kind = bytes.readUInt16BE(0);
    const rest = bytes.subarray(kind === 6 ? 2 : 4);
    // Ends the transfer: our own error (RFC 1350 section 7).
    const { srcPort: server } = answer.udp;
    wire.send({ ip: { dst: GATEWAY }, udp: { srcPort, dstPort: server }, payload: Uint8Array.of(0, 5, 0, 0, 0x78, 0) });
    return {
      ...frameFields(answer, false),
      "udp.srcPort": server === 69 ? "69" : "another",
      "udp.dstPort": "the client's",
      opcode: String(kind),
      ...(kind === 6 ? {} : { number: String(bytes.readUInt16BE(2)) }),
      data: rest.length > 80 ? `${rest.length} bytes` : JSON.stringify(rest.toString("latin1")),
    };
  };
}
const TFTP: Script = {
  "TFTP of a file": tftpCase(1, "hello.txt", "octet"),
  "TFTP of a file in netascii": tftpCase(1, "hello.txt", "netascii"),
  "TFTP with tsize and blksize": tftpCase(1, "hello.txt", "octet", "tsize", "0", "blksize", "1428"),
  "TFTP with blksize beyond the MTU": tftpCase(1, "hello.txt", "octet", "blksize", "9000"),
  "TFTP of no file": tftpCase(1, "nothing.txt", "octet"),
  "TFTP out of the folder": tftpCase(1, "../secret", "octet"),
  "TFTP write": tftpCase(2, "hello.txt", "octet"),
};

// --- IPv6

const OUR_LINK_LOCAL = "fe80::5054:ff:fe12:3456";
const ndpCase =
  (kind: "ra" | "na", ip6: { src: string; dst: string }, ndp: NonNullable<FrameSpec["ndp"]>): Case =>
  async ({ wire }) => {
    const dst = "33:33:00:00:00:02";
    return frameFields(await wire.ask({ eth: { dst }, ip6, ndp }, (frame) => frame.ndp?.kind === kind));
  };
const solicit = (target: string): Case =>
  ndpCase(
    "na",
    { src: OUR_LINK_LOCAL, dst: `ff02::1:ff00:${target.replace(/.*:/, "")}` },
    { kind: "ns", target, options: { sourceMac: MAC } },
  );
const IPV6: Script = {
  "IPv6 router solicitation": ndpCase(
    "ra",
    { src: OUR_LINK_LOCAL, dst: "ff02::2" },
    {
      kind: "rs",
      options: { sourceMac: MAC },
    },
  ),
  "IPv6 neighbour solicitation for the gateway": solicit("fec0::2"),
  "IPv6 neighbour solicitation for the gateway's link-local address": solicit("fe80::2"),
  "IPv6 neighbour solicitation for the DNS server": solicit("fec0::3"),
  "IPv6 neighbour solicitation for an address that nobody has": solicit("fec0::77"),
  "ping to the IPv6 gateway": async ({ wire }) =>
    frameFields(
      await wire.ask(
        {
          ip6: { src: "fec0::5054:ff:fe12:3456", dst: "fec0::2" },
          icmp6: { type: 128, id: 7, seq: 1 },
          payload: "abc",
        },
        ({ icmp6 }) => icmp6?.type === 129,
      ),
    ),
  "DHCPv6 information-request": async ({ wire }) => {
    const request = Uint8Array.from([
      11,
      1,
      2,
      3,
      0,
      1,
      0,
      10,
      0,
      3,
      0,
      1,
      ...MAC.split(":").map((p) => Number.parseInt(p, 16)),
      0,
      6,
      0,
      4,
      0,
      23,
      0,
      24,
    ]);
    const frame = await wire.ask(
      {
        eth: { dst: "33:33:00:01:00:02" },
        ip6: { src: OUR_LINK_LOCAL, dst: "ff02::1:2" },
        udp: { srcPort: 546, dstPort: 547 },
        payload: request,
      },
      ({ udp }) => udp?.dstPort === 546,
    );
    const fields: Record<string, string> = { ...frameFields(frame, false) };
    const bytes = Buffer.from(frame?.payload ?? []);
    if (bytes.length >= 4) fields.type = String(bytes[0]);
    for (let at = 4; at + 4 <= bytes.length; at += 4 + bytes.readUInt16BE(at + 2)) {
      const code = bytes.readUInt16BE(at);
      fields[`option ${code}`] = bytes.toString("hex", at + 4, at + 4 + bytes.readUInt16BE(at + 2));
    }
    return fields;
  },
};

export const PLAIN: Script = { ...DHCP, ...ARP, ...ICMP, ...UDP, ...DNS, ...TCP, ...FORWARDS, ...IPV6 };
export const OPTIONS: Script = { ...prefixed("with all options: ", OTHER_LEASE), ...TFTP };
export const RESTRICTED: Script = prefixed("restrict: ", {
  ...LEASE,
  "ARP for the gateway": ARP["ARP for the gateway"]!,
  "ping to the gateway": ICMP["ping to the gateway"]!,
  "ping to the outside": ICMP["ping to the outside"]!,
  "UDP to the outside": UDP["UDP to the outside"]!,
  "UDP to the gateway": UDP["UDP to the gateway"]!,
  "TCP to the outside": TCP["TCP to the outside"]!,
  "TCP to the gateway": TCP["TCP to the gateway"]!,
  "DNS A": DNS["DNS A"]!,
  "forward of TCP, from the host itself": FORWARDS["forward of TCP, from the host itself"]!,
});

function prefixed(prefix: string, script: Script): Script {
  return Object.fromEntries(Object.entries(script).map(([name, run]) => [prefix + name, run]));
}
