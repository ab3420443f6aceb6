/**
 * The DHCPv6 server (RFC 8415) of a guest network, for guests that want an address and for those that made their own.
 *
 * A message comes in as UDP payload, the reply is written as UDP payload; `dhcp6-leases.ts` decides about addresses. The
 * pool begins with the network's ::15, as its IPv4 sister begins with .15, and has 256 addresses. This server is the only
 * one on its network, which settles what RFC 8415 leaves open: a client that remembers an address we know nothing of (we
 * were restarted) gets it if it is free.
 *
 *   Information-request   Reply without addresses
 *   Solicit               Advertise with the highest preference, so that the client need not wait for others;
 *                         Reply when it asks for rapid commit
 *   Request               Reply, the address bound
 *   Renew, Rebind         Reply, the lease extended; addresses that are not the client's end at once
 *   Confirm               Reply: on this link or not
 *   Release, Decline      Reply
 *
 * Messages from relays or servers, and those that RFC 8415 section 16 says to discard, are dropped.
 */
import type { IpText } from "../core/address.ts";
import type { Limits } from "../core/limits.ts";
import type { Trace } from "../core/trace.ts";
import { get32, put32 } from "../wire/bytes.ts";
import * as wire from "../wire/dhcp6.ts";
import { dnsEncodeNames } from "../wire/dns.ts";
import { IPV6_HEADER, IPV6_MIN_MTU, ipv6FromText, ipv6SamePrefix, ipv6ToString } from "../wire/ipv6.ts";
import type { Lease } from "./dhcp.ts";
import { type Association, type Lease6, Lease6Table } from "./dhcp6-leases.ts";
import { ASSOCIATIONS, ascii, Dhcp6Message, type Requested, same } from "./dhcp6-message.ts";
import { isLive, type SavedRecord } from "./holdings.ts";

/** Bytes that `out` must have for `Dhcp6Server.receive`: as much as fits a packet that every link carries. */
export const DHCP6_MAX_REPLY: number = IPV6_MIN_MTU - IPV6_HEADER - 8;

/** Where the pool begins within the network. */
const FIRST = 0x15;

/** Seconds. Renewal and rebinding follow RFC 8415 section 21.4: 0.5 and 0.8 of the preferred lifetime. */
const VALID = 86_400;
const PREFERRED = 43_200;
const T1: number = PREFERRED * 0.5;
const T2: number = PREFERRED * 0.8;
/** Seconds after which a guest with an address of its own asks again (RFC 8415 section 21.23). */
const REFRESH = 86_400;

/** Bytes for search domains in a reply, and for a boot file's URL. */
const MOST_NAMES = 255;
const MOST_URL = 255;
const HIGHEST_PREFERENCE = 255;
const RAPID_COMMIT: wire.Dhcp6Option = { code: wire.OPT6_RAPID_COMMIT, data: new Uint8Array(0) };

export interface Dhcp6Config {
  readonly limits: Limits;
  /** "fec0::" and its prefix length. */
  readonly net6: IpText;
  readonly prefix6: number;
  /** The gateway's and the virtual DNS server's addresses, which are not handed out. */
  readonly host6: IpText;
  readonly dns6: IpText;
  readonly dnssearch: readonly string[];
  /** A URL, or the name of a file that the gateway serves by TFTP; null for none. */
  readonly bootfile: string | null;
  readonly restrict: boolean;
}

/** Asks on a cable who has an address. False when that cannot be sent. */
type Ask6 = (address: Uint8Array, cable: object | null) => boolean;

export class Dhcp6Server {
  readonly #trace: Trace;
  readonly #serverId: Uint8Array;
  readonly #net: Uint8Array;
  readonly #bits: number;
  readonly #count: number;
  readonly #leases: Lease6Table;
  /** The cable by which the current message came. */
  #cable: object | null = null;
  /** Options for clients that ask for them, by code. */
  readonly #offered: ReadonlyMap<number, wire.Dhcp6Option>;

