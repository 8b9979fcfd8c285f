export interface S3Server {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  bucket: string;
  stop(): Promise<void>;
}

export async function startS3(): Promise<S3Server | { unavailable: string }> {
  return { unavailable: "not built yet" };
}
