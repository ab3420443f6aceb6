import { GuestNetworks } from "tslirp";

const networks = new GuestNetworks({ rules: ["limit any rate=10mbit conns=50", "default allow"] }, { guests: 200 });
await networks.listenAt({ path: "guests.sock" }); // whoever comes is 10.0.2.15, alone in a network
networks.on("come", ({ id }) => console.log(id, "is here"));
networks.on("left", ({ id }) => console.log(id, "has left; nothing of its network stays"));

// Below is the test's.
export const all: GuestNetworks = networks;
