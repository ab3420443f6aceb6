// Listens on a port (or a UNIX path given as argument), says where, and does nothing any more.
import { createServer } from "node:net";

const path = process.argv[2];
const server = createServer();
server.listen(path === undefined ? { host: "127.0.0.1", port: 0, backlog: 1 } : { path }, () => {
  process.send(path ?? server.address().port, () => {
    if (path === undefined) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
});
