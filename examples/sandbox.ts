/** A guest that may speak with one domain and its subdomains, and with nothing else. `sandbox.ts SOCKET DOMAIN [RESOLVER]` */
import { createNetwork, type Flow } from "tslirp";

const [path = "/tmp/net.sock", domain = "example.com", resolver] = process.argv.slice(2);

/** A DNS query is about its name, other flows go to an address that some name had led to. */
function allowed({ proto, hosts }: Flow): boolean {
  if (proto === "icmp") return false;
  return hosts.some((host) => host === domain || host.endsWith(`.${domain}`));
}

const net = await createNetwork({
  ...(resolver === undefined ? {} : { dnsUpstream: [resolver] }),
  onFlow(flow) {
    const verdict = allowed(flow) ? "allow" : "deny";
    console.log(verdict, flow.proto, flow.host ?? flow.remote.host, flow.remote.port);
    return verdict;
  },
});
console.log("QEMU:", ...(await net.listen({ path })));

process.once("SIGTERM", () => net.close());
