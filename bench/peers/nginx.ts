import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, versionOf } from './installed.ts'
import type { Peer } from './peer.ts'

const program = findProgram('nginx')

export const nginx: Peer = {
  name: 'nginx',
  title: 'nginx',
  chains: ['plain'],
  setup: 'one worker, keep-alive to the upstream, no access log.',
  version: () => versionOf(program, ['-v'], /nginx\/(\S+)/),
  prepare(_chain, { folder, port, upstreamPort }) {
    return nginxCommand(
      folder,
      `
  upstream orders { server 127.0.0.1:${upstreamPort}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=1024;
    location / {
      proxy_pass http://orders;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
    }
  }`
    )
  }
}

/** nginx in the foreground with these servers, for the proxy here and for the upstream of everybody. */
export function nginxCommand(folder: string, servers: string): { argv: string[] } {
  const file = join(folder, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
${servers}
}
`
  )
  return { argv: [program as string, '-e', 'stderr', '-c', file] }
}
