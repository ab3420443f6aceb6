/**
 * The DHCPv4 server (RFC 2131) of a guest network, BOOTP included (RFC 1534).
 *
 * A message comes in as UDP payload, the reply is written as UDP payload; `dhcp-leases.ts` decides about addresses,
 * `dhcp-message.ts` reads what a client says, and `dhcp-options.ts` says what it is told besides.
 * This server is the only one on its network, which settles what RFC 2131 leaves open: a client that remembers an
 * address we know nothing of (we were restarted) gets it confirmed if it is free, and a NAK if it is not.
 *
 *   DISCOVER                  OFFER, or silence when every address is held, and while holders are asked whether they are there
 *   REQUEST naming a server   ACK or NAK; another server's: our offer is void, silence
 *   REQUEST with option 50    (INIT-REBOOT) ACK or NAK; silence while the holder is asked
 *   REQUEST with ciaddr       (renewing, rebinding) ACK to that address, or NAK to all
 *   INFORM                    ACK without an address or a lease
 *   DECLINE, RELEASE          nothing
 *   no message type           BOOTP: a reply of 300 bytes, the address for good
 *
 * Replies are broadcast, whatever the broadcast flag says, as a client without an address can always take that; one
 * that has an address gets it there (RFC 2131 section 4.1).
 */
import { ipv4FromText } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import type { Trace } from "../core/trace.ts";
import * as wire from "../wire/dhcp.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { type DhcpClient, type LeaseRecord, LeaseTable } from "./dhcp-leases.ts";
import { DhcpMessage } from "./dhcp-message.ts";
import { DhcpOptions, essentialFirst, LEASE_TIME, text } from "./dhcp-options.ts";
import { type Ask, isGone, isLive, type SavedRecord } from "./holdings.ts";

/** Bytes of IPv4 and UDP headers, which the client's maximum (option 57) includes. */
const HEADERS = 28;
/** The datagram that every client takes (RFC 2131 section 2), and the longest that we send: no reply is fragmented. */
const MIN_DATAGRAM = 576;
const MAX_DATAGRAM = 1500;
/** Bytes that `out` must have for `DhcpServer.receive`. */
export const DHCP_MAX_REPLY: number = MAX_DATAGRAM - HEADERS;

/** Milliseconds between two log lines that say that no address is left. */
const NOTICE_MS = 60_000;

const LIMITED_BROADCAST = -1;
const ANY_ADDRESS = 0;

/** A reply of `len` bytes, to be sent from port 67 to port 68 of `dstIp`. */
export interface DhcpReply {
  readonly len: number;
  /** A signed word, as in packets; -1 is 255.255.255.255. */
  readonly dstIp: number;
  /** Whether the frame is broadcast, or goes to the MAC that asked. */
  readonly broadcast: boolean;
}

/** A bound lease, for people and programs to look at. */
export interface Lease {
  readonly ip: string;
  readonly mac: string;
  /** The guest's name for itself: one label of DNS in lower case; null if it gave none, or a reserved word. */
  readonly hostname: string | null;
  /** In the clock's milliseconds; Infinity for BOOTP. */
  readonly expires: number;
}

export class DhcpServer {
  readonly #trace: Trace;
  readonly #leases: LeaseTable;
  /** The cable by which the current message came. */
  #cable: object | null = null;
  readonly #host: number;
  readonly #net: number;
  readonly #mask: number;
  readonly #nextServer: number;
  readonly #serverName: Uint8Array | null;
  readonly #bootfile: Uint8Array | null;
  readonly #maxDatagram: number;
  readonly #options: DhcpOptions;
  #cutTold = false;
  #noticed = Number.NEGATIVE_INFINITY;

