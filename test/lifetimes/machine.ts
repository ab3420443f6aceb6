/** A machine on a cable, as far as lifetimes are concerned: ARP, DHCP, a TCP that neither loses nor resends, UDP. */
import type { MemoryCable } from "../../src/attach/memory.ts";
import { ACK, DISCOVER, message, NAK, REQUEST } from "../proto/dhcp-script.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import { FAR_IP, GATEWAY_MAC } from "../support/packet-script.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const SERVER = "10.0.2.2";
const WINDOW = 20_000;
const MESSAGE_TYPE = 53;

/** One connection by the machine's own account. */
export interface Connection {
  readonly ip: string;
  readonly port: number;
  readonly farPort: number;
  state: "syn-sent" | "open" | "closed";
  seq: number;
  ack: number;
  /** Bytes that have come. */
  got: number;
  ended: boolean;
}

export class Machine {
  /** What it sends is made of this letter, what is sent to it of the small one. */
  readonly letter: string;
  readonly mac: string;
  ip: string | null = null;
  /** Addresses that it has spoken from on this cable. */
  readonly addresses: Set<string> = new Set();
  cable: MemoryCable | null = null;
  /** Its receive window is shut: nothing more is acknowledged. */
  deaf = false;
  /** Dials again as soon as it is reset. */
  insistent = false;
  connections: Connection[] = [];
  /** Ports from which it has been dialled by a forward's clients. */
  readonly clients: Set<number> = new Set();
  #nextPort = 10_000;
  #xid = 1;
  #offer: { type: number; ip: string } | null = null;
  readonly #violated: (what: string) => void;

  /** `violated` is told of bytes that are not for this machine. */
  constructor(index: number, violated: (what: string) => void) {
    this.letter = String.fromCharCode(65 + index);
    this.mac = `52:54:00:00:01:${(index + 16).toString(16)}`;
    this.#violated = violated;
  }

  send(frame: FrameSpec): void {
    this.cable?.send(encodeFrame({ ...frame, eth: { src: this.mac, dst: GATEWAY_MAC, ...frame.eth } }));
  }

  /** Says that its address is its own. */
  hello(): void {
    if (this.ip === null) return;
    this.addresses.add(this.ip);
    const arp = { senderMac: this.mac, senderIp: this.ip, targetIp: this.ip };
    this.send({ eth: { dst: BROADCAST }, arp });
  }

  /** Asks for a lease. False when none is given. */
  lease(): boolean {
    const offer = this.#ask({ type: DISCOVER });
    if (offer === null) return false;
    return this.#take(this.#ask({ type: REQUEST, requestedIp: offer.ip, serverId: SERVER }));
  }

  /** Asks for the address that it has once more. False when it does not get it. */
  renew(): boolean {
    return this.ip !== null && this.#take(this.#ask({ type: REQUEST, requestedIp: this.ip }));
  }

