/** Two sockets as one: what either says the other is told, its end and its breaking included. */
import type { Duplex } from "node:stream";

export function splice(a: Duplex, b: Duplex): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("error", () => to.destroy());
    // An end in order is told by `pipe`; what it has said before must still arrive.
    from.on("close", () => {
      if (!from.readableEnded) to.destroy();
    });
    from.pipe(to);
  }
}
