/**
 * An uplink: the guests' Ethernet carried to a segment of other machines by VXLAN over UDP (RFC 7348).
 *
 * To the switch an uplink is one more port. The other ends (VTEPs: a Linux bridge, Open vSwitch, another tslirp) are
 * configured, and datagrams from anybody else are dropped. Frames for all, or for an address that has not been heard
 * yet, go to each of them (head-end replication, so the network between needs no multicast). Frames from one end go to
 * the guests and never to another end, so nothing circulates between full meshes of ends. The end behind which a MAC
 * is, is learned from its frames; a MAC moves only when its old end has not heard it for a second. So where a loop
 * brings each frame twice, by two ends, the second copy is dropped and nobody's place changes back and forth.
 *
 * Neither end fragments (section 4.3): frames that do not fit are dropped and counted. Inner VLAN tags are not carried
 * (section 6.1). VXLAN has no authentication, so nobody may be able to forge the ends' addresses in the network
 * between.
 */
import type dgram from "node:dgram";
import { type Endpoint, endpointText } from "../core/address.ts";
import type { UplinkConfig } from "../core/config.ts";
import { type Link, MAX_FRAME } from "../core/link.ts";
import { reasonOf } from "../host/reason.ts";
import { ETH_HEADER, ethType, macIsGroup, macNumber } from "../wire/ethernet.ts";
import { VXLAN_HEADER, vxlanCheck, vxlanInnerMtu, vxlanTagged, vxlanVni, vxlanWrite } from "../wire/vxlan.ts";
import type { AttachAddress } from "./address.ts";
import type { Attachment, CableEnv, SentCount } from "./attachment.ts";
import { bindDatagrams, Datagrams, type DatagramUser } from "./datagrams.ts";
import type { ReadSlab } from "./slab.ts";

const AGE_MILLIS = 300_000;
/** A MAC's old end must not have heard it for this long before it moves. Milliseconds. */
const MOVE_MILLIS = 1_000;

/** One of the other ends, also as a list of one target. */
interface Vtep {
  readonly targets: readonly Endpoint[];
}

interface Place {
  vtep: Vtep;
  heard: number;
}

/** Resolves when bound. Rejects with an `Error` of one line. */
export async function openVxlan(config: UplinkConfig, env: CableEnv): Promise<VxlanUplink> {
  try {
    return new VxlanUplink(await bindDatagrams(config.local), config, env);
  } catch (error) {
    throw new Error(`cannot open the uplink at ${endpointText(config.local)}: ${reasonOf(error)}`);
  }
}

export class VxlanUplink implements Link, Attachment, DatagramUser {
  readonly address: AttachAddress;
  readonly name: string;
  readonly uplink = true;
  readonly endless = true;
  readonly closed: Promise<void>;
  readonly config: UplinkConfig;
  readonly received: SentCount = { frames: 0, bytes: 0 };
  readonly sent: SentCount = { frames: 0, bytes: 0 };
  readonly #env: CableEnv;
  readonly #datagrams: Datagrams;
  /** By address only: the sender derives the port from the flow (RFC 7348 section 5). */
  readonly #vteps: Map<string, Vtep> = new Map();
  readonly #all: readonly Endpoint[];
  readonly #places: Map<number, Place> = new Map();
  readonly #maxFrame: number;
  /** The end whose datagram is being handled. */
  #from: Vtep | undefined;
  #onClosed: () => void = () => {};

  constructor(socket: dgram.Socket, config: UplinkConfig, env: CableEnv) {
    const { port } = socket.address();
    this.config = config;
    this.address = { kind: "udp", host: config.local.host, port };
    this.name = `vxlan:${endpointText({ host: config.local.host, port })}#${config.vni}`;
    this.#env = env;
    this.#all = config.remotes;
    for (const remote of config.remotes) this.#vteps.set(remote.host, { targets: [remote] });
    this.#maxFrame = ETH_HEADER + vxlanInnerMtu(config.mtu, config.local.host.includes(":") ? 6 : 4);
    this.#datagrams = new Datagrams(socket, env, this);
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    env.receiver.attached(this);
  }

