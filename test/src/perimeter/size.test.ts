import t from 'tap'
import { measure } from '../../../bench/perimeter.ts'

/** The promise, in processor time, since the machine may be busy with something else; bench/perimeter.ts has the numbers. */
for (const spread of [true, false]) {
  t.test(
    `50 upstreams, 200 pods and 300 policies in ${spread ? 'ten namespaces' : 'one namespace'} take under 2 s`,
    async t => {
      const { cpu, verdict } = measure({ upstreams: 50, pods: 200, policies: 300 }, spread)
      t.equal(verdict, 'proven')
      t.ok(cpu < 2000, `${cpu} ms`)
    }
  )
}