  /**
   * `mac` makes the server's identifier. `ask` asks by neighbour discovery whether the holder of an address is still there;
   * false when that cannot be sent.
   */
  constructor(config: Dhcp6Config, mac: Uint8Array, trace: Trace, ask: Ask6 = () => false) {
    this.#trace = trace;
    this.#serverId = wire.duidFromMac(mac);
    this.#net = ipv6FromText(config.net6);
    this.#bits = config.prefix6;
    const { leases6 } = config.limits;
    const room = config.prefix6 <= 112 ? leases6 : Math.max(0, 2 ** (128 - config.prefix6) - FIRST);
    this.#count = Math.min(leases6, room);
    const ours = [config.host6, config.dns6].map((own) => this.#index(ipv6FromText(own)));
    this.#leases = new Lease6Table(this.#count, ours, config.limits, (record) =>
      ask(this.#address(record.index), record.cable),
    );
    this.#leases.onYield = ({ mac, index, state }) => {
      if (state === "bound" && mac !== null) this.#report(mac, index, "reclaimed");
    };
    const offered: wire.Dhcp6Option[] = [];
    if (!config.restrict) offered.push(wire.dhcp6DnsOption([ipv6FromText(config.dns6)]));
    const names = dnsEncodeNames(config.dnssearch, MOST_NAMES);
    if (names.length > 0) offered.push({ code: wire.OPT6_DOMAIN_LIST, data: names });
    const url = config.bootfile === null ? null : bootUrl(config.bootfile, config.host6);
    if (url !== null) offered.push({ code: wire.OPT6_BOOTFILE_URL, data: ascii(url) });
    this.#offered = new Map(offered.map((option) => [option.code, option]));
  }

