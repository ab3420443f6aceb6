/** Joins two sockets: each one's bytes, end and breaking reach the other. */
import type { Duplex } from "node:stream";

export function splice(a: Duplex, b: Duplex): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("error", () => to.destroy());
    // `pipe` passes on an orderly end; earlier bytes must still arrive.
    from.on("close", () => {
      if (!from.readableEnded) to.destroy();
    });
    from.pipe(to);
  }
}
