/** A connection of a packet script in either role of the stack: dialled by the guest, or by a forward's client. */
import type { NetworkOptions } from "../../../src/control/options.ts";
import type { Offload } from "../../../src/core/link.ts";
import type { FakeFar } from "../../support/fake-host.ts";
import type { TcpOptionsSpec } from "../../support/frames.ts";
import { ALL } from "../../support/offload.ts";
import { GUEST_IP, PacketScript, type TcpEnds, type TcpScript } from "../../support/packet-script.ts";

export interface Connection {
  readonly script: PacketScript;
  readonly tcp: TcpScript;
  readonly far: FakeFar;
}

export interface Setup {
  /** The guest's SYN. */
  readonly options?: TcpOptionsSpec;
  readonly window?: number;
  readonly ends?: TcpEnds;
  readonly network?: NetworkOptions;
  /** The guest's card takes unfinished frames. */
  readonly offload?: Offload;
}

export const OPTIONS: TcpOptionsSpec = { mss: 1460, sackPermitted: true };
export const SEGMENT = 1460;

/** The guest dials out. */
export function dialled(setup: Setup = {}): Connection {
  const { options = OPTIONS, window = 65_535, ends = {}, network = {}, offload = null } = setup;
  const script = new PacketScript(network, null, false, null, offload);
  const tcp = script.tcp(ends);
  tcp.establish(options, window);
  return { script, tcp, far: script.host.dialled[0]! };
}

/** A forward's client dials the guest, whose port 80 has not answered yet. */
export async function dialling(setup: Setup = {}): Promise<Connection> {
  const network = { hostfwd: ["tcp:127.0.0.1:8080-:80"], ...setup.network };
  const script = new PacketScript(network, null, false, null, setup.offload ?? null);
  await script.stack.open();
  script.send({ arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } });
  script.takeAll();
  const client = { host: "198.51.100.7", port: 50_000 };
  const far = script.host.dial({ host: "127.0.0.1", port: 8080 }, client);
  const tcp = script.tcp({ srcPort: 80, dst: client.host, dstPort: client.port, ...setup.ends });
  return { script, tcp, far };
}

/** The same, and the guest accepts. */
export async function forwarded(setup: Setup = {}): Promise<Connection> {
  const connection = await dialling(setup);
  const { tcp } = connection;
  tcp.expect({ flags: "SYN", seq: 0 });
  tcp.send({ flags: "SYN ACK", seq: 0, ack: 1, options: setup.options ?? OPTIONS, window: setup.window ?? 65_535 });
  tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
  return connection;
}

export const ROLES: readonly (readonly [string, (setup?: Setup) => Connection | Promise<Connection>])[] = [
  ["passive, a guest that dials out", dialled],
  ["active, a forward", forwarded],
  ["passive, over a cable that offloads", (setup) => dialled({ offload: ALL, ...setup })],
  ["active, over a cable that offloads", (setup) => forwarded({ offload: ALL, ...setup })],
];