  /** How many MACs have a known end. With one end, none is learned. */
  get size(): number {
    return this.#places.size;
  }

  get tx(): Uint8Array {
    return this.#datagrams.tx;
  }

  reserve(len: number): number {
    const at = this.#datagrams.reserve(VXLAN_HEADER + len);
    return at < 0 ? at : at + VXLAN_HEADER;
  }

  commit(len: number): void {
    const { tap, trace, sent } = this.#env;
    const { tx, next } = this.#datagrams;
    const at = next + VXLAN_HEADER;
    if (tap.active && !tap.outgoing(this, tx, at, len)) return;
    if (len > this.#maxFrame) return trace.drop("uplink-mtu");
    if (vxlanTagged(ethType(tx, at))) return trace.drop("vlan-tagged");
    vxlanWrite(tx, next, this.config.vni);
    for (const count of [sent, this.sent]) {
      count.frames++;
      count.bytes += len;
    }
    this.#datagrams.commit(VXLAN_HEADER + len, this.#towards(tx, at));
  }

  flush(): void {
    this.#datagrams.flush();
  }

  close(): Promise<void> {
    if (this.#datagrams.over) return this.closed;
    this.#datagrams.close(() => {
      this.#env.receiver.detached(this);
      this.#onClosed();
    });
    return this.closed;
  }

  welcomes(host: string, _port: number, len: number): boolean {
    this.#from = this.#vteps.get(host);
    if (this.#from === undefined) this.#env.trace.drop("vxlan-peer");
    else if (len > VXLAN_HEADER + MAX_FRAME) this.#env.trace.drop("frame-too-long");
    else return true;
    return false;
  }

  datagram(slab: ReadSlab, at: number, len: number): void {
    const { trace, receiver } = this.#env;
    const { bytes } = slab;
    const frame = at + VXLAN_HEADER;
    const size = len - VXLAN_HEADER;
    if (!vxlanCheck(bytes, at, len) || size < ETH_HEADER) return trace.drop("vxlan-malformed");
    if (vxlanVni(bytes, at) !== this.config.vni) return trace.drop("vxlan-vni");
    if (vxlanTagged(ethType(bytes, frame))) return trace.drop("vlan-tagged");
    if (!this.#learn(this.#from!, bytes, frame + 6)) return trace.drop("mac-flapping");
    this.received.frames++;
    this.received.bytes += size;
    receiver.receive(this, slab, frame, size);
  }

  batchEnd(): void {
    this.#env.receiver.batchEnd(this);
  }

  writable(): void {
    this.#env.receiver.writable(this);
  }

  #towards(bytes: Uint8Array, at: number): readonly Endpoint[] {
    if (this.#all.length === 1 || macIsGroup(bytes, at)) return this.#all;
    const place = this.#places.get(macNumber(bytes, at));
    return place === undefined || this.#env.clock.now() - place.heard > AGE_MILLIS ? this.#all : place.vtep.targets;
  }

  /** False when the MAC has just been heard behind another end. */
  #learn(from: Vtep, bytes: Uint8Array, at: number): boolean {
    if (this.#all.length === 1) return true;
    const mac = macNumber(bytes, at);
    const now = this.#env.clock.now();
    const place = this.#places.get(mac);
    if (place === undefined) {
      if (this.#places.size >= this.#env.limits.uplinkMacs) {
        this.#places.delete(this.#places.keys().next().value!);
        this.#env.trace.drop("macs-full");
      }
      this.#places.set(mac, { vtep: from, heard: now });
      return true;
    }
    if (place.vtep !== from) {
      if (now - place.heard < MOVE_MILLIS) return false;
      place.vtep = from;
    }
    place.heard = now;
    return true;
  }
}
