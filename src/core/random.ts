/** Unpredictable numbers: ISNs, ports, DNS and IP identifiers. The host's is cryptographic, a test's is seeded. */
export interface Random {
  /** A whole number of 32 bits, unsigned. */
  u32(): number;
}
