import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { PackagesUnavailable } from "../debian/extracted-packages.ts";
import { temporaryFolder } from "../process/folders.ts";
import { freePort, onFreePort } from "../process/free-port.ts";
import { type ServiceProcess, startServiceProcess } from "../process/service-process.ts";
import { cephConfig } from "./ceph-config.ts";
import { type CephPrograms, cephPrograms } from "./ceph-programs.ts";

export interface S3Server {
  /** `http://127.0.0.1:<port>`; buckets are in the path, not in the host name. */
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Exists already, and is empty. */
  bucket: string;
  stop(): Promise<void>;
}

const REGION = "us-east-1";

/** The server that the S3_* variables name, or null when they don't. */
function givenServer(): S3Server | null {
  const { S3_BUCKET, S3_ENDPOINT, S3_REGION, S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = process.env;
  if (!S3_BUCKET || !S3_ENDPOINT || !S3_ACCESS_KEY_ID || !S3_SECRET_ACCESS_KEY) return null;
  return {
    endpoint: S3_ENDPOINT,
    region: S3_REGION ?? REGION,
    accessKeyId: S3_ACCESS_KEY_ID,
    secretAccessKey: S3_SECRET_ACCESS_KEY,
    bucket: S3_BUCKET,
    stop: async () => {},
  };
}

async function accepts(port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host: "127.0.0.1", port });
  socket.once("connect", resolve).once("error", reject);
  await promise.finally(() => socket.destroy());
}

async function answersHttp(port: number): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2_000) });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
}

interface Cluster {
  ceph: CephPrograms;
  folder: string;
  config: string[];
  started: ServiceProcess[];
}

async function startDaemon(
  cluster: Cluster,
  program: string,
  args: readonly string[],
  ready: () => Promise<void>,
): Promise<void> {
  const { ceph, folder, config, started } = cluster;
  const daemon = await startServiceProcess({
    name: program,
    command: ceph.program(program),
    args: [...config, ...args, "-f"],
    env: ceph.env,
    logFile: join(folder, `${program}.out`),
    // Everything is in memory and thrown away: an orderly shutdown would only write it to disk first.
    stopSignal: "SIGKILL",
    ready,
    startTimeoutMs: 60_000,
  });
  started.push(daemon);
}

async function startMonitor(cluster: Cluster, clusterId: string, port: number): Promise<void> {
  const { ceph, folder, config } = cluster;
  const monitors = join(folder, "monmap");
  const disks = join(folder, "osdmap");
  await ceph.run("monmaptool", ["--create", "--addv", "a", `[v2:127.0.0.1:${port}]`, "--fsid", clusterId, monitors]);
  // Born with its one disk in the map, the cluster needs none of the `ceph osd …` commands that usually add it.
  await ceph.run("osdmaptool", [...config, "--create-from-conf", disks]);
  await ceph.run("ceph-mon", [...config, "--mkfs", "-i", "a", "--monmap", monitors, "--osdmap", disks]);
  await startDaemon(cluster, "ceph-mon", ["-i", "a"], () => accepts(port));
}

async function startDisk(cluster: Cluster): Promise<void> {
  await cluster.ceph.run("ceph-osd", [...cluster.config, "-i", "0", "--mkfs"]);
  await startDaemon(cluster, "ceph-osd", ["-i", "0"], async () => {});
}

async function createUser(cluster: Cluster, accessKeyId: string, secretAccessKey: string): Promise<void> {
  const keys = ["--access-key", accessKeyId, "--secret-key", secretAccessKey];
  const user = ["user", "create", "--uid", "rowback", "--display-name", "Rowback", ...keys];
  await cluster.ceph.run("radosgw-admin", [...cluster.config, ...user]);
}

async function createBucket(server: Omit<S3Server, "stop">): Promise<void> {
  const { endpoint, region, accessKeyId, secretAccessKey, bucket } = server;
  const client = new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
  });
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
}

async function startGateway(ceph: CephPrograms, gatewayPort: number): Promise<S3Server> {
  const temporary = temporaryFolder("s3");
  const folder = temporary.path;
  const cluster: Cluster = { ceph, folder, config: ["-c", join(folder, "ceph.conf")], started: [] };
  const stop = async (): Promise<void> => {
    await Promise.all(cluster.started.map((daemon) => daemon.stop()));
    await temporary.remove();
  };
  try {
    const clusterId = randomUUID();
    const monitorPort = await freePort();
    await Promise.all(["mon", "osd", "gateway", "crash"].map((name) => mkdir(join(folder, name))));
    await writeFile(
      join(folder, "ceph.conf"),
      cephConfig({ clusterId, folder, libraries: ceph.libraries, monitorPort, gatewayPort }),
    );
    const server = {
      endpoint: `http://127.0.0.1:${gatewayPort}`,
      region: REGION,
      accessKeyId: randomBytes(10).toString("hex").toUpperCase(),
      secretAccessKey: randomBytes(20).toString("hex"),
      bucket: "rowback",
    };
    await startMonitor(cluster, clusterId, monitorPort);
    await startDisk(cluster);
    await createUser(cluster, server.accessKeyId, server.secretAccessKey);
    await startDaemon(cluster, "radosgw", ["-n", "client.admin"], () => answersHttp(gatewayPort));
    await createBucket(server);
    return { ...server, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Starts a real S3 server on 127.0.0.1: Ceph's gateway from Debian's packages, its data in memory (2 GiB at most), gone
 * with `stop` or with this process. When the S3_* variables are set, that server is used, and never stopped.
 *
 * `unavailable` says why none can be had: no apt on this system, no network, an unknown processor. Takes about 6 s; the
 * first time on a machine some 20 s more, for 70 MB of packages, which stay in the cache folder.
 */
export async function startS3(): Promise<S3Server | { unavailable: string }> {
  const given = givenServer();
  if (given !== null) return given;
  try {
    const ceph = await cephPrograms();
    return await onFreePort((port) => startGateway(ceph, port));
  } catch (error) {
    if (error instanceof PackagesUnavailable) return { unavailable: error.message };
    throw error;
  }
}
