import type { SlotState, WrittenSegment } from "@rowback/recovery";
import { Counter, Gauge, type Registry } from "prom-client";

export interface CaptureMetrics {
  observed(sourceId: string, slot: SlotState): void;
  /** @param coveredAt microseconds since 1970 */
  published(sourceId: string, segments: readonly WrittenSegment[], coveredAt: bigint): void;
  /** This worker does not capture the source any more. */
  forget(sourceId: string): void;
}

/** The figures of the captures of this worker, by source. */
export function createCaptureMetrics(registry: Registry): CaptureMetrics {
  const registers = [registry];
  const labelNames = ["source"];
  const coveredAt = new Map<string, number>();
  const slotLag = new Gauge({
    name: "rowback_capture_slot_lag_bytes",
    help: "WAL that the source keeps for the capture's slot",
    labelNames,
    registers,
  });
  const slotSafe = new Gauge({
    name: "rowback_capture_slot_safe_bytes",
    help: "WAL that may still be written before the slot is lost; missing where max_slot_wal_keep_size has no limit",
    labelNames,
    registers,
  });
  const slotLost = new Gauge({
    name: "rowback_capture_slot_lost",
    help: "1: the server removed WAL that the slot needs",
    labelNames,
    registers,
  });
  new Gauge({
    name: "rowback_capture_lag_seconds",
    help: "How far the durable change log is behind this worker's clock",
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const [source, at] of coveredAt) this.set({ source }, Math.max(0, Date.now() - at) / 1_000);
    },
  });
  const changes = new Counter({
    name: "rowback_capture_changes_total",
    help: "Row changes in stored segments",
    labelNames,
    registers,
  });
  const bytes = new Counter({
    name: "rowback_capture_stored_bytes_total",
    help: "Bytes of stored segments",
    labelNames,
    registers,
  });
  const segmentsTotal = new Counter({
    name: "rowback_capture_segments_total",
    help: "Stored segments",
    labelNames,
    registers,
  });
  return {
    observed: (source, slot) => {
      slotLag.set({ source }, slot.lagBytes);
      slotLost.set({ source }, slot.lost ? 1 : 0);
      if (slot.safeBytes === null) slotSafe.remove({ source });
      else slotSafe.set({ source }, slot.safeBytes);
    },
    published: (source, segments, at) => {
      coveredAt.set(source, Number(at / 1_000n));
      for (const segment of segments) {
        segmentsTotal.inc({ source });
        changes.inc({ source }, segment.index.changes);
        bytes.inc({ source }, segment.bytes);
      }
    },
    forget: (source) => {
      coveredAt.delete(source);
      for (const gauge of [slotLag, slotSafe, slotLost]) gauge.remove({ source });
    },
  };
}
