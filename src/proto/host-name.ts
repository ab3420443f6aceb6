/**
 * The name that a guest may give itself: one label of DNS, and no word that programs look up by themselves.
 *
 * A guest gives its name by DHCP (option 12), and others find it by that name. So a name must never be one of the
 * Internet's (`www.bank.example`): of several labels only the first counts. Nor may it be a word that browsers, boot
 * agents and resolvers look up unasked, and whose answer they believe.
 */

/** Longest label (RFC 1035 section 2.3.4). */
const MOST = 63;

/** Words that no guest may have as its name. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  // The machine itself, as hosts files and resolvers know it (RFC 6761, systemd's nss-myhostname), and our own names.
  ...["localhost", "localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "loopback"],
  ...["broadcasthost", "gateway", "outbound", "internal", "local"],
  // Proxies, tunnels and mail settings: WPAD, ISATAP (RFC 5214 section 8.3.2), Teredo, autodiscovery.
  ...["wpad", "isatap", "teredo", "autodiscover", "autoconfig"],
  // The names that cloud-init and the clouds' agents ask for metadata and passwords (EC2, CloudStack, Google and
  // others).
  ...["metadata", "metadata-server", "computemetadata", "instance-data", "data-server", "imds", "cloud-init"],
  // Servers that agents take orders or keys from at their first start: Salt, Puppet, UniFi, Kerberos.
  ...["salt", "puppet", "puppetca", "unifi", "kerberos"],
  // Names that are special in the world (RFC 6761, RFC 7686).
  ...["test", "invalid", "example", "onion"],
  // The name that tells Firefox not to use DNS over HTTPS, and the one of the network's encrypted resolver (RFC 9462).
  ...["use-application-dns", "resolver"],
]);

/**
 * A guest's name for itself: the first label in lower case; characters that are neither letter, digit nor inner hyphen
 * become hyphens (RFC 1123 section 2.1). Null if nothing is left, for reserved words, and for names that a program
 * would read as an address ("127", "0x7f000001": inet_aton).
 */
export function guestLabel(bytes: Uint8Array): string | null {
  const nul = bytes.indexOf(0);
  const label = String.fromCharCode(...bytes.subarray(0, Math.min(nul < 0 ? 255 : nul, 255)))
    .toLowerCase()
    .split(".")[0]!
    .replace(/[^a-z0-9]/g, "-")
    .slice(0, MOST)
    .replace(/^-+/, "")
    .replace(/-+$/, "");
  return label === "" || RESERVED_NAMES.has(label) || /^(?:\d+|0x[0-9a-f]*)$/.test(label) ? null : label;
}
