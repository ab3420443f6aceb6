/** A connection's bytes, of which each message goes on when it has been looked at: how readers of them are fed. */
export abstract class MessageFeed {
  /** Whether the rest of the connection passes. */
  abstract get over(): boolean;

  /**
   * How many of these bytes may go to the server. The others are to be given again, in front of those that follow; -1
   * when the connection has been refused.
   */
  feed(buf: Uint8Array, at: number, len: number): number {
    const end = at + len;
    let next = at;
    while (next < end) {
      const taken = this.step(buf, next, end);
      if (taken < 0) return -1;
      if (taken === 0) break;
      next += taken;
    }
    return next - at;
  }

  /** Bytes that may go on; 0 when more have to come, -1 when it is refused. */
  protected abstract step(buf: Uint8Array, at: number, end: number): number;
}
