import { FakeHost } from "../support/fake-host.ts";
import { compliance } from "./compliance.ts";
import { NodeRig } from "./node-rig.ts";
import type { Rig } from "./rig.ts";

compliance("the host's sockets", async () => {
  const rig = new NodeRig();
  // The test before has closed its own.
  await rig.quiet();
  return rig;
});

compliance("Node's sockets, without the C library", async () => {
  const rig = new NodeRig({ libc: false });
  await rig.quiet();
  return rig;
});

compliance("Node's sockets that have been used before", async () => {
  const rig = new NodeRig({ libc: false });
  await rig.quiet();
  await rig.useSockets(8);
  return rig;
});

compliance("the fake of packet scripts", async (): Promise<Rig> => {
  const host = new FakeHost();
  const refused = { host: "192.0.2.1", port: 1 };
  const unreachable = { host: "192.0.2.2", port: 9 };
  host.answer = (to) =>
    to === unreachable ? { refuse: "EHOSTUNREACH" } : to === refused ? { refuse: "ECONNREFUSED" } : "accept";
  host.answerUdp = (to) => (to.host === unreachable.host ? "EHOSTUNREACH" : "ECONNREFUSED");
  let nextPort = 1000;
  return {
    net: host,
    refused,
    unreachable,
    echoes: "192.0.2.5",
    async serve() {
      const at = { host: "192.0.2.3", port: nextPort++ };
      return {
        at,
        get far() {
          return host.dialled.filter((far) => far.at === at && far.connected);
        },
      };
    },
    dial: (at) => host.dial(at),
    udpFar: async () => host.udpFar({ host: "192.0.2.4", port: nextPort++ }),
    async until(holds) {
      host.run();
      if (!holds()) throw new Error(`it never came to: ${holds}`);
    },
    async quiet() {
      host.run();
    },
    handles: () => host.open,
    async close() {},
  };
});