  /** `ask` asks by ARP whether the holder of an address is still there; false when that cannot be sent. */
  constructor(config: StackConfig, trace: Trace, ask: Ask<LeaseRecord> = () => false) {
    this.#trace = trace;
    this.#host = ipv4FromText(config.host);
    this.#mask = config.prefix === 0 ? 0 : -1 << (32 - config.prefix);
    this.#net = ipv4FromText(config.net) & this.#mask;
    this.#maxDatagram = Math.min(config.mtu, MAX_DATAGRAM);
    const server = config.tftpServerName;
    this.#nextServer = server !== null && /^\d+(\.\d+){3}$/.test(server) ? ipv4FromText(server) : this.#host;
    this.#serverName = server === null ? null : text(server);
    this.#bootfile = config.bootfile === null ? null : text(config.bootfile);

    const dns = ipv4FromText(config.dns);
    const start = ipv4FromText(config.dhcpStart);
    const last = this.#net | ~this.#mask;
    const statics: [string, number][] = [];
    for (const [mac, ip] of config.staticLeases) statics.push([mac, ipv4FromText(ip)]);
    const count = Math.min(config.dhcpCount, (last - start) >>> 0);
    this.#leases = new LeaseTable(
      start,
      count,
      [this.#host, dns, this.#net, last, ...config.reserved.map(ipv4FromText)],
      statics,
      config.limits,
      ask,
    );
    this.#leases.onYield = ({ mac, id, ip, hostname, state }) => {
      if (state === "bound" && mac !== null) this.#report({ mac, id }, ip, hostname, "reclaimed");
    };
    this.#options = new DhcpOptions(config, {
      ...{ host: this.#host, mask: this.#mask, dns },
      ...{ serverName: this.#serverName, bootfile: this.#bootfile },
    });
  }

  /**
   * Takes the message in `len` bytes of UDP payload, whose chaddr the caller has found to be the frame's source, sent
   * from `srcIp` on `cable`, null where many machines are. The reply, if there is one, stands in `out` from offset 0; `out` has at least `DHCP_MAX_REPLY` bytes.
   */
  receive(
    buf: Uint8Array,
    at: number,
    len: number,
    srcIp: number,
    now: number,
    out: Uint8Array,
    cable: object | null = null,
  ): DhcpReply | null {
    this.#cable = cable;
    if (!wire.dhcpCheck(buf, at, len)) return this.#drop("dhcp-malformed");
    // No relay agent belongs on a network of guests, and we could not answer one (RFC 2131 section 4.1).
    if (wire.dhcpGiaddr(buf, at) !== ANY_ADDRESS) return this.#drop("dhcp-relayed");
    const message = new DhcpMessage(buf, at, len);
    if (message.id !== null && message.id.length > 255) return this.#drop("dhcp-malformed");
    const serverId = message.serverId;
    const elsewhere = serverId !== null && serverId !== this.#host;
    switch (message.type) {
      case 0:
        return this.#bootp(message, now, out);
      case wire.DHCP_DISCOVER:
        return this.#discover(message, now, out);
      case wire.DHCP_REQUEST:
        if (!elsewhere) return this.#request(message, now, out);
        this.#leases.withdraw(message.client, now);
        return null;
      case wire.DHCP_INFORM:
        return elsewhere ? null : this.#inform(message, srcIp, out);
      case wire.DHCP_DECLINE:
        return elsewhere ? null : this.#giveBack(message, "declined", now);
      case wire.DHCP_RELEASE:
        return elsewhere ? null : this.#giveBack(message, "released", now);
      default:
        return this.#drop("dhcp-malformed");
    }
  }

  /** The lease table as plain data. */
  save(nameOf: (cable: object) => string): SavedRecord[] {
    return this.#leases.save(nameOf);
  }

  /** Takes over the lease table that another server like this one has saved. */
  restore(saved: readonly SavedRecord[], cableOf: (name: string) => object | null): void {
    this.#leases.restore(saved, cableOf);
  }

  /** The leases bound at `now`; with `live`, only those whose holder is there. */
  leases(now: number, live = false): Lease[] {
    const list: Lease[] = [];
    for (const record of this.#leases.records()) {
      if (record.state !== "bound" || record.until <= now || record.mac === null) continue;
      if (live && !isLive(record, now)) continue;
      list.push({ ip: ipv4ToString(record.ip), mac: record.mac, hostname: record.hostname, expires: record.until });
    }
    return list;
  }

  /**
   * The stack heard `mac` ("52:54:00:12:34:56") use `ip`: such an address is not handed to another guest. False if it
   * is leased to another guest already, and the claim not to be believed. A `cable` has few set aside so. Worth calling on ARP and on a new neighbour.
   */
  seen(ip: number, mac: string, now: number, cable: object | null = null): boolean {
    return this.#leases.seen(ip, mac, now, cable);
  }

  /** The holder of `ip` has been heard by ARP. */
  heard(ip: number): void {
    this.#leases.heard(ip);
  }

  /** Whether `ip` is leased to another guest than the one with this MAC on `cable`. */
  isAnothers(ip: number, mac: string, now: number, cable: object | null = null): boolean {
    return this.#leases.isAnothers(ip, mac, now, cable);
  }

  /** The first leased address whose guest is there; null for none. */
  firstLive(now: number): number | null {
    return this.#leases.firstLive(now);
  }

  /** Whether the holder of `ip` is gone. */
  isGone(ip: number, now: number): boolean {
    const record = this.#leases.get(ip);
    return record !== null && isGone(record, now);
  }

  /** Whether the holder of `ip` has asked what MTU it may use (option 26). */
  askedMtu(ip: number): boolean {
    return this.#leases.get(ip)?.mtuAsked ?? false;
  }

  /** The guest with this MAC was unplugged: its addresses yield to guests that are there, when no other is free. */
  vacate(mac: string, now: number): void {
    this.#leases.vacate(mac, now);
  }

  /** A cable was unplugged, and all guests on it. */
  unplugged(cable: object, now: number): void {
    this.#leases.unplugged(cable, now);
  }

  #discover(message: DhcpMessage, now: number, out: Uint8Array): DhcpReply | null {
    const record = this.#leases.offer(message.client, message.requestedIp, now, this.#cable);
    if (record === null) return this.#noAddress(message, now);
    return this.#reply(message, wire.DHCP_OFFER, ANY_ADDRESS, record.ip, out);
  }

  #request(message: DhcpMessage, now: number, out: Uint8Array): DhcpReply | null {
    const ip = message.requestedIp || message.ciaddr;
    if (ip === ANY_ADDRESS) return this.#drop("dhcp-malformed");
    if (message.requestedIp === ANY_ADDRESS) this.#leases.renews(message.client, ip, now);
    if (!this.#bind(message, ip, now + LEASE_TIME * 1000, now)) {
      // The client asks again before the holder's answer is due.
      return this.#leases.isAsked(ip, this.#cable) ? null : this.#nak(message, out);
    }
    return this.#reply(message, wire.DHCP_ACK, message.ciaddr, ip, out);
  }

  /** RFC 2131 section 4.3.5. Some clients leave ciaddr empty; then the source address stands for it. */
  #inform(message: DhcpMessage, srcIp: number, out: Uint8Array): DhcpReply {
    return this.#reply(message, wire.DHCP_ACK, message.ciaddr || srcIp, ANY_ADDRESS, out);
  }

  /** A BOOTP client that names its address wants only the rest (RFC 951 section 3, yiaddr). */
  #bootp(message: DhcpMessage, now: number, out: Uint8Array): DhcpReply | null {
    if (message.ciaddr !== ANY_ADDRESS) return this.#reply(message, 0, message.ciaddr, ANY_ADDRESS, out);
    const record = this.#leases.offer(message.client, ANY_ADDRESS, now, this.#cable);
    if (record === null) return this.#noAddress(message, now);
    // A BOOTP client never renews (RFC 1534 section 2).
    this.#bind(message, record.ip, Number.POSITIVE_INFINITY, now);
    return this.#reply(message, 0, ANY_ADDRESS, record.ip, out);
  }

  #bind(message: DhcpMessage, ip: number, until: number, now: number): boolean {
    const record = this.#leases.claim(message.client, ip, now, this.#cable);
    if (record === null) return false;
    const fresh = this.#leases.bind(record, message.client, until, now, this.#cable);
    record.hostname = message.hostname ?? record.hostname;
    record.mtuAsked = message.parameters.has(wire.OPT_MTU);
    if (fresh) this.#report(message.client, record.ip, record.hostname, "bound");
    return true;
  }

  #giveBack(message: DhcpMessage, action: "declined" | "released", now: number): null {
    const record =
      action === "declined"
        ? this.#leases.decline(message.client, message.requestedIp, now)
        : this.#leases.release(message.client, message.ciaddr, now);
    if (record === null) return this.#drop("dhcp-not-holder");
    this.#report(message.client, record.ip, record.hostname, action);
    return null;
  }

  #nak(message: DhcpMessage, out: Uint8Array): DhcpReply {
    const limit = this.#limit(message);
    wire.dhcpWriteHeader(out, limit, message.buf, message.at, ANY_ADDRESS, ANY_ADDRESS, ANY_ADDRESS);
    const options = this.#options.preamble(message, wire.DHCP_NAK);
    options.push({ code: wire.OPT_MESSAGE, data: text("this address is not yours to use here") });
    const len = wire.dhcpWriteOptions(out, limit, options, true);
    return { len, dstIp: LIMITED_BROADCAST, broadcast: true };
  }

  /** An OFFER or ACK; type 0 is BOOTP's reply. */
  #reply(message: DhcpMessage, type: number, ciaddr: number, yiaddr: number, out: Uint8Array): DhcpReply {
    const limit = this.#limit(message);
    wire.dhcpWriteHeader(out, limit, message.buf, message.at, message.ciaddr, yiaddr, this.#nextServer);
    if (this.#serverName !== null) wire.dhcpWriteServerName(out, this.#serverName);
    if (this.#bootfile !== null) wire.dhcpWriteFile(out, this.#bootfile);
    const options = this.#options.of(message, type, yiaddr !== ANY_ADDRESS);
    if (wire.DHCP_HEADER + wire.dhcpOptionsSize(options) > limit) {
      essentialFirst(options);
    }
    const len = wire.dhcpWriteOptions(out, limit, options, type !== 0, () => this.#searchListCut(limit));
    const here = ciaddr !== ANY_ADDRESS && (ciaddr & this.#mask) === this.#net && ciaddr !== (this.#net | ~this.#mask);
    return { len, dstIp: here ? ciaddr : LIMITED_BROADCAST, broadcast: !here };
  }

  /** Logged once, since it concerns all clients of that kind. */
  #searchListCut(limit: number): void {
    if (this.#cutTold) return;
    this.#cutTold = true;
    const text = `a guest takes DHCP replies of ${limit + HEADERS} bytes: it is told the first search domains, those that fit`;
    this.#trace.event({ type: "notice", text });
  }

  /** The longest reply that this client takes, in bytes of UDP payload. */
  #limit(message: DhcpMessage): number {
    if (message.type === 0) return wire.BOOTP_LENGTH;
    return Math.min(Math.max(message.maxDatagram, MIN_DATAGRAM), this.#maxDatagram) - HEADERS;
  }

  /** Logs that no address is left, at most once a minute. */
  #noAddress(message: DhcpMessage, now: number): null {
    if (now - this.#noticed >= NOTICE_MS) {
      this.#noticed = now;
      const text = `DHCP has no address for ${message.client.mac}: all are held, or its cable holds as many as it may`;
      this.#trace.event({ type: "notice", text: `${text} (--max leases=N, leasesPerGuest=N)` });
    }
    return this.#drop("dhcp-no-address");
  }

  #report(
    client: DhcpClient,
    ip: number,
    hostname: string | null,
    action: "bound" | "released" | "declined" | "reclaimed",
  ): void {
    this.#trace.event({ type: "lease", mac: client.mac, ip: ipv4ToString(ip), hostname, action });
  }

  #drop(reason: "dhcp-malformed" | "dhcp-no-address" | "dhcp-not-holder" | "dhcp-relayed"): null {
    this.#trace.drop(reason);
    return null;
  }
}
