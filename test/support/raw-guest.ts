/**
 * A guest for a hundred thousand connections: segments written in place, one small record each, no timers, no
 * retransmission, and no manners but those that a test gives it.
 */
import type { MemoryCable } from "../../src/attach/memory.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { ETH_HEADER, ETH_IPV4, ethType, ethWrite } from "../../src/wire/ethernet.ts";
import {
  IPV4_DF,
  IPV4_HEADER,
  ipv4Dst,
  ipv4Proto,
  ipv4Pseudo,
  ipv4Src,
  ipv4TotalLength,
  ipv4Write,
  PROTO_TCP,
} from "../../src/wire/ipv4.ts";
import { seqAdd } from "../../src/wire/seq.ts";
import {
  ACK,
  FIN,
  RST,
  SYN,
  TCP_HEADER,
  tcpDst,
  tcpFlags,
  tcpHeaderLength,
  tcpSeal,
  tcpSeq,
  tcpSrc,
  tcpWrite,
} from "../../src/wire/tcp.ts";
import { encodeFrame } from "./frames.ts";
import { GATEWAY_MAC, GUEST_IP, GUEST_MAC } from "./packet-script.ts";

const MAC = macBytes(GUEST_MAC);
const GATEWAY = macBytes(GATEWAY_MAC);
const IP = ipv4FromText(GUEST_IP);
const HEADERS = ETH_HEADER + IPV4_HEADER;
const ISN = 1_000;
const WINDOW = 65_535;

function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** One connection as the guest sees it. */
export interface RawConnection {
  readonly localPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
  /** The next sequence number of ours, and the next one that we expect. */
  seq: number;
  ack: number;
  /** What the test keeps about it. */
  step: number;
  readonly kind: number;
}

export class RawGuest {
  /** By port. */
  readonly connections: Map<number, RawConnection> = new Map();
  /** Called for each segment to a connection of ours, when `ack` counts it already if it came in its turn. */
  onSegment: (connection: RawConnection, flags: number, length: number) => void = () => {};
  /** A SYN to us: somebody dials. */
  onSyn: ((connection: RawConnection) => void) | null = null;
  /** RSTs and segments to ports that are not in use. */
  strays = 0;
  readonly #cable: MemoryCable;
  readonly #frame: Uint8Array = new Uint8Array(2_048);
  #id = 0;

  constructor(cable: MemoryCable) {
    this.#cable = cable;
    cable.onFrame = (frame) => this.#receive(frame);
    cable.send(
      encodeFrame({ eth: { src: GUEST_MAC, dst: GATEWAY_MAC }, arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } }),
    );
  }

  /** Sends a SYN. */
  connect(localPort: number, remoteIp: number, remotePort: number, kind: number): RawConnection {
    const connection = { localPort, remoteIp, remotePort, seq: ISN, ack: 0, step: 0, kind };
    this.connections.set(localPort, connection);
    this.send(connection, SYN);
    return connection;
  }

  /** Sends a segment with so many bytes, and counts them. */
  send(connection: RawConnection, flags: number, length = 0): void {
    const buf = this.#frame;
    const { localPort, remoteIp, remotePort, seq, ack } = connection;
    const size = TCP_HEADER + length;
    ethWrite(buf, 0, GATEWAY, MAC, ETH_IPV4);
    ipv4Write(buf, ETH_HEADER, IP, remoteIp, PROTO_TCP, size, 64, this.#id++ & 0xffff, IPV4_DF);
    tcpWrite(buf, HEADERS, localPort, remotePort, seq, (flags & ACK) !== 0 ? ack : 0, TCP_HEADER, flags, WINDOW);
    tcpSeal(buf, HEADERS, size, ipv4Pseudo(IP, remoteIp, PROTO_TCP, size));
    connection.seq = seqAdd(seq, length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0));
    this.#cable.send(buf.subarray(0, HEADERS + size));
  }

  forget(connection: RawConnection): void {
    this.connections.delete(connection.localPort);
  }

  #receive(buf: Uint8Array): void {
    if (ethType(buf, 0) !== ETH_IPV4 || ipv4Proto(buf, ETH_HEADER) !== PROTO_TCP || ipv4Dst(buf, ETH_HEADER) !== IP)
      return;
    const flags = tcpFlags(buf, HEADERS);
    const port = tcpDst(buf, HEADERS);
    let connection = this.connections.get(port);
    if ((flags & (SYN | ACK)) === SYN && this.onSyn !== null) {
      const remoteIp = ipv4Src(buf, ETH_HEADER);
      connection = {
        localPort: port,
        remoteIp,
        remotePort: tcpSrc(buf, HEADERS),
        seq: ISN,
        ack: seqAdd(tcpSeq(buf, HEADERS), 1),
        step: 0,
        kind: -1,
      };
      this.onSyn(connection);
      return;
    }
    if (connection === undefined) {
      this.strays++;
      return;
    }
    const length = ipv4TotalLength(buf, ETH_HEADER) - IPV4_HEADER - tcpHeaderLength(buf, HEADERS);
    const seq = tcpSeq(buf, HEADERS);
    if ((flags & SYN) !== 0) connection.ack = seqAdd(seq, 1);
    else if (seq === connection.ack && (flags & RST) === 0)
      connection.ack = seqAdd(seq, length + ((flags & FIN) !== 0 ? 1 : 0));
    this.onSegment(connection, flags, length);
  }
}
