/**
 * Answers of the host's resolvers that lead a guest to private addresses: by such a name a page of the Internet's speaks
 * to the guest's own network, or to the host's, as if it belonged there (DNS rebinding). Where that is refused the whole
 * answer is, as dnsmasq does with `stop-dns-rebind`. Servers that are asked on purpose, a
 * zone's or by `onFlow`, may answer what they like.
 */
import { addressAt } from "../../core/address.ts";
import type { HostDns } from "../../core/host-net.ts";
import type { Trace } from "../../core/trace.ts";
import { DNS_A, DNS_AAAA, DNS_IN, DNS_REFUSED, dnsAnswers, dnsCheck, dnsReply } from "../../wire/dns.ts";
import { isPrivate } from "./special-addresses.ts";

export function withoutRebinding(host: HostDns, trace: Trace): HostDns {
  return {
    query(query, tcp, onAnswer, servers) {
      if (servers !== undefined) return host.query(query, tcp, onAnswer, servers);
      host.query(query, tcp, (answer) => {
        if (answer === null || !leadsInside(answer)) return onAnswer(answer);
        trace.drop("dns-rebind");
        onAnswer(dnsReply(query, 0, query.length, DNS_REFUSED));
      });
    },
    close() {
      host.close();
    },
  };
}

function leadsInside(answer: Uint8Array): boolean {
  if (!dnsCheck(answer, 0, answer.length)) return false;
  let inside = false;
  dnsAnswers(answer, 0, answer.length, (_name, type, cls, _ttl, at, len) => {
    if (cls !== DNS_IN || !((type === DNS_A && len === 4) || (type === DNS_AAAA && len === 16))) return;
    inside ||= isPrivate(addressAt(len === 4 ? 4 : 6, answer, at));
  });
  return inside;
}
