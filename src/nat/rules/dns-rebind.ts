/**
 * Refuses answers of the host's resolvers that lead a guest to private addresses. By such a name a web page can speak
 * to the guest's own network, or the host's, as if it belonged there (DNS rebinding). The whole answer is refused, as
 * dnsmasq does with `stop-dns-rebind`. Servers that are asked on purpose (a zone's servers, or those that `onFlow`
 * names) may give any answer.
 */
import { addressAt, type IpAddress } from "../../core/address.ts";
import type { HostDns } from "../../core/host-net.ts";
import type { Trace } from "../../core/trace.ts";
import { DNS_A, DNS_AAAA, DNS_IN, DNS_REFUSED, dnsAnswers, dnsCheck, dnsReply } from "../../wire/dns.ts";
import { isPrivate } from "./special-addresses.ts";

/** Wraps `host`. `isInside` knows the guests' own network, whose addresses may be of any kind. */
export function withoutRebinding(host: HostDns, trace: Trace, isInside: (address: IpAddress) => boolean): HostDns {
  return {
    query(query, tcp, onAnswer, servers) {
      if (servers !== undefined) return host.query(query, tcp, onAnswer, servers);
      host.query(query, tcp, (answer) => {
        if (answer === null || !leadsInside(answer, isInside)) return onAnswer(answer);
        trace.drop("dns-rebind");
        onAnswer(dnsReply(query, 0, query.length, DNS_REFUSED));
      });
    },
    close() {
      host.close();
    },
  };
}

function leadsInside(answer: Uint8Array, isInside: (address: IpAddress) => boolean): boolean {
  if (!dnsCheck(answer, 0, answer.length)) return false;
  let inside = false;
  dnsAnswers(answer, 0, answer.length, (_name, type, cls, _ttl, at, len) => {
    if (cls !== DNS_IN || !((type === DNS_A && len === 4) || (type === DNS_AAAA && len === 16))) return;
    const address = addressAt(len === 4 ? 4 : 6, answer, at);
    inside ||= isPrivate(address) || isInside(address);
  });
  return inside;
}
