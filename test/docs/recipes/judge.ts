import { createNetwork, type Network } from "tslirp";

const net = await createNetwork({
  onFlow: async (flow) => {
    if (flow.host === "ads.test") return "deny"; // a RST, or an ICMP error
    if (flow.remote.port === 25) return { deny: "drop" }; // silence
    if (flow.remote.port === 8080) return { redirect: { host: "10.0.2.100", port: 80 } };
    if (flow.remote.port === 7) return (socket) => socket.on("error", () => {}).pipe(socket); // taken over: an echo
    return "allow";
  },
});

// Below is the test's.
export const network: Network = net;