  /**
   * Takes the message in `len` bytes of UDP payload from the guest with this MAC ("52:54:00:12:34:56"); `multicast` says
   * whether it was sent to the servers' group. The reply, if there is one, stands in `out` from offset 0; its length is
   * returned, or 0. It came by `cable`, null where many machines are. `out` has at least `DHCP6_MAX_REPLY` bytes. It goes to the sender's address and port 546.
   */
  receive(
    buf: Uint8Array,
    at: number,
    len: number,
    mac: string,
    multicast: boolean,
    now: number,
    out: Uint8Array,
    cable: object | null = null,
  ): number {
    this.#cable = cable;
    const type = wire.dhcp6Type(buf, at, len);
    if (type === wire.DHCP6_RELAY_FORWARD) return this.#drop("dhcp6-relayed");
    const options = type < 0 ? null : wire.dhcp6Options(buf, at + wire.DHCP6_HEADER, len - wire.DHCP6_HEADER);
    if (options === null) return this.#drop("dhcp6-malformed");
    const message = new Dhcp6Message(type, wire.dhcp6Xid(buf, at), options, mac);
    if (!this.#acceptable(message, multicast)) return this.#drop("dhcp6-malformed");
    if (message.serverId !== null && !same(message.serverId, this.#serverId)) return 0;
    const reply = this.#answer(message, multicast, now);
    if (reply === null) return this.#drop("dhcp6-malformed");
    return wire.dhcp6Write(out, DHCP6_MAX_REPLY, reply.type, message.xid, reply.options);
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
      const { state, until, mac, index } = record;
      if (state !== "bound" || until <= now || mac === null || (live && !isLive(record, now))) continue;
      list.push({ ip: ipv6ToString(this.#address(index)), mac, hostname: null, expires: until });
    }
    return list;
  }

  /**
   * The stack heard `mac` use the address at `addrAt`: such an address is not handed to another guest. False if it is
   * leased to another guest already, and the claim not to be believed. Worth calling on a new neighbour.
   */
  seen(buf: Uint8Array, addrAt: number, mac: string, now: number, cable: object | null = null): boolean {
    return this.#leases.seen(this.#index(buf.subarray(addrAt, addrAt + 16)), mac, now, cable);
  }

  /** The holder of the address at `addrAt` has been heard by neighbour discovery. */
  heard(buf: Uint8Array, addrAt: number): void {
    this.#leases.heard(this.#index(buf.subarray(addrAt, addrAt + 16)));
  }

  /** Whether the address at `addrAt` is leased to another guest than the one with this MAC on `cable`. */
  isAnothers(buf: Uint8Array, addrAt: number, mac: string, now: number, cable: object | null = null): boolean {
    return this.#leases.isAnothers(this.#index(buf.subarray(addrAt, addrAt + 16)), mac, now, cable);
  }

  /** The first leased address whose guest is there; null for none. */
  firstLive(now: number): Uint8Array | null {
    const index = this.#leases.firstLive(now);
    return index === null ? null : this.#address(index);
  }

  /** Whether the holder of an address is gone. */
  isGone(address: Uint8Array, now: number): boolean {
    return this.#leases.isGone(this.#index(address), now);
  }

  /** The guest with this MAC was unplugged: its addresses yield to guests that are there, when no other is free. */
  vacate(mac: string, now: number): void {
    this.#leases.vacate(mac, now);
  }

  /** A cable was unplugged, and all guests on it. */
  unplugged(cable: object, now: number): void {
    this.#leases.unplugged(cable, now);
  }

  /** The conditions of RFC 8415 section 16 that each message has to meet. */
  #acceptable(message: Dhcp6Message, multicast: boolean): boolean {
    const { clientId, serverId } = message;
    if (clientId !== null && (clientId.length < wire.DUID_MIN || clientId.length > wire.DUID_MAX)) return false;
    switch (message.type) {
      case wire.DHCP6_SOLICIT:
      case wire.DHCP6_CONFIRM:
      case wire.DHCP6_REBIND:
        return clientId !== null && serverId === null && multicast;
      case wire.DHCP6_REQUEST:
      case wire.DHCP6_RENEW:
      case wire.DHCP6_RELEASE:
      case wire.DHCP6_DECLINE:
        return clientId !== null && serverId !== null;
      case wire.DHCP6_INFORMATION_REQUEST:
        return multicast && !message.options.some((option) => ASSOCIATIONS.has(option.code));
      default:
        return false;
    }
  }

  #answer(message: Dhcp6Message, multicast: boolean, now: number): Reply | null {
    // We never allowed clients to write to us by unicast (RFC 8415 section 18.4).
    if (!multicast) return this.#status(message, wire.STATUS6_USE_MULTICAST, "use multicast");
    switch (message.type) {
      case wire.DHCP6_SOLICIT:
        return this.#solicit(message, now);
      case wire.DHCP6_REQUEST:
        return this.#reply(
          message,
          this.#associations(message, (ia) => this.#request(ia, now)),
        );
      case wire.DHCP6_RENEW:
      case wire.DHCP6_REBIND:
        return this.#reply(
          message,
          this.#associations(message, (ia) => this.#extend(ia, now)),
        );
      case wire.DHCP6_CONFIRM:
        return this.#confirm(message);
      case wire.DHCP6_RELEASE:
      case wire.DHCP6_DECLINE:
        return this.#giveBack(message, now);
      default:
        return this.#reply(message, message.asked.has(wire.OPT6_REFRESH_TIME) ? [refreshOption()] : []);
    }
  }

  /** RFC 8415 section 18.3.1. */
  #solicit(message: Dhcp6Message, now: number): Reply {
    const rapid = wire.dhcp6Find(message.options, wire.OPT6_RAPID_COMMIT) !== null;
    const associations = this.#associations(message, (ia) => this.#assign(ia, rapid, now));
    if (rapid) return this.#reply(message, [RAPID_COMMIT, ...associations]);
    const preference = { code: wire.OPT6_PREFERENCE, data: Uint8Array.of(HIGHEST_PREFERENCE) };
    return { ...this.#reply(message, [preference, ...associations]), type: wire.DHCP6_ADVERTISE };
  }

  /** RFC 8415 section 18.3.3. No reply when there is nothing to confirm. */
  #confirm(message: Dhcp6Message): Reply | null {
    const addresses = message.associations.flatMap((ia) => ia.addresses);
    if (addresses.length === 0) return null;
    if (addresses.every((address) => this.#onLink(address))) {
      return this.#status(message, wire.STATUS6_SUCCESS, "on this link");
    }
    return this.#status(message, wire.STATUS6_NOT_ON_LINK, "not on this link");
  }

  /** RFC 8415 sections 18.3.7 and 18.3.8: success for the whole, and a status for associations that are not bound. */
  #giveBack(message: Dhcp6Message, now: number): Reply {
    const released = message.type === wire.DHCP6_RELEASE;
    const answers: wire.Dhcp6Option[] = [];
    for (const ia of message.associations) {
      let bound = false;
      for (const address of ia.addresses) {
        const record = this.#leases.holding(ia.client, this.#index(address), now);
        if (record === null) continue;
        bound = true;
        if (released) this.#leases.release(record, now);
        else this.#leases.decline(record, now);
        this.#report(ia.client.mac, record.index, released ? "released" : "declined");
      }
      if (bound) continue;
      this.#trace.drop("dhcp6-not-holder");
      answers.push(without(ia, wire.STATUS6_NO_BINDING, "not bound to you"));
    }
    return this.#status(message, wire.STATUS6_SUCCESS, released ? "released" : "declined", answers);
  }