  #take(got: { type: number; ip: string } | null): boolean {
    if (got === null || got.type === NAK) return false;
    if (got.type === ACK && this.ip !== got.ip) {
      this.forgetConnections();
      this.ip = got.ip;
    }
    this.hello();
    return true;
  }

  #ask(fields: { type: number; requestedIp?: string; serverId?: string }): { type: number; ip: string } | null {
    this.#offer = null;
    this.send({
      eth: { dst: BROADCAST },
      ip: { src: "0.0.0.0", dst: "255.255.255.255" },
      udp: { srcPort: 68, dstPort: 67 },
      payload: message({ ...fields, mac: this.mac, xid: this.#xid++ }),
    });
    return this.#offer;
  }

  /** It has been started anew: it knows of nothing. */
  forgetConnections(): void {
    this.connections = [];
  }

  dial(farPort: number): Connection | null {
    if (this.ip === null) return null;
    const port = this.#nextPort++;
    const connection: Connection = {
      ...{ ip: this.ip, port, farPort, state: "syn-sent" as const },
      ...{ seq: 1_000, ack: 0, got: 0, ended: false },
    };
    this.connections.push(connection);
    this.#segment(connection, "SYN");
    connection.seq++;
    return connection;
  }

  write(connection: Connection, len: number): void {
    if (connection.state !== "open" || connection.ended) return;
    this.#segment(connection, "ACK PSH", this.letter.repeat(len));
    connection.seq += len;
  }

  end(connection: Connection): void {
    if (connection.state !== "open" || connection.ended) return;
    this.#segment(connection, "ACK FIN");
    connection.seq++;
    connection.ended = true;
  }

  reset(connection: Connection): void {
    if (connection.state === "closed") return;
    this.#segment(connection, "ACK RST");
    connection.state = "closed";
  }

  datagram(port: number, farPort: number): void {
    if (this.ip === null) return;
    this.send({
      ...{ ip: { src: this.ip, dst: FAR_IP }, udp: { srcPort: port, dstPort: farPort } },
      payload: this.letter.repeat(20),
    });
  }

  ping(id: number): void {
    if (this.ip !== null) this.send({ ip: { src: this.ip, dst: FAR_IP }, icmp: { id, seq: 1 }, payload: this.letter });
  }

  #segment(c: Connection, flags: string, payload = ""): void {
    const options = flags.includes("SYN") ? { mss: 1_460 } : {};
    const window = this.deaf ? 0 : WINDOW;
    const ack = flags === "SYN" ? {} : { ack: c.ack };
    const tcp = { srcPort: c.port, dstPort: c.farPort, seq: c.seq >>> 0, ...ack, flags, window, options };
    this.send({ ip: { src: c.ip, dst: FAR_IP }, tcp, payload });
  }

  /** A frame has come by its cable. */
  receive(bytes: Uint8Array): void {
    const frame = decodeFrame(bytes);
    if (frame.eth.dst !== this.mac && frame.eth.dst !== BROADCAST) return;
    this.#judge(frame);
    if (frame.arp !== undefined) this.#arp(frame);
    else if (frame.udp?.dstPort === 68) this.#dhcp(frame);
    else if (frame.tcp !== undefined) this.#tcp(frame);
  }

  #judge(frame: Frame): void {
    if (frame.tcp === undefined && (frame.udp === undefined || frame.udp.dstPort === 68)) return;
    const own = this.letter.toLowerCase();
    const text = Buffer.from(frame.payload).toString("latin1");
    for (const char of text) if (char !== own) return this.#violated(`${this.letter} was sent what is for ${char}`);
  }

  #arp({ arp }: Frame): void {
    if (arp!.op !== "request" || this.ip === null || arp!.targetIp !== this.ip) return;
    const answer = { op: "reply", senderMac: this.mac, senderIp: this.ip, targetIp: arp!.senderIp } as const;
    this.send({ arp: { ...answer, targetMac: arp!.senderMac } });
  }

  #dhcp({ payload }: Frame): void {
    let type = 0;
    for (let at = 240; at < payload.length && payload[at] !== 255; at += payload[at] === 0 ? 1 : 2 + payload[at + 1]!)
      if (payload[at] === MESSAGE_TYPE) type = payload[at + 2]!;
    this.#offer = { type, ip: [...payload.subarray(16, 20)].join(".") };
  }

  #tcp({ ip, tcp, payload }: Frame): void {
    const { srcPort, dstPort, seq } = tcp!;
    const flags = tcp!.flags.split(" ");
    let c = this.connections.find(
      (each) => each.port === dstPort && each.farPort === srcPort && each.ip === ip!.dst && each.state !== "closed",
    );
    if (flags.includes("RST")) {
      if (c === undefined) return;
      c.state = "closed";
      if (this.insistent) this.dial(c.farPort);
      return;
    }
    if (c === undefined) {
      if (ip!.dst !== this.ip) return;
      c = {
        ...{ ip: this.ip, port: dstPort, farPort: srcPort, state: "open" as const },
        ...{ seq: 5_000, ack: (seq + 1) >>> 0, got: 0, ended: false },
      };
      if (flags.includes("SYN") && !flags.includes("ACK")) {
        this.connections.push(c);
        this.clients.add(srcPort);
        this.#segment(c, "SYN ACK");
        c.seq++;
      } else {
        c.seq = tcp!.ack;
        this.#segment(c, "RST");
      }
      return;
    }
    if (flags.includes("SYN")) {
      if (c.state === "syn-sent") c.ack = (seq + 1) >>> 0;
      c.state = "open";
      return this.#segment(c, "ACK");
    }
    if (payload.length === 0 && !flags.includes("FIN")) return;
    if (this.deaf) return this.#segment(c, "ACK");
    if (seq === c.ack) {
      c.ack = (c.ack + payload.length + (flags.includes("FIN") ? 1 : 0)) >>> 0;
      c.got += payload.length;
    }
    this.#segment(c, "ACK");
  }
}
