/** The settings of a one-node Ceph cluster in memory, as small and as quick to start as it gets. */
export interface CephPlace {
  /** A UUID. */
  clusterId: string;
  folder: string;
  /** Where the extracted packages keep their plug-ins: `<root>/usr/lib/<triplet>`. */
  libraries: string;
  monitorPort: number;
  gatewayPort: number;
}

/** The text of a ceph.conf. Bound to 127.0.0.1 throughout: the cluster inside has no authentication, only its S3 gateway has. */
export function cephConfig({ clusterId, folder, libraries, monitorPort, gatewayPort }: CephPlace): string {
  return `
[global]
fsid = ${clusterId}
mon host = [v2:127.0.0.1:${monitorPort}]
ms bind msgr1 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
run dir = ${folder}
admin socket = ${folder}/$name.asok
log file = ${folder}/$name.log
mon cluster log file = ${folder}/cluster.log
crash dir = ${folder}/crash
plugin dir = ${libraries}/ceph
erasure code dir = ${libraries}/ceph/erasure-code
osd class dir = ${libraries}/rados-classes
# One copy, few placement groups: this holds tests, not data.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000

[mon]
mon data = ${folder}/mon
# A monitor stops itself on a nearly full disk; a developer's disk often is.
mon data avail warn = 1
mon data avail crit = 0
# The gateway makes its pools one after the other, each waiting for the monitor's next round: a second each by default.
paxos propose interval = 0.02
paxos min wait = 0.01

[mon.a]
host = localhost

[osd]
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
# Both would call the ceph program, which is Python and isn't needed otherwise.
osd crush update on start = false
osd class update on start = false

[osd.0]
host = localhost

[client]
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}
rgw data = ${folder}/gateway
# The gateway's own default is an encrypted line to the monitor, which needs the authentication that is off here.
ms mon client mode = crc
`;
}
