import {
  DNS_HEADER,
  DNS_NOERROR,
  dnsCheck,
  dnsId,
  dnsIsResponse,
  dnsQuestionCount,
  dnsQuestionEnd,
  dnsRcode,
  dnsReply,
  dnsSameQuestion,
  dnsSetId,
} from "../wire/dns.ts";

/**
 * Makes a server's message the answer to `query`, in place: with the guest's ID instead of `id`, and the question in
 * the guest's letters. Null when the message does not answer the query that we sent under `id` (RFC 5452 section 9.1).
 *
 * A server that could not read the question may return a header alone, with an error. That counts as its answer to us,
 * because it can only make the query fail.
 */
export function matchAnswer(query: Uint8Array, id: number, answer: Uint8Array): Uint8Array | null {
  if (answer.length < DNS_HEADER || dnsId(answer, 0) !== id || !dnsIsResponse(answer, 0)) return null;
  if (dnsQuestionCount(answer, 0) === 0 && answer.length === DNS_HEADER) {
    const rcode = dnsRcode(answer, 0);
    return rcode === DNS_NOERROR ? null : dnsReply(query, 0, query.length, rcode);
  }
  if (!dnsCheck(answer, 0, answer.length) || !dnsSameQuestion(query, 0, answer, 0)) return null;
  dnsSetId(answer, 0, dnsId(query, 0));
  answer.set(query.subarray(DNS_HEADER, dnsQuestionEnd(query, 0)), DNS_HEADER);
  return answer;
}
