import type { NodeHostNet } from "../../src/host/net.ts";

/** How a connect ends: "connected" or its code. */
export function dial(host: NodeHostNet, to: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = host.connectTcp(
      { host: to, port },
      {
        onConnect: () => {
          socket.reset();
          resolve("connected");
        },
        onData() {},
        onEnd() {},
        onDrain() {},
        onClose: resolve,
      },
    );
  });
}
