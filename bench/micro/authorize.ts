/** What a policy costs a request, without a socket. `node bench/micro/authorize.ts` */
import authorize from '../../plugins/authorize.ts'
import { captured, measure } from './hook.ts'

for (const options of [
  { scopes: ['orders:read'] },
  { allow: '"orders:read" in identity.scopes' },
  { allow: 'request.method == "GET" && request.path.startsWith("/orders/")' },
  { allow: 'identity.claims.tenant == "acme" && has(request.headers.host)' },
  { allow: 'inCidr(client.ip, "127.0.0.0/8")' },
  { allow: 'identity.groups.exists(group, group == "ops") && identity.email.endsWith("@example.com")' }
]) {
  const { hook, request, reply } = await captured(authorize, options)
  await measure(JSON.stringify(options), () => hook(request, reply, () => {}))
}
