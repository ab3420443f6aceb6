import type { HostDns } from "../../src/core/host-net.ts";

/** A `HostDns` that keeps what it is asked; the test answers. */
export class FakeDns implements HostDns {
  readonly asked: { query: Uint8Array; tcp: boolean; onAnswer: (answer: Uint8Array | null) => void }[] = [];

  query(query: Uint8Array, tcp: boolean, onAnswer: (answer: Uint8Array | null) => void): void {
    this.asked.push({ query: query.slice(), tcp, onAnswer });
  }

  close(): void {
    this.asked.length = 0;
  }
}