  /** An association of a Request (section 18.3.2). */
  #request(ia: Requested, now: number): wire.Dhcp6Option {
    if (ia.addresses.every((address) => this.#onLink(address))) return this.#assign(ia, true, now);
    return without(ia, wire.STATUS6_NOT_ON_LINK, "not on this link");
  }

  /** An association with an address (its own, the one it asked for, or another), or the status that none is left. */
  #assign(ia: Requested, bind: boolean, now: number): wire.Dhcp6Option {
    const wanted = ia.addresses[0];
    const record = this.#leases.offer(ia.client, wanted === undefined ? -1 : this.#index(wanted), now, this.#cable);
    if (record === null) {
      this.#trace.drop("dhcp6-no-address");
      return without(ia, wire.STATUS6_NO_ADDRS, "none left");
    }
    if (bind) this.#bind(record, ia.client, now);
    return wire.dhcp6IaOption(wire.OPT6_IA_NA, ia.client.iaid, T1, T2, [this.#addressOption(record)]);
  }

  /**
   * An association of a Renew or Rebind (sections 18.3.4 and 18.3.5). Addresses that are not the client's get no more
   * time.
   */
  #extend(ia: Requested, now: number): wire.Dhcp6Option {
    let record: Lease6 | null = null;
    const ended: wire.Dhcp6Option[] = [];
    for (const address of ia.addresses) {
      const claimed: Lease6 | null =
        record === null ? this.#leases.claim(ia.client, this.#index(address), now, this.#cable) : null;
      if (claimed !== null) record = claimed;
      else ended.push(wire.dhcp6IaAddrOption(address, 0, 0, 0));
    }
    // An association that lists no address asks for the one that it has.
    if (record === null && ia.addresses.length === 0) {
      const own = this.#leases.find(ia.client);
      if (own !== null && own.state === "bound" && own.until > now) record = own;
    }
    if (record === null) {
      if (ended.length > 0) return wire.dhcp6IaOption(wire.OPT6_IA_NA, ia.client.iaid, 0, 0, ended);
      return without(ia, wire.STATUS6_NO_BINDING, "not bound to you");
    }
    this.#bind(record, ia.client, now);
    return wire.dhcp6IaOption(wire.OPT6_IA_NA, ia.client.iaid, T1, T2, [this.#addressOption(record), ...ended]);
  }

  #associations(message: Dhcp6Message, answer: (ia: Requested) => wire.Dhcp6Option): wire.Dhcp6Option[] {
    return [...message.associations.map(answer), ...message.refused];
  }

  #bind(record: Lease6, client: Association, now: number): void {
    const fresh = this.#leases.bind(record, client, now + VALID * 1000, now, this.#cable);
    if (fresh) this.#report(client.mac, record.index, "bound");
  }

  /** A Reply: both identifiers, the associations, and the requested options. */
  #reply(message: Dhcp6Message, options: readonly wire.Dhcp6Option[]): Reply {
    const asked: wire.Dhcp6Option[] = [];
    for (const code of message.asked) {
      const option = this.#offered.get(code);
      if (option !== undefined) asked.push(option);
    }
    // UEFI's HTTP boot ignores offers without this class (UEFI 2.10 section 24.7).
    if (message.httpBoot !== null) asked.push(message.httpBoot);
    return { type: wire.DHCP6_REPLY, options: [...this.#identifiers(message), ...options, ...asked] };
  }

  /** A Reply with a status for the whole message. */
  #status(message: Dhcp6Message, status: number, text: string, rest: readonly wire.Dhcp6Option[] = []): Reply {
    const options = [...this.#identifiers(message), wire.dhcp6StatusOption(status, text), ...rest];
    return { type: wire.DHCP6_REPLY, options };
  }

  #identifiers(message: Dhcp6Message): wire.Dhcp6Option[] {
    const server = { code: wire.OPT6_SERVER_ID, data: this.#serverId };
    return message.clientId === null ? [server] : [{ code: wire.OPT6_CLIENT_ID, data: message.clientId }, server];
  }

  #addressOption(record: Lease6): wire.Dhcp6Option {
    return wire.dhcp6IaAddrOption(this.#address(record.index), 0, PREFERRED, VALID);
  }

  #onLink(address: Uint8Array): boolean {
    return ipv6SamePrefix(address, 0, this.#net, 0, this.#bits);
  }

  /** The address's place in the pool; -1 when it is not in the pool. */
  #index(address: Uint8Array): number {
    const index = (get32(address, 12) >>> 0) - this.#base();
    if (index < 0 || index >= this.#count) return -1;
    return same(this.#address(index), address) ? index : -1;
  }

  #address(index: number): Uint8Array {
    const address = this.#net.slice();
    put32(address, 12, this.#base() + index);
    return address;
  }

  #base(): number {
    return (get32(this.#net, 12) >>> 0) + FIRST;
  }

  #report(mac: string, index: number, action: "bound" | "released" | "declined" | "reclaimed"): void {
    this.#trace.event({ type: "lease", mac, ip: ipv6ToString(this.#address(index)), hostname: null, action });
  }

  #drop(reason: "dhcp6-malformed" | "dhcp6-relayed"): number {
    this.#trace.drop(reason);
    return 0;
  }
}

interface Reply {
  readonly type: number;
  readonly options: readonly wire.Dhcp6Option[];
}

/** An association that gets no address, and why. */
function without(ia: Requested, status: number, text: string): wire.Dhcp6Option {
  return wire.dhcp6IaOption(wire.OPT6_IA_NA, ia.client.iaid, 0, 0, [wire.dhcp6StatusOption(status, text)]);
}

/** The boot file's URL (RFC 5970 section 3.1); null if it is too long, or contains characters that a URL must not. */
function bootUrl(bootfile: string, host6: IpText): string | null {
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(bootfile)
    ? bootfile
    : `tftp://[${host6}]/${bootfile.replace(/^\/+/, "")}`;
  return url.length <= MOST_URL && /^[!-~]+$/.test(url) ? url : null;
}

function refreshOption(): wire.Dhcp6Option {
  const data = new Uint8Array(4);
  put32(data, 0, REFRESH);
  return { code: wire.OPT6_REFRESH_TIME, data };
}
