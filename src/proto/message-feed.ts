/** Readers of a connection's bytes, of which each message goes on once it has been read. */
export abstract class MessageFeed {
  /** Whether the rest of the connection passes unread. */
  abstract get over(): boolean;

  /**
   * Returns how many of these bytes may go to the server. The caller gives the others again, in front of later ones.
   * Returns -1 when the connection has been refused.
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

  /** Returns how many bytes may go on; 0 when more have to come, -1 when the connection is refused. */
  protected abstract step(buf: Uint8Array, at: number, end: number): number;
}
