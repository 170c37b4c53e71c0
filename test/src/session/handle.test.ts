import t from 'tap'
import { handleOf, isHandle } from '../../../src/session/handle.ts'

t.test('a handle is written on a command line as it is', async t => {
  for (let i = 0; i < 1000; i++) {
    const handle = handleOf(`id-${i}`)
    if (!/^[0-9a-z]/.test(handle)) t.fail(`${handle} looks like an option`)
    t.ok(isHandle(handle))
  }
})
