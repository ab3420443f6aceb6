import { createNetwork, type Network } from "tslirp";

const net = await createNetwork({ rules: ["allow tcp *.debian.org:443", "default deny"] });
net.on("flowRefused", ({ remote, rule, remedy }) =>
  console.log(`${remote} refused by ${rule}; ${remedy} would allow it`),
);

console.log(net.explain("tcp example.org:443"));
net.setRules(["allow tcp *.debian.org:443", "allow tcp example.org:443", "default deny"]); // other flows end

// Below is the test's.
export const network: Network = net;
