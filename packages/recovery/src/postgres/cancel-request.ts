import net from "node:net";
import tls from "node:tls";
import type pg from "pg";

// A cancelled run ends within two seconds, of which half may be over before anybody notices; with 2 s here, one whose source had fallen
// silent took 2.06. What this leaves is enough for a TLS handshake across an ocean; the connection is cut afterwards in any case.
const CANCEL_TIMEOUT_MS = 700;
const CANCEL_REQUEST_CODE = 80877102;
const SSL_REQUEST_CODE = 80877103;

/**
 * Asks the server to cancel what this connection is running, over a second connection (PostgreSQL protocol, "Canceling
 * Requests in Progress"). Resolves when the server has passed it on, or after CANCEL_TIMEOUT_MS; never rejects: the caller destroys
 * the connection next, and `client_connection_check_interval` ends the statement where the request did not arrive.
 */
export async function cancelRunningStatement(client: pg.Client): Promise<void> {
  const request = cancelRequest(client);
  if (request === null) return;
  const socket = openSocket(client);
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, CANCEL_TIMEOUT_MS);
  socket.once("error", () => resolve());
  socket.once("close", () => resolve());
  socket.once("connect", () => {
    if (!(client.connection.stream instanceof tls.TLSSocket)) return void socket.end(request);
    socket.once("data", (answer) => {
      if (answer.toString("latin1") !== "S") return void socket.end(request);
      // The answer can't be trusted with anything but the request itself, so the certificate is not looked at twice.
      const secured = tls.connect({ socket, rejectUnauthorized: false, ...serverName(client.host) });
      secured.once("error", () => resolve());
      secured.once("secureConnect", () => secured.end(request));
    });
    socket.write(int32s(8, SSL_REQUEST_CODE));
  });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function cancelRequest(client: pg.Client): Buffer | null {
  // node-postgres keeps both as undocumented numbers, from the server's BackendKeyData message.
  const processId: unknown = Reflect.get(client, "processID");
  const secretKey: unknown = Reflect.get(client, "secretKey");
  if (typeof processId !== "number" || typeof secretKey !== "number") return null;
  return int32s(16, CANCEL_REQUEST_CODE, processId, secretKey);
}

/** To the very address the connection has: a host name may stand for several servers. */
function openSocket(client: pg.Client): net.Socket {
  const { stream } = client.connection;
  if (stream instanceof net.Socket && stream.remoteAddress !== undefined && stream.remotePort !== undefined) {
    return net.connect({ host: stream.remoteAddress, port: stream.remotePort });
  }
  if (client.host.startsWith("/")) return net.connect({ path: `${client.host}/.s.PGSQL.${client.port}` });
  return net.connect({ host: client.host, port: client.port });
}

function serverName(host: string): { servername?: string } {
  return net.isIP(host) === 0 && !host.startsWith("/") ? { servername: host } : {};
}

function int32s(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeInt32BE(value | 0, index * 4);
  });
  return bytes;
}
