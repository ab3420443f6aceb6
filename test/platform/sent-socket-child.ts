/**
 * Takes a socket from its parent, moves it to one that reads by `onread`, and tells what it has read of it by which means. One that comes
 * before there is somebody to take it is read by Node meanwhile: hence "ready".
 */
import type net from "node:net";
import { adopt } from "../../src/attach/stream.ts";

process.on("message", (_message, sent: net.Socket) => {
  const early = sent.bytesRead;
  const area = new Uint8Array(64);
  let text = "";
  const socket = adopt(sent, {
    buffer: area,
    callback: (n, buffer) => {
      text += Buffer.from(buffer.subarray(0, n)).toString();
      if (text === "early and late") process.send!({ early, text, ours: buffer === area });
      return true;
    },
  });
  socket!.write("answer");
  socket!.once("end", () => process.disconnect());
});
process.send!("ready");
