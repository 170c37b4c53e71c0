import { readFileSync } from 'node:fs'
import t from 'tap'
import { readEnv } from '../../../src/config/env.ts'

t.test('nothing has to be set', async t => {
  t.same(readEnv({}), { logLevel: 'info', configPath: undefined, pluginFolder: undefined })
  t.same(readEnv({ LOG_LEVEL: '', SALLYPORT_CONFIG: '' }), readEnv({}), 'an empty variable is not set')
})

t.test('what is set is taken', async t => {
  t.same(readEnv({ LOG_LEVEL: 'debug', SALLYPORT_CONFIG: '/etc/c', SALLYPORT_PLUGINS: '/etc/p' }), {
    logLevel: 'debug',
    configPath: '/etc/c',
    pluginFolder: '/etc/p'
  })
})

t.test('a log level that does not exist is refused', async t => {
  t.throws(() => readEnv({ LOG_LEVEL: 'wran' }), {
    message: /LOG_LEVEL {2}"wran" is not a log level {2}did you mean "warn"\?/
  })
  t.throws(() => readEnv({ LOG_LEVEL: 'loud' }), /write one of: fatal, error, warn/)
})

t.test('the example names exactly the variables that are read', async t => {
  const read = new Set<string>()
  readEnv(new Proxy({}, { get: (_, name) => void read.add(String(name)) }))
  const example = readFileSync(new URL('../../../.env.example', import.meta.url), 'utf8')
  t.same([...example.matchAll(/^#?([A-Z_]+)=/gm)].map(match => match[1]).sort(), [...read].sort())
})
