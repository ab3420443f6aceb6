/** The guests' networks and our addresses in them. */
import * as z from "zod/mini";
import { parseSubnet4, SUBNET4 } from "../subnet4.ts";
import { parseNet6, SUBNET6 } from "../subnet6.ts";
import { bool, checked, ipv4, ipv6, type NetworkGroup, ON_OFF, TEXT, wholeNumber } from "./description.ts";
import { MAX_MTU, MIN_MTU, SMALLEST_MTU } from "./mtu.ts";

const MTU = `expected a whole number from ${MIN_MTU} to ${MAX_MTU}`;
const STATIC = 'expected addresses by MAC, like { "52:54:00:12:34:56": "10.0.2.40" }';

export const ADDRESSES: NetworkGroup<
  | "subnet"
  | "host"
  | "dns"
  | "dhcpStart"
  | "ipv4"
  | "ipv6"
  | "subnet6"
  | "host6"
  | "dns6"
  | "mtu"
  | "dhcp"
  | "staticLeases"
> = {
  subnet: {
    flag: "--net <cidr>",
    reading: TEXT,
    netdev: "net",
    type: "string",
    help: "the guests' network, `ADDR/PREFIX` with a prefix from 4 to 29",
    initial: "10.0.2.0/24",
    shape: () => checked(SUBNET4, (text) => parseSubnet4(text) !== null),
  },
  host: {
    flag: "--host <ip>",
    reading: TEXT,
    netdev: "host",
    type: "string",
    help: "the gateway's address, through which guests reach the host",
    initial: "10.0.2.2",
    more: "In another network: its address 0.0.2.2 under the network's mask, as in QEMU.",
    shape: ipv4,
  },
  dns: {
    flag: "--dns <ip>",
    reading: TEXT,
    netdev: "dns",
    type: "string",
    help: "the address of the DNS server, which guests are told",
    initial: "10.0.2.3",
    shape: ipv4,
  },
  dhcpStart: {
    flag: "--dhcpstart <ip>",
    reading: TEXT,
    netdev: "dhcpstart",
    type: "string",
    help: "the first of up to 16 addresses that DHCP leases",
    initial: "10.0.2.15",
    shape: ipv4,
  },
  ipv4: {
    flag: "--ipv4 <on|off>",
    reading: ON_OFF,
    netdev: "ipv4",
    type: "boolean",
    help: "guests have IPv4",
    initial: "on",
    shape: bool,
  },
  ipv6: {
    flag: "--ipv6 <on|off>",
    reading: ON_OFF,
    netdev: "ipv6",
    type: "boolean",
    help: "guests have IPv6",
    initial: "on",
    shape: bool,
  },
  subnet6: {
    flag: "--ipv6-net <cidr>",
    reading: TEXT,
    netdev: "ipv6-net",
    type: "string",
    help: "the guests' IPv6 network, `ADDR/PREFIX`; they make their own addresses in it if the prefix is 64",
    initial: "fec0::/64",
    shape: () => checked(SUBNET6, (text) => parseNet6(text) !== null),
  },
  host6: {
    flag: "--ipv6-host <ip>",
    reading: TEXT,
    netdev: "ipv6-host",
    type: "string",
    help: "the gateway's IPv6 address, through which guests reach the host's ::1",
    initial: "fec0::2",
    shape: ipv6,
  },
  dns6: {
    flag: "--ipv6-dns <ip>",
    reading: TEXT,
    netdev: "ipv6-dns",
    type: "string",
    help: "the IPv6 address of the DNS server",
    initial: "fec0::3",
    shape: ipv6,
  },
  mtu: {
    flag: "--mtu <bytes>",
    // The lower limit without an uplink is checked with the library's options, since an uplink changes it.
    reading: { as: "number", min: SMALLEST_MTU, max: MAX_MTU },
    type: "number",
    help: `the MTU that guests are told, ${MIN_MTU} to ${MAX_MTU} bytes`,
    initial: `${MAX_MTU}; 1500 when a cable is UDP`,
    more: `DHCP tells it to guests that ask, IPv6's router to all. With an uplink: ${SMALLEST_MTU} to what fits it.`,
    shape: () => wholeNumber(SMALLEST_MTU, MAX_MTU, MTU),
  },
  dhcp: {
    flag: "--dhcp <on|off>",
    reading: ON_OFF,
    type: "boolean",
    help: "give guests addresses, by DHCP, DHCPv6 and router advertisements",
    initial: "on; off in mode bridged, where on makes tslirp the segment's gateway",
    shape: bool,
  },
  staticLeases: {
    flag: "--lease <mac=ip>",
    reading: { as: "texts" },
    type: "Readonly<Record<string, string>>",
    help: "the IPv4 address that is leased to the guest with this MAC, and to nobody else",
    doc: '`{ "52:54:00:12:34:56": "10.0.2.40" }`',
    shape: () => z.record(z.string(), ipv4(), STATIC),
  },
};
