import { ConfigError, createNetwork, type Network } from "tslirp";

const net = await createNetwork();

/** Whether somebody in the guest listens there. */
async function listens(port: number): Promise<boolean> {
  try {
    (await net.connect({ port, signal: AbortSignal.timeout(5_000) })).destroy();
    return true;
  } catch (error) {
    if (error instanceof ConfigError) throw error; // the call was wrong: a port of 0, say
    return false; // ECONNREFUSED, ETIMEDOUT, or the signal's reason
  }
}

// Below is the test's.
export const network: Network = net;
export const asked: typeof listens = listens;
