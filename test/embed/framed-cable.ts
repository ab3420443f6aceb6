/** A guest's cable over a stream, as QEMU's `-netdev stream`: each frame behind its length in four bytes. */
import type { Duplex } from "node:stream";
import type { GuestCable } from "../../src/cli/guest/guest.ts";

export function framedCable(stream: Duplex): GuestCable {
  let unread = Buffer.alloc(0);
  const cable: GuestCable = {
    onFrame: null,
    send(frame) {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      stream.write(Buffer.concat([length, frame]));
    },
  };
  stream.on("data", (bytes: Buffer) => {
    unread = Buffer.concat([unread, bytes]);
    while (unread.length >= 4 && unread.length >= 4 + unread.readUInt32BE(0)) {
      const end = 4 + unread.readUInt32BE(0);
      cable.onFrame?.(Uint8Array.from(unread.subarray(4, end)));
      unread = unread.subarray(end);
    }
  });
  return cable;
}
