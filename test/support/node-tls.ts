/** Node's TLS, which is OpenSSL's, as a judge of hellos: in this process, without sockets. */
import { Duplex } from "node:stream";
import tls from "node:tls";

/**
 * The names that a server reads in a client's bytes. Each further flight is sent when the server has answered the one before; no
 * server has a certificate to answer a hello with, unless `pem` has one and its key.
 */
export function namesInTls(
  flights: readonly Uint8Array[],
  pem?: string,
): Promise<{ names: string[]; answers: Buffer[] }> {
  return new Promise((resolve) => {
    const names: string[] = [];
    const answers: Buffer[] = [];
    const wire = new Duplex({
      read() {},
      write(bytes: Buffer, _encoding, done) {
        answers.push(bytes);
        wire.push(flights[answers.length] ?? null);
        done();
      },
    });
    const socket = new tls.TLSSocket(wire, {
      isServer: true,
      ...(pem === undefined ? {} : { cert: pem, key: pem }),
      SNICallback(name, done) {
        names.push(name);
        done(null);
      },
    });
    const end = (): void => {
      socket.destroy();
      wire.destroy();
      resolve({ names, answers });
    };
    for (const event of ["error", "_tlsError", "close", "end"]) socket.on(event, end);
    wire.push(flights[0]);
    if (flights.length === 1) wire.push(null);
  });
}
