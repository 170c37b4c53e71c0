"""Answers connections with network-config-analyzer: JSON in (sets of manifests and queries), JSON out (lists of booleans)."""
import contextlib
import ipaddress
import json
import os
import sys
import tempfile

from nca.CoreDS.Peer import IpBlock
from nca.NetworkConfig.ResourcesHandler import ResourcesHandler


def holds_end(peers, end):
    if peers is None:
        return True
    if "/" in end:
        return any(str(peer) == end for peer in peers if not isinstance(peer, IpBlock))
    address = ipaddress.ip_address(end)
    return any(
        interval.start.address.version == address.version
        and interval.start.address <= address <= interval.end.address
        for peer in peers
        if isinstance(peer, IpBlock)
        for interval in peer.interval_set
    )


def answers(path, queries):
    with contextlib.redirect_stdout(sys.stderr):
        config = ResourcesHandler().get_network_config(None, None, None, [path])
        allowed = config.allowed_connections().all_allowed_conns
    cubes = [allowed.get_connectivity_cube(cube) for cube in allowed]

    def is_allowed(query):
        number = {"TCP": 6, "UDP": 17, "SCTP": 132}[query["protocol"]]
        for cube in cubes:
            protocols, ports = cube["protocols"], cube["dst_ports"]
            if protocols is not None and number not in protocols:
                continue
            if ports is not None and query["port"] not in ports.port_set:
                continue
            if holds_end(cube["src_peers"], query["from"]) and holds_end(cube["dst_peers"], query["to"]):
                return True
        return False

    return [is_allowed(query) for query in queries]


def main():
    sets = json.load(sys.stdin)
    result = []
    with tempfile.TemporaryDirectory() as folder:
        for index, each in enumerate(sets):
            path = os.path.join(folder, str(index))
            os.mkdir(path)
            with open(os.path.join(path, "all.yaml"), "w", encoding="utf-8") as file:
                file.write("\n---\n".join(json.dumps(manifest) for manifest in each["manifests"]))
            try:
                result.append(answers(path, each["queries"]))
            except Exception as refusal:  # it raises whatever comes to hand; the test counts these
                print(f"refused: {refusal!r}", file=sys.stderr)
                result.append(None)
    json.dump(result, sys.stdout)


main()
