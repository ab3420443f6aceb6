/** Options about what guests are told and served: names, boot files, folders, forwards. */
import { statSync } from "node:fs";
import { checked, domain, grammar, ipv4, LIST, list, type NetworkGroup, name, resolver, TEXT } from "./description.ts";

const BOOTFILE = "expected a file name of 1 to 127 bytes";
const FOLDER = "expected a folder that exists";

const folder = () => checked(FOLDER, isFolder);

export const SERVICES: NetworkGroup<
  | "hostname"
  | "domainname"
  | "dnsSearch"
  | "dnsUpstream"
  | "dnsHosts"
  | "dnsZones"
  | "bootfile"
  | "tftp"
  | "tftpServerName"
  | "smb"
  | "smbServer"
  | "hostfwd"
  | "publish"
  | "guestfwd"
> = {
  hostname: {
    flag: "--hostname <name>",
    reading: TEXT,
    netdev: "hostname",
    type: "string",
    help: "the host name that guests are given by DHCP (option 12)",
    shape: name,
  },
  domainname: {
    flag: "--domainname <name>",
    reading: TEXT,
    netdev: "domainname",
    type: "string",
    help: "the domain that guests are given by DHCP (option 15)",
    shape: domain,
  },
  dnsSearch: {
    flag: "--dnssearch <domain>",
    reading: LIST,
    netdev: "dnssearch",
    type: "readonly string[]",
    help: "a search domain that guests are given by DHCP (option 119)",
    shape: () => list(domain(), "expected a list of domain names"),
  },
  dnsUpstream: {
    flag: "--dns-upstream <ip[:port]>",
    reading: LIST,
    type: "readonly string[]",
    help: "a resolver to forward guests' queries to",
    initial: "the host's resolvers, read again when they change",
    shape: () => list(resolver(), 'expected a list of resolvers like ["192.0.2.53"]'),
  },
  dnsHosts: {
    flag: "--dns-host <name=ip>",
    reading: LIST,
    type: "readonly string[]",
    help: "a name and its address, which the DNS server answers by itself, both ways; IP may be `gateway`",
    more: "Several lines of one name add up. Rules about names hold for these, too.",
    shape: () => grammar("db.example.com=10.1.2.3", "names"),
  },
  dnsZones: {
    flag: "--dns-zone <zone=ip[:port]>",
    reading: LIST,
    type: "readonly string[]",
    help: "the resolver for names in a zone (split DNS); several resolvers of one zone are tried in turn",
    more: "The longest zone that fits counts; reverse zones (`10.in-addr.arpa=…`) work as well. `--dns-rebind refuse` does not look at its answers.",
    shape: () => grammar("corp.example.com=10.1.0.53", "zones"),
  },
  bootfile: {
    flag: "--bootfile <file>",
    reading: TEXT,
    netdev: "bootfile",
    type: "string",
    help: "the name of the file that PXE clients boot, at most 127 bytes",
    shape: () => checked(BOOTFILE, isBootfile),
  },
  tftp: {
    flag: "--tftp <folder>",
    reading: TEXT,
    netdev: "tftp",
    type: "string",
    help: "a folder whose files guests may read by TFTP, from the gateway",
    more: "Nothing outside the folder is read, wherever links lead.",
    shape: folder,
  },
  tftpServerName: {
    flag: "--tftp-server-name <name>",
    reading: TEXT,
    netdev: "tftp-server-name",
    type: "string",
    help: "the server that has the boot file, told by DHCP (option 66)",
    initial: "the gateway",
    shape: name,
  },
  smb: {
    flag: "--smb <folder>",
    reading: TEXT,
    netdev: "smb",
    type: "string",
    help: "a folder that guests may read and write over SMB, as `\\\\10.0.2.4\\qemu`; needs Samba on the host",
    more: "Each connection has an `smbd` of its own (Debian: `samba`).",
    shape: folder,
  },
  smbServer: {
    flag: "--smbserver <ip>",
    reading: TEXT,
    netdev: "smbserver",
    type: "string",
    help: "the address of the SMB server in the guests' network",
    initial: "10.0.2.4",
    shape: ipv4,
  },
  hostfwd: {
    flag: "--hostfwd <rule>",
    reading: LIST,
    netdev: "hostfwd",
    type: "readonly string[]",
    help: "forward a port of the host to a guest, in QEMU's syntax: `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport` or `unix:PATH-[guestaddr]:port`",
    more: "IPv6 stands in brackets: `tcp:[::1]:2222-[fec0::15]:22`.",
    shape: () => grammar("tcp::2222-:22"),
  },
  publish: {
    flag: "-p, --publish <rule>",
    reading: LIST,
    type: "readonly string[]",
    help: "forward a port of the host to a guest, in Docker's syntax: `[GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/udp]`; HOST is 127.0.0.1 unless given",
    more: "GUEST is a DHCP host name (`web:2222:22`); without it the port leads to the first lease, with IPv4 off to DHCPv6's.",
    shape: () => grammar("2222:22"),
  },
  guestfwd: {
    flag: "--guestfwd <rule>",
    reading: LIST,
    netdev: "guestfwd",
    type: "readonly string[]",
    help: "serve guests at an address of their network by a command, a TCP server or a UNIX socket of the host: `[tcp]:server:port-cmd:COMMAND`, `-tcp:HOST:PORT` or `-unix:PATH`",
    more: "`--restrict` leaves it open, as in QEMU.",
    shape: () => grammar("tcp:10.0.2.100:80-cmd:cat"),
  },
};

function isBootfile(text: string): boolean {
  return !text.includes("\0") && Buffer.byteLength(text) >= 1 && Buffer.byteLength(text) <= 127;
}

function isFolder(name: string): boolean {
  try {
    return statSync(name).isDirectory();
  } catch {
    return false;
  }
}
