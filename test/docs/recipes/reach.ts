import http from "node:http";
import { createNetwork, type Network } from "tslirp";

const net = await createNetwork();

/** Fetches a path from the guest that has the first lease. */
function get(path: string): Promise<http.IncomingMessage> {
  const createConnection = () => net.createConnection({ port: 80 });
  return new Promise((resolve, reject) => http.get({ path, createConnection }, resolve).on("error", reject));
}

// Below is the test's.
export const network: Network = net;
export const fetched: typeof get = get;
