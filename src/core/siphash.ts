/** HalfSipHash-2-4 (Aumasson and Bernstein) of three 32-bit words, under a 64-bit secret that a guest cannot know. */
export function halfSipHash(k0: number, k1: number, a: number, b: number, c: number): number {
  let v0 = k0;
  let v1 = k1;
  let v2 = 0x6c796765 ^ k0;
  let v3 = 0x74656462 ^ k1;
  for (let word = 0; word < 5; word++) {
    const m = word === 0 ? a : word === 1 ? b : word === 2 ? c : word === 3 ? 12 << 24 : 0;
    if (word === 4) v2 ^= 0xff;
    else v3 ^= m;
    for (let round = word === 4 ? 4 : 2; round > 0; round--) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    if (word < 4) v0 ^= m;
  }
  return v1 ^ v3;
}
